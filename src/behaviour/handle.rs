//! The `ssh_connection` functions of one channel, from wherever they are called.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::role::{ClientSide, Role, ServerSide};
use crate::error::{CloseReason, RequestError, SendError, SendErrorKind};
use crate::observe::ChannelInfo;
use crate::port::{Outgoing, Port};
use crate::wire::codes::DataType;
use crate::wire::id::ChannelKey;
use crate::wire::pty::{PtyRequest, WindowSize};
use crate::wire::request::{ChannelRequest, ExitSignal, ExitStatus};
use crate::wire::signal::Signal;

/// The deadlines a handle works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandleTimeouts {
    pub(crate) request: Duration,
    pub(crate) send: Duration,
}

/// What can be asked of one channel from any task: the functions of OTP's `ssh_connection`.
///
/// Cheap to clone. [`ChannelContext`](super::ChannelContext) and [`ChannelRef`](super::ChannelRef)
/// dereference to it. Holding one does not keep the channel open.
///
/// Everything queued on a channel (data, requests, eof, close) goes out in the order it was queued.
pub struct ChannelHandle<R: Role = ClientSide> {
    port: Arc<Port>,
    timeouts: HandleTimeouts,
    role: PhantomData<fn() -> R>,
}

impl<R: Role> Clone for ChannelHandle<R> {
    fn clone(&self) -> Self {
        Self { port: Arc::clone(&self.port), timeouts: self.timeouts, role: PhantomData }
    }
}

impl<R: Role> std::fmt::Debug for ChannelHandle<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelHandle").field("channel", &self.port.key()).finish_non_exhaustive()
    }
}

/// # On both sides
impl<R: Role> ChannelHandle<R> {
    pub(crate) const fn new(port: Arc<Port>, timeouts: HandleTimeouts) -> Self {
        Self { port, timeouts, role: PhantomData }
    }

    pub(crate) const fn port(&self) -> &Arc<Port> {
        &self.port
    }

    /// Which channel this is. Never reused on a connection.
    #[must_use]
    pub fn id(&self) -> ChannelKey {
        self.port.key()
    }

    /// Sends ordinary data (SSH_MSG_CHANNEL_DATA, RFC 4254 section 5.2).
    ///
    /// Returns when the channel's outbound queue took all of it, which waits while the queue is above its
    /// high-water mark. It is then sent as the peer's window allows; [`flush`](Self::flush) waits for that.
    /// Sends of several callers take turns, each stays in one piece.
    ///
    /// # Cancel safety
    /// Nothing was taken if the future is dropped before it returned.
    ///
    /// # Errors
    /// The channel is closed, eof was sent, or there was no room in time. The data comes back whole.
    pub async fn send(&self, data: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.send_typed(DataType::Normal, data.into()).await
    }

    /// As [`send`](Self::send), with a data type: SSH_MSG_CHANNEL_EXTENDED_DATA unless it is `Normal`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_typed(&self, data_type: DataType, data: Bytes) -> Result<(), SendError> {
        let limit = self.timeouts.send;
        match tokio::time::timeout(limit, self.port.outbox.room()).await {
            Ok(_turn) => self.port.send(data_type, data.clone()).map_err(|kind| SendError { kind, data }),
            Err(_) => Err(SendError { kind: SendErrorKind::Timeout { after: limit }, data }),
        }
    }

    /// Waits until everything queued so far was taken by the peer's window.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    /// The channel ended before.
    pub async fn flush(&self) -> Result<(), CloseReason> {
        self.port.outbox.drained().await
    }

    /// Says that no more data will come (SSH_MSG_CHANNEL_EOF, RFC 4254 section 5.3), after all data queued
    /// before. Returns at once. Idempotent. Data can still be received.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn send_eof(&self) -> Result<(), CloseReason> {
        self.push(Outgoing::Eof)
    }

    /// Closes the channel (SSH_MSG_CHANNEL_CLOSE, RFC 4254 section 5.3) after all that was queued before, or
    /// after the close timeout if the peer does not read. Returns at once. Idempotent.
    pub fn close(&self) {
        self.port.close();
    }

    /// Closes the channel now; what is queued in either direction is dropped. Returns at once. Idempotent.
    pub fn abort(&self) {
        self.port.abort(CloseReason::Local);
    }

    /// Gives the channel the patience of [`SlowConsumer::Yield`](crate::config::SlowConsumer::Yield).
    pub(crate) fn yields_after(&self, patience: Duration) {
        self.port.inbox.budget().yields_after(patience);
    }

    /// What there is to see of the channel at this moment, as OTP's `channel_info`.
    #[must_use]
    pub fn info(&self) -> ChannelInfo {
        self.port.look()
    }

    /// What runs on it, as in [`ChannelInfo::command`].
    pub(crate) fn command(&self) -> Option<Arc<str>> {
        self.port.notes().command()
    }

    /// Why the channel is closed; `None` while it can send.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.port.outbox.closed()
    }

    fn push(&self, item: Outgoing) -> Result<(), CloseReason> {
        self.port.push(item).map_err(|kind| match kind {
            SendErrorKind::Closed(reason) => reason,
            _ => CloseReason::Local,
        })
    }

    pub(crate) async fn request(&self, request: ChannelRequest) -> Result<(), RequestError> {
        let name = request.name().to_owned();
        let answer = self.port.request(request)?;
        let limit = self.timeouts.request;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(RequestError::Refused { request: name }),
            Ok(Err(_)) => Err(RequestError::Closed(self.closed().unwrap_or(CloseReason::Peer))),
            Err(_) => Err(RequestError::Timeout { request: name, after: limit }),
        }
    }
}

