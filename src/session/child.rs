//! A running command in its user's hands.
//!
//! Owns what happens to the remote command when its user goes away or the deadline passes; the rest is in [`Shared`].

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::error::CommandError;
use super::outlet::ChildStdin;
use super::output::Output;
use super::pipe::{ChildStderr, ChildStdout, Inlet};
use super::process::Process;
use super::shared::{Shared, Which};
use super::stdio::DEFAULT_CAPTURE;
use crate::error::RequestError;
use crate::wire::pty::WindowSize;
use crate::wire::request::ExitStatus;
use crate::wire::signal::Signal;
use crate::{ChannelHandle, ChannelKey, ChannelRef};

/// What happens to the remote command when nobody waits for it any more: its [`Child`] or the future of
/// [`output`](super::Command::output), [`status`](super::Command::status) was dropped, or its deadline has passed.
///
/// SSH has no way to end a remote process for certain. Only what is said of each policy is promised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnCancel {
    /// The channel is closed at once, what was queued for it is dropped. The default.
    ///
    /// The server takes the pipes (or the terminal) away. A command with a terminal gets SIGHUP. One without is *not*
    /// killed: it gets an end of input, and SIGPIPE or an error at its next output. One that does neither runs on, and
    /// so do its children.
    #[default]
    Hangup,
    /// The command gets an end of input (SSH_MSG_CHANNEL_EOF, RFC 4254 section 5.3) behind what was queued, and may
    /// finish in its own time; its output is dropped. The channel stays open until then.
    Eof,
    /// A signal (RFC 4254 section 6.9), then SIGKILL if the channel is not over after the grace period, then a close.
    ///
    /// OpenSSH signals the process group of the command, not what has left that group. It refuses in silence when
    /// the user is root, when the session was given a forced command or is a subsystem, and before version 7.9: then
    /// the close in the end is all there is. The requests go out behind input that was queued and that the command
    /// does not read. Needs a tokio runtime at that moment; without one it
    /// is a hang-up.
    Signal {
        /// Which signal first; usually [`Signal::Term`].
        signal: Signal,
        /// How long the command may take to end by itself.
        grace: Duration,
    },
    /// Nothing: the command runs on, its output is dropped, and its channel stays open until it ends.
    Detach,
}

impl OnCancel {
    /// SIGTERM, then SIGKILL after `grace`.
    #[must_use]
    pub const fn term_then_kill(grace: Duration) -> Self {
        Self::Signal { signal: Signal::Term, grace }
    }
}

/// How a channel is let go.
#[derive(Debug, Clone)]
pub(super) enum Farewell {
    /// As a command's.
    Cancel(OnCancel),
    /// As a stream's: close behind what was written.
    Close,
}

/// A point in time by which a command must be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) after: Duration,
}

impl Deadline {
    /// `None` when it is too far away to be told from never.
    pub(super) fn from_now(after: Duration) -> Option<Self> {
        Instant::now().checked_add(after).map(|at| Self { at, after })
    }
}

/// The one who wants the command. Dropping it says farewell.
#[derive(Debug)]
pub(super) struct Owner {
    shared: Arc<Shared>,
    farewell: Farewell,
    deadline: Option<Deadline>,
    /// Ends the command at the deadline even while nobody waits for it.
    watchdog: Option<AbortHandle>,
}

impl Owner {
    pub(super) const fn new(shared: Arc<Shared>, farewell: Farewell, deadline: Option<Deadline>) -> Self {
        Self { shared, farewell, deadline, watchdog: None }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Has the deadline kept from now on, also while nobody polls. Needs a tokio runtime.
    pub(super) fn watch(&mut self) {
        let Some(Deadline { at, after }) = self.deadline else { return };
        let (shared, farewell) = (Arc::clone(&self.shared), self.farewell.clone());
        let watchdog = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            expire(&shared, &farewell, after);
        });
        self.watchdog = Some(watchdog.abort_handle());
    }

    /// Runs `work` within the deadline.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, CommandError> {
        let Some(Deadline { at, after }) = self.deadline else { return Ok(work.await) };
        tokio::time::timeout_at(at, work).await.map_err(|_| {
            expire(&self.shared, &self.farewell, after);
            CommandError::Deadline { after, partial: Box::default() }
        })
    }

    /// Waits until the channel is over or the deadline has passed.
    pub(super) async fn over(&self) {
        // What happened in time is told by the outcome.
        let _ = self.within(poll_fn(|cx| self.shared.poll_over(cx))).await;
    }

    pub(super) async fn status(&self) -> Result<ExitStatus, CommandError> {
        loop {
            self.over().await;
            if let Some(outcome) = self.shared.outcome() {
                return outcome;
            }
        }
    }

    pub(super) async fn output(&self) -> Result<Output, CommandError> {
        self.over().await;
        self.shared.output()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
        self.shared.discard_captured();
        cancel(&self.shared, &self.farewell);
    }
}

fn expire(shared: &Shared, farewell: &Farewell, after: Duration) {
    if shared.expire(after) {
        cancel(shared, farewell);
    }
}

