//! The meeting point of a command's channel actor and the values its user holds.
//!
//! Owns both output streams, how the command ended, and whether it was cancelled. Locks are short and nothing is
//! woken or dropped under them. Knows no tasks.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::error::CommandError;
use super::lane::{Chunk, Lane};
use super::output::Output;
use super::process::Process;
use crate::ChannelRef;
use crate::error::CloseReason;
use crate::wire::request::ExitStatus;

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Stdout,
    Stderr,
}

impl Which {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[derive(Debug)]
struct Stream {
    lane: Lane,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct State<A> {
    stdout: Stream,
    stderr: Stream,
    status: Option<ExitStatus>,
    eof: bool,
    /// The channel is over.
    end: Option<CloseReason>,
    /// What went wrong on our side, or with the start.
    failure: Option<CommandError>,
    /// The deadline that passed.
    expired: Option<Duration>,
    /// The address of the channel, once there is one.
    channel: Option<A>,
    /// The peer has confirmed the start.
    started: bool,
    /// Nobody wants the command any more.
    cancelled: bool,
    waiter: Option<Waker>,
}

/// See the module. `A` is the address of a command's channel, to act on when the command is cancelled; what runs on a
/// server's channel is cancelled by its actor, and keeps none.
#[derive(Debug)]
pub(super) struct Shared<A = ChannelRef<Process>> {
    state: Mutex<State<A>>,
    /// Bytes that have come.
    pushed: AtomicU64,
    /// Bytes that readers have consumed.
    consumed: AtomicU64,
}

impl<A> State<A> {
    const fn pair(&mut self, which: Which) -> (&mut Stream, &mut Stream) {
        match which {
            Which::Stdout => (&mut self.stdout, &mut self.stderr),
            Which::Stderr => (&mut self.stderr, &mut self.stdout),
        }
    }

    const fn is_over(&self) -> bool {
        self.end.is_some() || self.expired.is_some()
    }

    fn wakers(&mut self) -> [Option<Waker>; 3] {
        [self.waiter.take(), self.stdout.reader.take(), self.stderr.reader.take()]
    }
}

fn wake(wakers: impl IntoIterator<Item = Option<Waker>>) {
    wakers.into_iter().flatten().for_each(Waker::wake);
}

/// The actor's side.
impl<A> Shared<A> {
    pub(super) fn new(stdout: Lane, stderr: Lane) -> Arc<Self> {
        let stream = |lane| Stream { lane, reader: None };
        let state = Mutex::new(State {
            stdout: stream(stdout),
            stderr: stream(stderr),
            status: None,
            eof: false,
            end: None,
            failure: None,
            expired: None,
            channel: None,
            started: false,
            cancelled: false,
            waiter: None,
        });
        Arc::new(Self { state, pushed: AtomicU64::new(0), consumed: AtomicU64::new(0) })
    }

    /// The channel is open. False when nobody wants it any more.
    pub(super) fn opened(&self, channel: A) -> bool {
        let mut state = self.lock();
        state.channel = Some(channel);
        !state.cancelled
    }

    /// The peer has confirmed the start.
    pub(super) fn started(&self) {
        self.lock().started = true;
    }

    pub(super) fn push(&self, which: Which, chunk: Chunk) {
        self.pushed.fetch_add(chunk.data.len() as u64, Ordering::Relaxed);
        let mut state = self.lock();
        let (own, other) = state.pair(which);
        let consumed = own.lane.push(chunk, other.lane.was_read);
        let reader = own.reader.take();
        drop(state);
        drop(consumed);
        wake([reader]);
    }

    pub(super) fn set_status(&self, status: ExitStatus) {
        self.lock().status.get_or_insert(status);
    }

    pub(super) fn eof(&self) {
        let mut state = self.lock();
        state.eof = true;
        let readers = [state.stdout.reader.take(), state.stderr.reader.take()];
        drop(state);
        wake(readers);
    }

    /// The channel is over. Only the first reason counts.
    pub(super) fn end(&self, reason: CloseReason) {
        let mut state = self.lock();
        state.end.get_or_insert(reason);
        let wakers = state.wakers();
        drop(state);
        wake(wakers);
    }

    /// Whether there is, or was, something in this stream for its reader: bytes, or its end. Not if nobody wanted any.
    #[cfg(feature = "server")]
    pub(super) fn is_awaited(&self, which: Which) -> bool {
        let mut state = self.lock();
        let eof = state.eof;
        let lane = &state.pair(which).0.lane;
        lane.was_read || (!lane.is_discarded() && (eof || lane.holds_something()))
    }

    /// How many bytes readers have consumed in all.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// How many bytes have come and were not consumed, if all streams have readers.
    pub(super) fn unread(&self) -> u64 {
        self.pushed.load(Ordering::Relaxed).saturating_sub(self.consumed())
    }

