//! The other side of a stream: what a function gets that runs on a channel of a server.
//!
//! Reading and writing are those of a client's [`ChannelStream`](super::ChannelStream). What differs is the end: the
//! function's result is sent behind its output, so nothing here says eof when it is dropped.
//!
//! And what has arrived is the function's, also when the channel is over: see [`Served`].

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::io::ReadBuf;
use tokio::task::JoinHandle;
use tokio_util::codec::{Framed, LinesCodec};

use super::lane::{Chunk, Fate, Lane};
use super::outlet::{Outlet, async_write};
use super::pipe::{Inlet, async_read};
use super::relay::{Ends, Parted, Passed, Socket};
use super::shared::{Shared, Which};
use crate::error::{BoxError, CloseReason, RequestError, SendError};
use crate::wire::codes::DataType;
use crate::wire::request::ExitStatus;
use crate::{ChannelContext, ChannelHandle, ChannelMsg, Next, ServerChannel, ServerSide};

/// A channel of a server as one duplex stream: what is read is what the peer sends, what is written goes to its
/// standard output, and [`stderr`](Self::stderr) to its standard error.
///
/// Functions of a [`Router`](crate::Router) get it: [`exec_stream_fn`](crate::Router::exec_stream_fn),
/// [`shell_fn`](crate::Router::shell_fn), [`subsystem_fn`](crate::Router::subsystem_fn). Their result is the exit
/// status; it goes out behind everything that was written, then eof and close follow.
///
/// A write waits while the channel's outbound queue is above its high-water mark, so a peer that does not read holds
/// its writer up. Bytes that are not read yet hold the peer up as the channel's
/// [slow-consumer policy](crate::config::SlowConsumer) says. `shutdown` sends eof at once (RFC 4254 section 5.3);
/// dropping the stream sends nothing, and has what still comes dropped on arrival.
///
/// # Cancel safety
/// What a write reported as taken is sent. Bytes are consumed only when a read returns them.
///
/// # The end
/// When the peer closes the channel, or its connection is lost, writing fails, and what has arrived can still be read to
/// its end. The function goes on for it: until it returns, or has read nothing for
/// [`Timeouts::close`](crate::config::Timeouts::close) (10 s by default). It is dropped at once if nothing ever arrived
/// or it dropped the reading half without a look, and when the channel is ended on this side: by an abort, for its
/// budget, with its connection or the daemon. Until it has ended the channel counts as one of its connection.
///
/// # Errors
/// Reading fails after the last byte when the channel was lost before its eof; writing fails when it is closed.
#[derive(Debug)]
pub struct ServerStream {
    outlet: Outlet<ServerSide>,
    inlet: Inlet<()>,
}

impl ServerStream {
    const fn new(channel: ChannelHandle<ServerSide>, shared: Arc<Shared<()>>) -> Self {
        Self {
            outlet: Outlet::open_ended(channel, DataType::Normal),
            inlet: Inlet::new(shared, Which::Stdout),
        }
    }

    /// The channel: flush, info, abort.
    #[must_use]
    pub const fn channel(&self) -> &ChannelHandle<ServerSide> {
        self.outlet.handle()
    }

    /// A writer to the peer's standard error (SSH_EXTENDED_DATA_STDERR, RFC 4254 section 5.2). As many as wanted.
    #[must_use]
    pub fn stderr(&self) -> ServerStderr {
        ServerStderr(Outlet::open_ended(self.channel().clone(), DataType::Stderr))
    }

    /// The next bytes as they came from the peer, without copying; `None` at its eof.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The channel ended without eof.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.inlet.poll_chunk(cx)).await
    }

    /// Sends these bytes without copying them. Returns when the outbound queue took all of them.
    ///
    /// # Cancel safety
    /// Nothing was taken if the future is dropped before it returned.
    ///
    /// # Errors
    /// The channel is closed, or eof was sent. The data comes back whole.
    pub async fn send(&mut self, data: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.outlet.send(data.into()).await
    }

    /// Joins it with a socket: see [`relay`](super::relay).
    pub(crate) async fn join(self, socket: &impl Socket, early: Bytes, passed: &Passed) -> Parted {
        Ends { inlet: self.inlet, outlet: self.outlet }.join(socket, early, passed).await
    }

    /// Two halves that can be used and dropped apart.
    #[must_use]
    pub fn into_split(self) -> (ServerReader, ServerWriter) {
        (ServerReader(self.inlet), ServerWriter(self.outlet))
    }

    /// A stream and sink of frames by any codec of `tokio-util`.
    pub fn framed<C>(self, codec: C) -> Framed<Self, C> {
        Framed::new(self, codec)
    }

    /// A stream and sink of lines of at most `max_bytes` each; a longer line is an error and is skipped.
    #[must_use]
    pub fn lines(self, max_bytes: usize) -> Framed<Self, LinesCodec> {
        self.framed(LinesCodec::new_with_max_length(max_bytes))
    }
}

/// The reading half of a [`ServerStream`].
#[derive(Debug)]
pub struct ServerReader(Inlet<()>);

/// The writing half of a [`ServerStream`]. Dropping it sends nothing.
#[derive(Debug)]
pub struct ServerWriter(Outlet<ServerSide>);

