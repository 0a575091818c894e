//! Writing into a channel from a `poll` function.
//!
//! Owns the wait for room in the outbound queue. Bytes are taken into the queue or not at all, so that nothing
//! reported as written can be lost with a dropped future or writer.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::{SendError, SendErrorKind};
use crate::wire::codes::DataType;
use crate::{ChannelHandle, ClientSide, Role};

/// The most that one write takes.
const MOST_PER_WRITE: usize = 256 << 10;

/// The writing side of a channel, for one type of data. Dropping a client's sends eof.
pub(super) struct Outlet<R: Role = ClientSide> {
    handle: ChannelHandle<R>,
    data_type: DataType,
    waiting: Option<BoxFuture<'static, ()>>,
    /// Dropping it sends eof.
    ends: bool,
}

impl<R: Role> fmt::Debug for Outlet<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("channel", &self.handle.id()).finish_non_exhaustive()
    }
}

impl Outlet {
    pub(super) const fn new(handle: ChannelHandle) -> Self {
        Self { handle, data_type: DataType::Normal, waiting: None, ends: true }
    }
}

impl<R: Role> Outlet<R> {
    /// One that says nothing when it is dropped: the end of the output is somebody else's to send.
    #[cfg(feature = "server")]
    pub(super) const fn open_ended(handle: ChannelHandle<R>, data_type: DataType) -> Self {
        Self { handle, data_type, waiting: None, ends: false }
    }

    pub(super) const fn handle(&self) -> &ChannelHandle<R> {
        &self.handle
    }

    /// Waits until there is room, or none is needed any more because the channel is closed. Others may fill it
    /// before the caller does.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() && self.try_send(Bytes::new()).is_ok() {
            return Poll::Ready(());
        }
        let handle = &self.handle;
        let waiting = self.waiting.get_or_insert_with(|| room(handle.clone()).boxed());
        ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(())
    }

    /// Sends the bytes if there is room; hands them back if there is none.
    pub(super) fn try_send(&self, data: Bytes) -> Result<Result<(), SendError>, Bytes> {
        match self.handle.send_typed(self.data_type, data.clone()).now_or_never() {
            Some(sent) => Ok(sent),
            None => Err(data),
        }
    }

    /// Sends the bytes as soon as there is room. Ready means taken.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, data: &Bytes) -> Poll<Result<(), SendError>> {
        loop {
            if self.waiting.is_some() {
                ready!(self.poll_room(cx));
            }
            if let Ok(sent) = self.try_send(data.clone()) {
                return Poll::Ready(sent);
            }
            ready!(self.poll_room(cx));
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.is_some() {
            ready!(self.poll_room(cx));
        }
        let piece = from.get(..MOST_PER_WRITE).unwrap_or(from);
        let data = Bytes::copy_from_slice(piece);
        Poll::Ready(match ready!(self.poll_send(cx, &data)) {
            Ok(()) => Ok(data.len()),
            Err(error) => Err(error.into()),
        })
    }

    /// Sends the bytes, waiting for room as long as the channel lives.
    pub(super) fn send(&self, data: Bytes) -> impl Future<Output = Result<(), SendError>> + Send + use<R> {
        let (handle, data_type) = (self.handle.clone(), self.data_type);
        async move { send_patiently(&handle, data_type, data).await }
    }

    /// Sends eof behind what was written. Doing so twice, or after the channel's end, is no mistake.
    pub(super) fn shut(&self) {
        let _ = self.handle.send_eof();
    }
}

impl<R: Role> Drop for Outlet<R> {
    fn drop(&mut self) {
        if self.ends {
            self.shut();
        }
    }
}

async fn room<R: Role>(handle: ChannelHandle<R>) {
    // Nothing to send: what remains of it is the wait.
    let _ = send_patiently(&handle, DataType::Normal, Bytes::new()).await;
}

/// Sends, waiting for room as long as the channel lives: the send timeout means nothing where a command may take its
/// time with its input.
pub(super) async fn send_patiently<R: Role>(
    handle: &ChannelHandle<R>,
    data_type: DataType,
    mut data: Bytes,
) -> Result<(), SendError> {
    loop {
        match handle.send_typed(data_type, data).await {
            Err(SendError { kind: SendErrorKind::Timeout { .. }, data: back, .. }) => data = back,
            done => return done,
        }
    }
}

/// The standard input of a command: bytes written here go to it.
///
/// A write waits while the channel's outbound queue is above its high-water mark, as long as the channel lives: a
/// command that does not read its input holds its writer up, as with a local pipe. `flush` returns at once, since
/// nothing is buffered here; [`drained`](Self::drained) waits until the peer's window has taken everything.
///
/// Shutting down, and dropping, send eof (SSH_MSG_CHANNEL_EOF, RFC 4254 section 5.3) behind what was written.
///
/// # Cancel safety
/// What a write reported as taken is sent, even if this value is dropped right after; a write that was dropped before
/// has taken nothing.
#[derive(Debug)]
pub struct ChildStdin(pub(super) Outlet);

impl ChildStdin {
    /// Sends these bytes without copying them. Returns when the outbound queue took all of them.
    ///
    /// # Cancel safety
    /// Nothing was taken if the future is dropped before it returned.
    ///
    /// # Errors
    /// The channel is closed, or eof was sent. The data comes back whole.
    pub async fn send(&mut self, data: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.0.send(data.into()).await
    }

    /// Waits until everything written so far was taken by the peer's window.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    /// The channel ended before.
    pub async fn drained(&mut self) -> io::Result<()> {
        self.0.handle().flush().await.map_err(Into::into)
    }
}

macro_rules! async_write {
    ($type:ty, $self:ident => $outlet:expr) => {
        impl tokio::io::AsyncWrite for $type {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                from: &[u8],
            ) -> Poll<io::Result<usize>> {
                let $self = &mut *self;
                $outlet.poll_write(cx, from)
            }

            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $self = &*self;
                $outlet.shut();
                Poll::Ready(Ok(()))
            }
        }
    };
}

pub(super) use async_write;

async_write!(ChildStdin, this => this.0);
