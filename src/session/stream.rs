//! A channel as one stream of bytes in both directions.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio_util::codec::{Framed, LinesCodec};

use super::child::Owner;
use super::error::CommandError;
use super::outlet::{Outlet, async_write};
use super::pipe::{ChildStderr, Inlet, async_read};
use super::shared::Which;
use crate::ChannelHandle;
use crate::error::SendError;
use crate::wire::request::ExitStatus;

/// A channel as one duplex stream: what is written goes out as data, what is read is the peer's data of type `Normal`.
///
/// From [`Command::stream`](super::Command::stream) and [`ConnectionRef::open_stream`](crate::ConnectionRef::open_stream).
/// Reading is as of [`ChildStdout`](super::ChildStdout), writing as of [`ChildStdin`](super::ChildStdin): same rules for
/// back-pressure, the end and cancel safety. Extended data is dropped unless `stderr` was set on the command.
///
/// Dropping it sends eof and closes the channel behind what was written (RFC 4254 section 5.3), at the latest after the
/// close timeout.
///
/// ```no_run
/// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
///
/// let mut sftp = conn.subsystem("sftp").stream().await?;
/// sftp.write_all(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).await?; // SSH_FXP_INIT, version 3
/// let length = sftp.read_u32().await?;
/// println!("an answer of {length} bytes, type {}", sftp.read_u8().await?);
/// # Ok(())
/// # }
/// ```
///
/// With codecs of `tokio-util` it is a stream and a sink of frames:
///
/// ```no_run
/// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
/// use futures::{SinkExt as _, StreamExt as _};
///
/// let mut lines = conn.exec("while read line; do echo got $line; done").stream().await?.lines(4096);
/// lines.send("one").await?;
/// if let Some(line) = lines.next().await {
///     assert_eq!(line?, "got one");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChannelStream {
    // Dropped in this order: eof, then close.
    outlet: Outlet,
    inlet: Inlet,
    stderr: Option<ChildStderr>,
    owner: Owner,
}

impl ChannelStream {
    pub(super) fn new(channel: ChannelHandle, owner: Owner, stderr: Option<ChildStderr>) -> Self {
        let inlet = Inlet::new(Arc::clone(owner.shared()), Which::Stdout);
        Self { outlet: Outlet::new(channel), inlet, stderr, owner }
    }

    /// The channel: signals, window changes, flush, close.
    #[must_use]
    pub const fn channel(&self) -> &ChannelHandle {
        self.outlet.handle()
    }

    /// The extended data of type `Stderr`, if it was asked to be piped. Only the first call has it.
    pub const fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.stderr.take()
    }

    /// The next bytes as they came from the peer, without copying; `None` at the end.
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

    /// Sends eof, drops what is still to be read, waits until the channel is over, and says how the command ended, if
    /// there was one.
    ///
    /// # Cancel safety
    /// If the future is dropped, so is the stream.
    ///
    /// # Errors
    /// The deadline passed, or the channel was lost.
    pub async fn finish(self) -> Result<ExitStatus, CommandError> {
        let Self { outlet, inlet, stderr, owner } = self;
        drop((outlet, inlet, stderr));
        owner.status().await
    }

    /// Two halves that can be used and dropped apart. Dropping the writing half sends eof; the channel is closed when
    /// both are gone.
    #[must_use]
    pub fn into_split(self) -> (StreamReader, StreamWriter) {
        let Self { outlet, inlet, stderr, owner } = self;
        drop(stderr);
        let owner = Arc::new(owner);
        (StreamReader { inlet, _owner: Arc::clone(&owner) }, StreamWriter { outlet, _owner: owner })
    }

    /// A stream and sink of frames by any codec of `tokio-util`.
    pub fn framed<C>(self, codec: C) -> Framed<Self, C> {
        Framed::new(self, codec)
    }

    /// A stream and sink of lines of at most `max_bytes` each. A longer line is an error and is skipped: the stream
    /// then says `None` once, as `Framed` does after every error, and goes on with the next line when asked again.
    #[must_use]
    pub fn lines(self, max_bytes: usize) -> Framed<Self, LinesCodec> {
        self.framed(LinesCodec::new_with_max_length(max_bytes))
    }
}

/// The reading half of a [`ChannelStream`].
#[derive(Debug)]
pub struct StreamReader {
    inlet: Inlet,
    _owner: Arc<Owner>,
}

/// The writing half of a [`ChannelStream`]. Dropping it sends eof.
#[derive(Debug)]
pub struct StreamWriter {
    outlet: Outlet,
    _owner: Arc<Owner>,
}

impl StreamReader {
    /// As [`ChannelStream::chunk`].
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The channel ended without eof.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.inlet.poll_chunk(cx)).await
    }
}

impl StreamWriter {
    /// The channel: signals, window changes, flush, close.
    #[must_use]
    pub const fn channel(&self) -> &ChannelHandle {
        self.outlet.handle()
    }
}

async_read!(ChannelStream, this => this.inlet);
async_write!(ChannelStream, this => this.outlet);
async_read!(StreamReader, this => this.inlet);
async_write!(StreamWriter, this => this.outlet);