impl ServerWriter {
    /// The channel: flush, info, abort.
    #[must_use]
    pub const fn channel(&self) -> &ChannelHandle<ServerSide> {
        self.0.handle()
    }

    /// As [`ServerStream::stderr`].
    #[must_use]
    pub fn stderr(&self) -> ServerStderr {
        ServerStderr(Outlet::open_ended(self.channel().clone(), DataType::Stderr))
    }

    /// As [`ServerStream::send`].
    ///
    /// # Cancel safety
    /// Nothing was taken if the future is dropped before it returned.
    ///
    /// # Errors
    /// The channel is closed, or eof was sent. The data comes back whole.
    pub async fn send(&mut self, data: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.0.send(data.into()).await
    }
}

/// Writes to the standard error of a [`ServerStream`]'s peer. Dropping it sends nothing.
#[derive(Debug)]
pub struct ServerStderr(Outlet<ServerSide>);

impl ServerStderr {
    /// As [`ServerStream::send`].
    ///
    /// # Cancel safety
    /// Nothing was taken if the future is dropped before it returned.
    ///
    /// # Errors
    /// The channel is closed, or eof was sent. The data comes back whole.
    pub async fn send(&mut self, data: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.0.send(data.into()).await
    }
}

async_read!(ServerStream, this => this.inlet);
async_write!(ServerStream, this => this.outlet);
async_read!(ServerReader, this => this.0);
async_write!(ServerWriter, this => this.0);
async_write!(ServerStderr, this => this.0);

/// Runs a function on a channel, beside its actor.
///
/// When the channel is over before it, the actor stays for as long as the function reads what has arrived, so that the
/// channel stays in its connection's table, and its bytes in the connection's account.
pub(crate) struct Served<W> {
    work: Option<W>,
    shared: Arc<Shared<()>>,
    /// Says whether the function has returned; it may have panicked.
    task: Option<JoinHandle<bool>>,
}

const PANICKED: &str = "the function on the channel panicked";

/// The function has returned; `None` if it panicked.
pub(crate) struct Done(Option<ExitStatus>);

impl<W> Served<W> {
    pub(crate) fn new(work: W) -> Self {
        let shared = Shared::new(Lane::new(Fate::Pipe, 0), Lane::new(Fate::Discard, 0));
        Self { work: Some(work), shared, task: None }
    }

    /// Lets the function come to its end as long as it reads. False if it has panicked.
    async fn let_finish(&mut self, patience: Duration) -> bool {
        let Some(task) = &mut self.task else { return true };
        loop {
            let before = self.shared.consumed();
            if let Ok(ended) = tokio::time::timeout(patience, &mut *task).await {
                return ended.unwrap_or(false);
            }
            if self.shared.consumed() == before {
                tracing::debug!("a function that reads nothing is dropped, its channel is over");
                return true;
            }
        }
    }
}

/// Whether what has arrived can still be read: nobody on this side has ended the channel.
const fn leaves_the_rest(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Peer | CloseReason::Connection(_))
}

impl<W, F> ServerChannel for Served<W>
where
    W: FnOnce(ServerStream) -> F + Send + 'static,
    F: Future<Output: Into<ExitStatus>> + Send + 'static,
{
    type Msg = Done;

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        // What the function writes need not come from what it reads.
        ctx.withhold_data(false);
        let stream = ServerStream::new(ctx.handle(), Arc::clone(&self.shared));
        let channel = ctx.myself();
        self.task = Some(tokio::spawn(async move {
            let run = AssertUnwindSafe(async move { work(stream).await.into() });
            let status: Option<ExitStatus> = run.catch_unwind().await.ok();
            let returned = status.is_some();
            let _ = channel.cast(Done(status));
            returned
        }));
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data_type: DataType::Normal, data } => {
                self.shared.push(Which::Stdout, Chunk::new(data, ctx.hold_credit()));
            }
            ChannelMsg::Eof => self.shared.eof(),
            ChannelMsg::Closed { reason } => {
                let finish = leaves_the_rest(&reason) && self.shared.is_awaited(Which::Stdout);
                self.shared.end(reason);
                if finish {
                    let patience = ctx.close_timeout();
                    let returned = tokio::select! {
                        biased;
                        () = ctx.until_cut_off() => true,
                        returned = self.let_finish(patience) => returned,
                    };
                    returned.then_some(()).ok_or(PANICKED)?;
                }
            }
            _ => {}
        }
        Ok(Next::Continue)
    }

    async fn handle_msg(
        &mut self,
        Done(status): Done,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        match ctx.exit_with(status.ok_or(PANICKED)?) {
            // Closed by the peer, or by the function: there is nobody to tell, and what was queued before still goes.
            Err(RequestError::Closed(reason)) => {
                tracing::debug!(channel = %ctx.id(), %reason, "the end of a function came too late");
                Ok(Next::Continue)
            }
            told => told.map(|()| Next::Continue).map_err(Into::into),
        }
    }
}

impl<W> Drop for Served<W> {
    /// Also reached when the actor was killed.
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.shared.end(CloseReason::Local);
    }
}