fn cancel(shared: &Shared, farewell: &Farewell) {
    let Some((channel, started)) = shared.cancel() else { return };
    match farewell {
        Farewell::Close => channel.close(),
        Farewell::Cancel(_) if !started => channel.abort(),
        Farewell::Cancel(OnCancel::Hangup) => channel.abort(),
        Farewell::Cancel(OnCancel::Detach) => {}
        Farewell::Cancel(OnCancel::Eof) => {
            let _ = channel.send_eof();
        }
        Farewell::Cancel(OnCancel::Signal { signal, grace }) => match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(end_by_signal(channel, signal.clone(), *grace))),
            Err(_) => channel.abort(),
        },
    }
}

async fn end_by_signal(channel: ChannelRef<Process>, signal: Signal, grace: Duration) {
    let _ = channel.signal(signal);
    if tokio::time::timeout(grace, channel.wait()).await.is_err() {
        let _ = channel.signal(Signal::Kill);
        channel.close();
    }
}

/// A command that was started.
///
/// Its three streams are halves of their own: take them out to use them apart and at the same time. Dropping this
/// value does to the remote command what [`on_cancel`](super::Command::on_cancel) says, by default a hang-up; halves
/// that were taken out then come to their end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Child {
    /// Where the command's input is written to, if stdin is piped. Dropping it sends eof.
    pub stdin: Option<ChildStdin>,
    /// Where its output is read, if stdout is piped.
    pub stdout: Option<ChildStdout>,
    /// Where its error output is read, if stderr is piped. With a terminal there is none: all is in stdout.
    pub stderr: Option<ChildStderr>,
    channel: ChannelHandle,
    owner: Owner,
}

impl Child {
    pub(super) const fn new(channel: ChannelHandle, owner: Owner) -> Self {
        Self { stdin: None, stdout: None, stderr: None, channel, owner }
    }

    /// Which channel of its connection it runs on.
    #[must_use]
    pub fn id(&self) -> ChannelKey {
        self.channel.id()
    }

    /// The channel, for everything that has no function here.
    #[must_use]
    pub const fn channel(&self) -> &ChannelHandle {
        &self.channel
    }

    /// Waits until the channel is over, and says how the command ended. Drops [`stdin`](Self::stdin) first.
    ///
    /// A command that was hung up on our side is `Missing`. While this waits, streams that are still in this value
    /// cannot be read and are not waited for: each keeps its first [`unread_cap`](super::Command::unread_cap) unread
    /// bytes. To read them, take them out before, or use [`wait_with_output`](Self::wait_with_output).
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    ///
    /// # Errors
    /// The deadline passed, the channel was lost before the status came, or stdin or inherited output failed.
    pub async fn wait(&mut self) -> Result<ExitStatus, CommandError> {
        drop(self.stdin.take());
        let stdout = self.stdout.as_ref().map(|half| &half.0);
        let stderr = self.stderr.as_ref().map(|half| &half.0);
        let _draining = [stdout, stderr].map(|half| half.map(|half| Draining::start(&self.owner, half)));
        self.owner.status().await
    }

    /// How the command ended, `None` while it runs.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, CommandError> {
        self.owner.shared.outcome().transpose()
    }

    /// Drops stdin, collects what comes from the streams that are still in this value (up to 16 MiB each) and from
    /// those that are captured anyway, and waits for the end.
    ///
    /// # Cancel safety
    /// If the future is dropped, so is the child.
    ///
    /// # Errors
    /// As [`wait`](Self::wait); the channel was lost before all output was here.
    pub async fn wait_with_output(mut self) -> Result<Output, CommandError> {
        drop(self.stdin.take());
        if let Some(stdout) = self.stdout.take() {
            stdout.0.capture(DEFAULT_CAPTURE);
        }
        if let Some(stderr) = self.stderr.take() {
            stderr.0.capture(DEFAULT_CAPTURE);
        }
        self.owner.output().await
    }

    /// Sends a signal to the command (`signal`, RFC 4254 section 6.9). Returns when it is queued, behind input that was
    /// written before. Never answered: OpenSSH servers obey since 7.9, except for
    /// root, subsystems and forced commands.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn signal(&self, signal: Signal) -> Result<(), RequestError> {
        self.channel.signal(signal)
    }

    /// Sends SIGKILL. What holds for [`signal`](Self::signal) holds here; [`hang_up`](Self::hang_up) works always, on
    /// the channel at least.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn kill(&self) -> Result<(), RequestError> {
        self.signal(Signal::Kill)
    }

    /// Tells the new size of the terminal (`window-change`, RFC 4254 section 6.7). Never answered.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn window_change(&self, size: WindowSize) -> Result<(), RequestError> {
        self.channel.window_change(size)
    }

    /// Closes the channel now, as [`OnCancel::Hangup`] describes. Returns at once. Idempotent.
    pub fn hang_up(&self) {
        self.channel.abort();
    }

    /// Lets the command run on without this value: see [`OnCancel::Detach`]. A deadline no longer counts.
    pub fn detach(mut self) {
        self.owner.farewell = Farewell::Cancel(OnCancel::Detach);
    }
}

/// Has a stream not waited for, until dropped.
struct Draining<'a>(&'a Shared, Which);

impl<'a> Draining<'a> {
    fn start(owner: &'a Owner, half: &Inlet) -> Self {
        owner.shared.set_draining(half.which(), true);
        Self(&owner.shared, half.which())
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.set_draining(self.1, false);
    }
}
