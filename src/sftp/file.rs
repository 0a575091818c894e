//! A remote file as a stream of bytes: reading ahead, writing behind, seeking.

use std::fmt;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures::stream::{FuturesOrdered, FuturesUnordered};
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use super::attributes::Attributes;
use super::client::{MOST_AT_ONCE, Reach, at_once};
use super::error::{SftpError, SftpErrorKind};
use super::handle::Handle;
use super::piece::Piece;

/// An open remote file, from [`SftpClient::open`](super::SftpClient::open) and its kin.
///
/// It reads ahead of its reader and confirms behind its writer, both bounded by
/// [`SftpOptions`](super::SftpOptions): bytes of one file in memory are at most these two. Reading, writing and seeking
/// share one position. `flush` waits until the server has confirmed what was written; [`sync`](Self::sync) until it is
/// on the server's disk, too.
///
/// Each write makes a request of its own, and small ones cost as much as big ones: put a [`tokio::io::BufWriter`] in front
/// of many small ones. Reads of any size are served from what was read ahead.
///
/// Dropping it closes the handle behind what was written, without a word about how that went:
/// [`close`](Self::close) has it.
///
/// ```no_run
/// # async fn example(sftp: ractor_ssh::sftp::SftpClient) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
///
/// let mut file = sftp.create("notes").await?;
/// file.write_all(b"hello\n").await?;
/// file.close().await?;
///
/// let mut text = String::new();
/// sftp.open("notes").await?.read_to_string(&mut text).await?;
/// assert_eq!(text, "hello\n");
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// A read that is dropped has taken nothing; what a write reported as taken is sent as long as the file is polled,
/// flushed or closed.
pub struct RemoteFile {
    handle: Arc<Handle>,
    path: Bytes,
    reach: Reach,
    position: u64,
    reading: Reading,
    writing: FuturesUnordered<Pending<Result<usize, SftpErrorKind>>>,
    unconfirmed: usize,
    failed: Option<SftpErrorKind>,
    seeking: Option<Pending<Result<u64, SftpError>>>,
    closing: Option<Pending<Result<(), SftpErrorKind>>>,
}

/// Shareable, so that a file is: only what has `&mut` polls it.
type Pending<T> = Pin<Box<dyn Future<Output = T> + Send + Sync>>;

/// What is asked for ahead.
#[derive(Default)]
struct Reading {
    pieces: FuturesOrdered<Pending<Result<Piece, SftpErrorKind>>>,
    /// What has come, from the position on.
    ready: std::collections::VecDeque<Bytes>,
    /// Where the next request begins, if there is something asked for or ready.
    next: u64,
    /// How many requests may be made ahead now.
    window: usize,
    end: bool,
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFile")
            .field("path", &super::error::printable(&self.path))
            .field("position", &self.position)
            .field("unconfirmed", &self.unconfirmed)
            .finish_non_exhaustive()
    }
}

impl RemoteFile {
    pub(super) fn new(handle: Handle, path: Bytes, reach: Reach) -> Self {
        Self {
            handle: Arc::new(handle),
            path,
            reach,
            position: 0,
            reading: Reading::default(),
            writing: FuturesUnordered::new(),
            unconfirmed: 0,
            failed: None,
            seeking: None,
            closing: None,
        }
    }

    pub(super) const fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Its attributes now.
    ///
    /// # Errors
    /// What the server said.
    pub fn stat(&self) -> impl Future<Output = Result<Attributes, SftpError>> + Send + use<> {
        let (handle, path) = (Arc::clone(&self.handle), self.path.clone());
        async move { handle.stat().await.map_err(|kind| kind.at("stat", &path)) }
    }

    /// Changes its attributes: those that are set in `attributes`.
    ///
    /// # Errors
    /// What the server said.
    pub fn set_attributes(
        &self,
        attributes: Attributes,
    ) -> impl Future<Output = Result<(), SftpError>> + Send + use<> {
        let (handle, path) = (Arc::clone(&self.handle), self.path.clone());
        async move { handle.set(&attributes).await.map_err(|kind| kind.at("set attributes of", &path)) }
    }