    /// Something failed that ends the command. Only the first failure counts.
    pub(super) fn fail(&self, error: CommandError) {
        self.lock().failure.get_or_insert(error);
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user's side.
impl<A> Shared<A> {
    /// Moves what has arrived to the reader. False when nothing will come any more.
    pub(super) fn poll_read(
        &self,
        which: Which,
        reader: &mut VecDeque<Chunk>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut state = self.lock();
        let (own, other) = state.pair(which);
        let mut given_back = VecDeque::new();
        if !std::mem::replace(&mut own.lane.was_read, true) {
            given_back = other.lane.let_go(true);
        }
        own.lane.move_to(reader);
        let answer = if !reader.is_empty() {
            Poll::Ready(Ok(true))
        } else if state.eof {
            Poll::Ready(Ok(false))
        } else {
            match &state.end {
                Some(CloseReason::Peer) => Poll::Ready(Ok(false)),
                Some(reason) => Poll::Ready(Err(reason.clone().into())),
                None => {
                    state.pair(which).0.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        };
        drop(state);
        drop(given_back);
        answer
    }

    /// Whether what came is all there was: the peer has said so (SSH_MSG_CHANNEL_EOF), or it has closed the channel and
    /// is one that does not say so first.
    pub(super) fn is_whole(&self, says_eof: bool) -> bool {
        let state = self.lock();
        state.eof || (!says_eof && matches!(state.end, Some(CloseReason::Peer)))
    }

    /// The channel was ended on this side: nobody waits for what had arrived.
    pub(super) fn was_ended_here(&self) -> bool {
        let state = self.lock();
        !matches!(&state.end, None | Some(CloseReason::Peer | CloseReason::Connection(_)))
    }

    /// A reader has consumed so many bytes.
    pub(super) fn note_consumed(&self, bytes: usize) {
        self.consumed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Nobody will read this stream; what was turned into a capture stays.
    pub(super) fn discard_pipe(&self, which: Which) {
        self.discard(which, false);
    }

    /// What is captured will not be asked for.
    pub(super) fn discard_captured(&self) {
        self.discard(Which::Stdout, true);
        self.discard(Which::Stderr, true);
    }

    fn discard(&self, which: Which, captured: bool) {
        let mut state = self.lock();
        let lane = &mut state.pair(which).0.lane;
        if lane.is_capture() == captured {
            let dropped = lane.discard();
            drop(state);
            drop(dropped);
        }
    }

    /// From now on the stream goes into memory, behind `unread`.
    pub(super) fn capture(&self, which: Which, unread: VecDeque<Chunk>, cap: usize) {
        let mut state = self.lock();
        let consumed = state.pair(which).0.lane.capture(unread, cap);
        drop(state);
        drop(consumed);
    }

    /// Whether nobody can read the stream just now, so that nothing may wait for it.
    pub(super) fn set_draining(&self, which: Which, draining: bool) {
        let mut state = self.lock();
        let (own, other) = state.pair(which);
        own.lane.draining = draining;
        let consumed = own.lane.let_go(other.lane.was_read);
        drop(state);
        drop(consumed);
    }

    pub(super) fn lost(&self, which: Which) -> u64 {
        self.lock().pair(which).0.lane.lost()
    }

    /// Waits until the channel is over or the deadline has passed. One waiter at a time.
    pub(super) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_over() {
            return Poll::Ready(());
        }
        state.waiter = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The deadline has passed. False when the command was over before.
    pub(super) fn expire(&self, after: Duration) -> bool {
        let mut state = self.lock();
        if state.is_over() {
            return false;
        }
        state.expired = Some(after);
        let wakers = state.wakers();
        drop(state);
        wake(wakers);
        true
    }

    /// Notes that nobody wants the command any more. The first time, and while the channel is not over, says which
    /// channel to act on, and whether the command was confirmed.
    pub(super) fn cancel(&self) -> Option<(A, bool)>
    where
        A: Clone,
    {
        let mut state = self.lock();
        if std::mem::replace(&mut state.cancelled, true) || state.end.is_some() {
            return None;
        }
        state.channel.clone().map(|channel| (channel, state.started))
    }

    /// What went wrong, apart from the channel's end.
    pub(super) fn failure(&self) -> Option<CommandError> {
        self.lock().failure.clone()
    }

    /// How the command ended, `None` while it has not. All output of a command whose status is known may be here or
    /// not: see [`Self::output`].
    pub(super) fn outcome(&self) -> Option<Result<ExitStatus, CommandError>> {
        let mut state = self.lock();
        if !state.is_over() {
            return None;
        }
        Some(state.outcome(false).map(|()| state.exit_status()))
    }

    /// How the command ended, with all that was captured.
    pub(super) fn output(&self) -> Result<Output, CommandError> {
        let mut state = self.lock();
        state.outcome(true).map(|()| state.take_output())
    }
}

impl<A> State<A> {
    fn exit_status(&self) -> ExitStatus {
        self.status.clone().unwrap_or(ExitStatus::Missing)
    }

    /// With `whole`, the status alone is not enough: all output must be here.
    fn outcome(&mut self, whole: bool) -> Result<(), CommandError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if let Some(after) = self.expired {
            return Err(CommandError::Deadline { after, partial: Box::new(self.take_output()) });
        }
        let known = self.status.is_some() && (self.eof || !whole);
        match &self.end {
            Some(CloseReason::Peer | CloseReason::Local) => Ok(()),
            _ if known => Ok(()),
            reason => {
                let reason = reason.clone().unwrap_or(CloseReason::Local);
                Err(CommandError::Interrupted { reason, partial: Box::new(self.take_output()) })
            }
        }
    }

    fn take_output(&mut self) -> Output {
        let (stdout, stdout_lost) = self.stdout.lane.take_captured();
        let (stderr, stderr_lost) = self.stderr.lane.take_captured();
        Output { status: self.exit_status(), stdout, stderr, stdout_lost, stderr_lost }
    }
}