/// # On the side that connected
///
/// Each function that returns a future queues its request when first polled, and resolves with the peer's
/// answer. If it is dropped before, the request stands and its answer is swallowed.
impl ChannelHandle<ClientSide> {
    /// Runs a command (`exec`, RFC 4254 section 6.5). One of exec, shell or subsystem a channel.
    ///
    /// # Errors
    /// The peer refused, did not answer in time, or the channel is closed.
    pub async fn exec(&self, command: impl Into<Bytes> + Send) -> Result<(), RequestError> {
        self.request(ChannelRequest::Exec { command: command.into() }).await
    }

    /// Starts the user's shell (`shell`, RFC 4254 section 6.5).
    ///
    /// # Errors
    /// As [`exec`](Self::exec).
    pub async fn shell(&self) -> Result<(), RequestError> {
        self.request(ChannelRequest::Shell).await
    }

    /// Starts a subsystem (`subsystem`, RFC 4254 section 6.5).
    ///
    /// # Errors
    /// As [`exec`](Self::exec); an empty name is refused here.
    pub async fn subsystem(&self, name: impl Into<String> + Send) -> Result<(), RequestError> {
        self.request(ChannelRequest::Subsystem { name: name.into() }).await
    }

    /// Asks for a pseudo-terminal (`pty-req`, RFC 4254 section 6.2). Before exec or shell.
    ///
    /// # Errors
    /// As [`exec`](Self::exec). `Unsupported` for terminal modes outside RFC 4254 section 8 and RFC 8160,
    /// which russh cannot encode.
    pub async fn ptty_alloc(&self, pty: PtyRequest) -> Result<(), RequestError> {
        self.request(ChannelRequest::Pty(pty)).await
    }

    /// Sets an environment variable (`env`, RFC 4254 section 6.4). Before exec or shell. Servers refuse most.
    ///
    /// # Errors
    /// As [`exec`](Self::exec); an empty name or one with `=` is refused here.
    pub async fn setenv(
        &self,
        name: impl Into<String> + Send,
        value: impl Into<String> + Send,
    ) -> Result<(), RequestError> {
        self.request(ChannelRequest::Env { name: name.into(), value: value.into() }).await
    }

    /// Sends a signal to the remote process (`signal`, RFC 4254 section 6.9). Never answered: OpenSSH servers
    /// deliver it only to commands of the user's own session, and say nothing when they do not.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn signal(&self, signal: Signal) -> Result<(), RequestError> {
        self.port.notify(ChannelRequest::Signal(signal))
    }

    /// Tells the new size of the terminal (`window-change`, RFC 4254 section 6.7). Never answered.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn window_change(&self, size: WindowSize) -> Result<(), RequestError> {
        self.port.notify(ChannelRequest::WindowChange(size))
    }

    /// Sends a break of `length_ms` milliseconds (`break`, RFC 4335).
    ///
    /// # Errors
    /// As [`exec`](Self::exec). russh 0.65.1 has no way to send this request: `Unsupported` over it.
    pub async fn send_break(&self, length_ms: u32) -> Result<(), RequestError> {
        self.request(ChannelRequest::Break { length_ms }).await
    }
}

/// # On the side that was connected to
impl ChannelHandle<ServerSide> {
    /// Reports what the command returned (`exit-status`, RFC 4254 section 6.10). Returns at once.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn exit_status(&self, status: u32) -> Result<(), RequestError> {
        self.port.notify(ChannelRequest::ExitStatus(status))
    }

    /// Reports the signal that ended the command (`exit-signal`, RFC 4254 section 6.10). Returns at once.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn exit_signal(&self, signal: ExitSignal) -> Result<(), RequestError> {
        self.port.notify(ChannelRequest::ExitSignal(signal))
    }

    /// The orderly end of a command: all output queued before, then the status, eof, and close, in that order.
    /// Returns at once; nothing can be sent after it.
    ///
    /// The close waits for the output as long as the connection lives, however slowly the peer reads.
    /// [`abort`](Self::abort) ends the wait.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn exit(&self, status: u32) -> Result<(), RequestError> {
        self.exit_with(ExitStatus::Code(status))
    }

    /// As [`exit`](Self::exit), with a status, a signal (`exit-signal`), or no word about either.
    ///
    /// # Errors
    /// As [`exit`](Self::exit).
    pub fn exit_with(&self, status: impl Into<ExitStatus>) -> Result<(), RequestError> {
        match status.into() {
            ExitStatus::Code(code) => self.exit_status(code)?,
            ExitStatus::Signal(signal) => self.exit_signal(signal)?,
            ExitStatus::Missing => {}
        }
        self.send_eof().map_err(RequestError::Closed)?;
        self.port.close_when_sent();
        Ok(())
    }
}