    /// Reads from anywhere without moving the position: up to `len` bytes, fewer only at the end of the file.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the server said.
    pub fn read_at(
        &self,
        offset: u64,
        len: usize,
    ) -> impl Future<Output = Result<Vec<u8>, SftpError>> + Send + use<> {
        let (handle, path, most) = (Arc::clone(&self.handle), self.path.clone(), self.reach.read);
        async move {
            let mut bytes = Vec::new();
            while bytes.len() < len {
                let count = most.min(len - bytes.len());
                let from = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                let piece = handle.read(from, count).await.map_err(|kind| kind.at("read", &path))?;
                let short = piece.len() < count;
                piece.into_chunks().iter().for_each(|chunk| bytes.extend_from_slice(chunk));
                if short {
                    break;
                }
            }
            Ok(bytes)
        }
    }

    /// Writes anywhere without moving the position, and waits until the server has confirmed it.
    ///
    /// # Cancel safety
    /// If the future is dropped, any part of the data may have been written.
    ///
    /// # Errors
    /// What the server said.
    pub fn write_at<'a>(
        &self,
        offset: u64,
        data: &'a [u8],
    ) -> impl Future<Output = Result<(), SftpError>> + Send + use<'a> {
        let (handle, path, most) = (Arc::clone(&self.handle), self.path.clone(), self.reach.write);
        async move {
            let mut at = offset;
            for chunk in data.chunks(most) {
                let request = handle.write_of(at, chunk);
                handle.write(request).await.map_err(|kind| kind.at("write", &path))?;
                at = at.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            }
            Ok(())
        }
    }

    /// Waits until the server has confirmed what was written and has put it on its disk (`fsync@openssh.com`).
    ///
    /// # Errors
    /// What the server said of this, or of a write before; the server does not offer it.
    pub async fn sync(&mut self) -> Result<(), SftpError> {
        self.confirmed().await?;
        if !self.reach.fsync {
            let extension = super::client::FSYNC;
            return Err(self.error("sync", SftpErrorKind::Unsupported { extension }));
        }
        let answer = self.handle.extended(super::client::FSYNC).await;
        answer.and_then(super::reply::Reply::done).map_err(|kind| self.error("sync", kind))
    }

    /// Waits until the server has confirmed what was written.
    ///
    /// # Errors
    /// A write failed.
    pub async fn confirmed(&mut self) -> Result<(), SftpError> {
        std::future::poll_fn(|cx| self.poll_confirmed(cx)).await.map_err(|kind| self.error("write", kind))
    }

    /// Waits until all is written, closes it, and says how that went.
    ///
    /// # Cancel safety
    /// If the future is dropped, the file is closed all the same.
    ///
    /// # Errors
    /// A write failed, or the close.
    pub async fn close(mut self) -> Result<(), SftpError> {
        self.confirmed().await?;
        self.handle.close().await.map_err(|kind| self.error("close", kind))
    }

    fn error(&self, operation: &'static str, kind: SftpErrorKind) -> SftpError {
        kind.at(operation, &self.path)
    }

    fn io_error(&self, operation: &'static str, kind: SftpErrorKind) -> io::Error {
        self.error(operation, kind).into()
    }

    /// Takes confirmations that are there.
    fn poll_one(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match ready!(self.writing.poll_next_unpin(cx)) {
            Some(Ok(len)) => self.unconfirmed = self.unconfirmed.saturating_sub(len),
            Some(Err(kind)) => self.failed = Some(self.failed.take().unwrap_or(kind)),
            None => {
                self.unconfirmed = 0;
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    }

    fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SftpErrorKind>> {
        while ready!(self.poll_one(cx)) {}
        Poll::Ready(self.failed.take().map_or(Ok(()), Err))
    }

    fn ask_ahead(&mut self) {
        let reading = &mut self.reading;
        if reading.pieces.is_empty() && reading.ready.is_empty() {
            reading.next = self.position;
        }
        let most = at_once(self.reach.read_ahead, self.reach.read);
        reading.window = reading.window.clamp(1, most);
        while !reading.end && reading.pieces.len() < reading.window {
            let (handle, offset, len) = (Arc::clone(&self.handle), reading.next, self.reach.read);
            reading.pieces.push_back(Box::pin(async move { handle.read(offset, len).await }));
            reading.next = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
    }
}

impl AsyncRead for RemoteFile {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // What was written before is seen.
        ready!(this.poll_confirmed(cx)).map_err(|kind| this.io_error("write", kind))?;
        while this.reading.ready.is_empty() {
            this.ask_ahead();
            match ready!(Pin::new(&mut this.reading.pieces).poll_next(cx)) {
                Some(Ok(piece)) => {
                    if piece.len() < this.reach.read {
                        // The end; what was asked for behind it says nothing.
                        this.reading.pieces = FuturesOrdered::new();
                        this.reading.end = true;
                    }
                    this.reading.window = this.reading.window.saturating_mul(2);
                    this.reading.ready.extend(piece.into_chunks());
                    this.ask_ahead_more();
                }
                Some(Err(kind)) => {
                    this.reading = Reading::default();
                    return Poll::Ready(Err(this.io_error("read", kind)));
                }
                None => {
                    // The end has been told once; who reads again asks again.
                    this.reading = Reading::default();
                    return Poll::Ready(Ok(()));
                }
            }
        }
        while into.remaining() > 0
            && let Some(chunk) = this.reading.ready.front_mut()
        {
            let len = chunk.len().min(into.remaining());
            into.put_slice(chunk.get(..len).unwrap_or_default());
            chunk.advance(len);
            this.position = this.position.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
            if chunk.is_empty() {
                this.reading.ready.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl RemoteFile {
    fn ask_ahead_more(&mut self) {
        // With something ready, `next` goes on where it was.
        if !self.reading.ready.is_empty() {
            self.ask_ahead();
        }
    }
}

impl AsyncWrite for RemoteFile {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let len = data.len().min(this.reach.write);
        while !this.writing.is_empty()
            && (this.unconfirmed.saturating_add(len) > this.reach.write_behind
                || this.writing.len() >= MOST_AT_ONCE)
        {
            ready!(this.poll_one(cx));
        }
        if let Some(kind) = this.failed.take() {
            return Poll::Ready(Err(this.io_error("write", kind)));
        }
        this.reading = Reading::default();
        let request = this.handle.write_of(this.position, data.get(..len).unwrap_or_default());
        let handle = Arc::clone(&this.handle);
        this.writing.push(Box::pin(async move { handle.write(request).await.map(|()| len) }));
        this.unconfirmed = this.unconfirmed.saturating_add(len);
        this.position = this.position.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        // It is sent now, not when somebody looks again.
        while let Poll::Ready(true) = this.poll_one(cx) {}
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_confirmed(cx).map_err(|kind| this.io_error("write", kind))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_confirmed(cx)).map_err(|kind| this.io_error("write", kind))?;
        let handle = &this.handle;
        let closing = this.closing.get_or_insert_with(|| {
            let handle = Arc::clone(handle);
            Box::pin(async move { handle.close().await }) as Pending<_>
        });
        let closed = ready!(closing.as_mut().poll(cx));
        // A second shutdown finds it closed.
        this.closing = Some(Box::pin(futures::future::ready(Ok(()))));
        Poll::Ready(closed.map_err(|kind| this.io_error("close", kind)))
    }
}

impl AsyncSeek for RemoteFile {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        if this.seeking.is_some() {
            return Err(io::Error::other("a seek is under way; wait for it with poll_complete"));
        }
        let out = || io::Error::new(io::ErrorKind::InvalidInput, "seek to before the file's first byte");
        this.seeking = Some(match to {
            SeekFrom::Start(offset) => Box::pin(futures::future::ready(Ok(offset))),
            SeekFrom::Current(by) => {
                let offset = this.position.checked_add_signed(by).ok_or_else(out)?;
                Box::pin(futures::future::ready(Ok(offset)))
            }
            SeekFrom::End(by) => {
                let (handle, path) = (Arc::clone(&this.handle), this.path.clone());
                Box::pin(async move {
                    let size = handle.stat().await.map_err(|kind| kind.at("stat", &path))?.size;
                    size.and_then(|size| size.checked_add_signed(by)).ok_or_else(|| {
                        SftpErrorKind::refused(
                            "the server tells no size to seek from, or it is before the first byte",
                        )
                        .at("seek in", &path)
                    })
                })
            }
        });
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        if this.seeking.is_some() {
            // The size at the end is that with everything written.
            ready!(this.poll_confirmed(cx)).map_err(|kind| this.io_error("write", kind))?;
        }
        if let Some(seeking) = &mut this.seeking {
            let offset = ready!(seeking.as_mut().poll(cx));
            this.seeking = None;
            let offset = offset?;
            if offset != this.position {
                this.reading = Reading::default();
                this.position = offset;
            }
        }
        Poll::Ready(Ok(this.position))
    }
}
