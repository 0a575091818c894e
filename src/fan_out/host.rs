//! One host at work: its command, from its turn to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::event::{HostEvent, HostEventKind, HostOutcome};
use crate::session::Command;
use crate::supervised::panic_text;

/// The longest line, and the longest piece.
const LONGEST_LINE: u64 = 16 << 10;
const LONGEST_PIECE: usize = 64 << 10;

/// In what form output is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Pieces,
}

/// Where a host's events go.
#[derive(Clone)]
pub(super) struct Voice {
    pub(super) host: usize,
    pub(super) label: Arc<str>,
    pub(super) to: mpsc::Sender<HostEvent>,
}

impl Voice {
    /// Waits for room. False when nobody listens any more.
    pub(super) async fn say(&self, kind: HostEventKind) -> bool {
        let event = HostEvent { host: self.host, label: Arc::clone(&self.label), kind };
        self.to.send(event).await.is_ok()
    }
}

/// Runs the command. When it is cancelled, its channel is closed by the drop of what runs.
pub(super) async fn work(
    command: Command,
    voice: Voice,
    form: Form,
    cancel: CancellationToken,
) -> HostOutcome {
    let mut started = false;
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        outcome = AssertUnwindSafe(run(command, &voice, form, &mut started)).catch_unwind() => Some(outcome),
    };
    match outcome {
        None => HostOutcome::Cancelled { started },
        Some(Ok(outcome)) => outcome,
        Some(Err(panic)) => HostOutcome::Panicked { started, why: panic_text(&*panic).into() },
    }
}

async fn run(command: Command, voice: &Voice, form: Form, started: &mut bool) -> HostOutcome {
    let mut child = match command.spawn().await {
        Ok(child) => child,
        Err(error) => return HostOutcome::Failed(error),
    };
    *started = true;
    voice.say(HostEventKind::Started).await;
    // Nobody writes to it.
    drop(child.stdin.take());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    tokio::join!(
        pass_on(stdout, voice, form, HostEventKind::Stdout),
        pass_on(stderr, voice, form, HostEventKind::Stderr),
    );
    match child.wait().await {
        Ok(status) => HostOutcome::Finished(status),
        Err(error) => HostOutcome::Failed(error),
    }
}

/// Tells a stream to its end. Why it ends is told by the command's outcome.
async fn pass_on<R: AsyncBufRead + Unpin>(
    stream: Option<R>,
    voice: &Voice,
    form: Form,
    kind: fn(Bytes) -> HostEventKind,
) {
    let Some(mut stream) = stream else { return };
    while let Some(bytes) = next(&mut stream, form).await {
        if !voice.say(kind(bytes)).await {
            return;
        }
    }
}

async fn next<R: AsyncBufRead + Unpin>(stream: &mut R, form: Form) -> Option<Bytes> {
    let mut bytes = Vec::new();
    let end = match form {
        Form::Lines => stream.take(LONGEST_LINE).read_until(b'\n', &mut bytes).await.is_err(),
        Form::Pieces => match stream.fill_buf().await {
            Ok(there) => {
                bytes.extend_from_slice(there.get(..LONGEST_PIECE).unwrap_or(there));
                stream.consume(bytes.len());
                false
            }
            Err(_) => true,
        },
    };
    if bytes.is_empty() || (end && form == Form::Pieces) {
        return None;
    }
    Some(bytes.into())
}

/// A line without its end.
pub(super) fn without_end(line: &mut Bytes) {
    if line.last() == Some(&b'\n') {
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
    }
}
