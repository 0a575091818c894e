//! A run: who is at work, who has been, and what they say.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::event::{HostEvent, HostEventKind, HostOutcome, HostOutput, HostReport};
use super::host::{Form, Voice, without_end, work};
use crate::session::Command;

/// How a run goes about it.
pub(super) struct Terms {
    pub(super) concurrency: usize,
    pub(super) fail_fast: bool,
    pub(super) form: Form,
    pub(super) unread: usize,
}

/// Hosts at work, from [`FanOut::run`](super::FanOut::run): a stream of their events, in the order they happened on each
/// host, and interleaved between hosts. It ends when every host is done with.
///
/// Dropping it ends everything. Not reading it holds the hosts up.
#[must_use = "dropping it ends everything"]
pub struct FanOutRun {
    form: Form,
    labels: Vec<Arc<str>>,
    outcomes: Vec<Option<HostOutcome>>,
    events: mpsc::Receiver<HostEvent>,
    conductor: AbortHandle,
    cancel: CancellationToken,
}

impl fmt::Debug for FanOutRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOutRun")
            .field("hosts", &self.labels.len())
            .field("finished", &self.finished())
            .finish_non_exhaustive()
    }
}

impl Drop for FanOutRun {
    fn drop(&mut self) {
        self.conductor.abort();
    }
}

impl FanOutRun {
    pub(super) fn start(hosts: Vec<(Arc<str>, Command)>, terms: Terms) -> Self {
        let labels: Vec<_> = hosts.iter().map(|(label, _)| Arc::clone(label)).collect();
        let (to, events) = mpsc::channel(terms.unread);
        let (cancel, form) = (CancellationToken::new(), terms.form);
        let conductor = tokio::spawn(conduct(hosts, terms, to, cancel.clone())).abort_handle();
        Self { form, outcomes: vec![None; labels.len()], labels, events, conductor, cancel }
    }

    /// How many hosts are done with, as far as their events were read.
    #[must_use]
    pub fn finished(&self) -> usize {
        self.outcomes.iter().flatten().count()
    }

    /// How many hosts there are.
    #[must_use]
    pub const fn hosts(&self) -> usize {
        self.labels.len()
    }

    /// Ends what runs, and starts nothing any more, as a failure does with
    /// [`fail_fast`](super::FanOut::fail_fast). The events and reports say what became of each host.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Reads what there is to come, and gives what became of each host, in the order of the hosts.
    ///
    /// # Cancel safety
    /// Dropping the future ends everything.
    pub async fn reports(mut self) -> Vec<HostReport> {
        while self.next().await.is_some() {}
        let outcomes = std::mem::take(&mut self.outcomes);
        self.labels
            .iter()
            .zip(outcomes)
            .map(|(label, outcome)| HostReport { label: Arc::clone(label), outcome: known(outcome) })
            .collect()
    }

    /// Reads what there is to come, and gives what each host has said and what became of it, in the order of the hosts:
    /// at most `cap` bytes of each host's two streams together, as they came.
    ///
    /// # Cancel safety
    /// Dropping the future ends everything.
    pub async fn outputs(mut self, cap: usize) -> Vec<HostOutput> {
        let mut said: Vec<Said> = self.labels.iter().map(|_| Said::default()).collect();
        while let Some(event) = std::future::poll_fn(|cx| self.poll_event(cx)).await {
            if let Some(said) = said.get_mut(event.host) {
                said.add(event.kind, cap);
            }
        }
        let outcomes = std::mem::take(&mut self.outcomes);
        let all = self.labels.iter().zip(outcomes).zip(said);
        all.map(|((label, outcome), said)| said.with(Arc::clone(label), known(outcome))).collect()
    }
}

/// Every host has an outcome when the events have ended, unless the runtime has.
fn known(outcome: Option<HostOutcome>) -> HostOutcome {
    outcome.unwrap_or(HostOutcome::Cancelled { started: false })
}

impl FanOutRun {
    /// The next event, with what was said as it came.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<HostEvent>> {
        let event = ready!(self.events.poll_recv(cx));
        if let Some(HostEvent { host, kind: HostEventKind::Finished(outcome), .. }) = &event
            && let Some(place) = self.outcomes.get_mut(*host)
        {
            *place = Some(outcome.clone());
        }
        Poll::Ready(event)
    }
}

impl Stream for FanOutRun {
    type Item = HostEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<HostEvent>> {
        let mut event = ready!(self.poll_event(cx));
        if self.form == Form::Lines
            && let Some(HostEvent { kind: HostEventKind::Stdout(line) | HostEventKind::Stderr(line), .. }) =
                &mut event
        {
            without_end(line);
        }
        Poll::Ready(event)
    }
}

/// Gives the hosts their turns. With it go all that are at work.
async fn conduct(
    hosts: Vec<(Arc<str>, Command)>,
    terms: Terms,
    to: mpsc::Sender<HostEvent>,
    cancel: CancellationToken,
) {
    let mut waiting = hosts.into_iter().enumerate();
    let mut at_work = JoinSet::new();
    let mut voices: HashMap<_, Voice> = HashMap::new();
    loop {
        while at_work.len() < terms.concurrency && !cancel.is_cancelled() {
            let Some((host, (label, command))) = waiting.next() else { break };
            let voice = Voice { host, label, to: to.clone() };
            let task = at_work.spawn(work(command, voice.clone(), terms.form, cancel.clone()));
            voices.insert(task.id(), voice);
        }
        let Some(done) = at_work.join_next_with_id().await else { break };
        let (task, outcome) = match done {
            Ok((task, outcome)) => (task, outcome),
            Err(error) => (error.id(), HostOutcome::Cancelled { started: false }),
        };
        if terms.fail_fast && !outcome.success() {
            cancel.cancel();
        }
        if let Some(voice) = voices.remove(&task) {
            voice.say(HostEventKind::Finished(outcome)).await;
        }
    }
    for (host, (label, command)) in waiting {
        drop(command);
        let voice = Voice { host, label, to: to.clone() };
        voice.say(HostEventKind::Finished(HostOutcome::NotStarted)).await;
    }
}

/// What a host has said.
#[derive(Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    lost: u64,
}

impl Said {
    fn add(&mut self, kind: HostEventKind, cap: usize) {
        let room = cap.saturating_sub(self.stdout.len() + self.stderr.len());
        let (stream, bytes) = match kind {
            HostEventKind::Stdout(bytes) => (&mut self.stdout, bytes),
            HostEventKind::Stderr(bytes) => (&mut self.stderr, bytes),
            HostEventKind::Started | HostEventKind::Finished(_) => return,
        };
        let taken = bytes.get(..room).unwrap_or(&bytes);
        stream.extend_from_slice(taken);
        self.lost += (bytes.len() - taken.len()) as u64;
    }

    fn with(self, label: Arc<str>, outcome: HostOutcome) -> HostOutput {
        HostOutput { label, stdout: self.stdout, stderr: self.stderr, lost: self.lost, outcome }
    }
}
