//! A count of byte streams that are open, for who has to know when none is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// The byte streams of one client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Arc<watch::Sender<usize>>);

impl Streams {
    /// Counts a stream until it is dropped.
    pub(crate) fn count<IO>(&self, io: IO) -> Counted<IO> {
        self.0.send_modify(|open| *open += 1);
        Counted { io, _open: Open(Arc::clone(&self.0)) }
    }

    /// Waits until none is open.
    pub(crate) async fn all_closed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// A byte stream that is counted while it is open.
pub(crate) struct Counted<IO> {
    // Dropped first: it is closed when the count goes down.
    io: IO,
    _open: Open,
}

struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_counts_until_it_is_dropped() {
        let streams = Streams::default();
        streams.all_closed().await;
        let (first, second) = (streams.count(tokio::io::empty()), streams.count(tokio::io::empty()));
        drop(first);
        assert_eq!(*streams.0.borrow(), 1);
        let waiting = streams.all_closed();
        drop(second);
        waiting.await;
    }
}
