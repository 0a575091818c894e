//! A stream of which some bytes were read too early.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives `early` first, then what the stream has.
pub(super) struct Glued<IO> {
    early: Bytes,
    io: IO,
}

impl<IO> Glued<IO> {
    pub(super) const fn new(early: Bytes, io: IO) -> Self {
        Self { early, io }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Glued<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let taken = self.early.len().min(buf.remaining());
        if let Some(bytes) = self.early.get(..taken) {
            buf.put_slice(bytes);
        }
        self.early.advance(taken);
        if self.early.is_empty() {
            self.early = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Glued<IO> {
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
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn early_bytes_come_first_and_once_in_pieces_of_any_size() {
        for size in 1..8 {
            let mut stream = Glued::new(
                Bytes::from_static(b"SSH-2.0"),
                tokio::io::join(&b"-x\r\n"[..], tokio::io::sink()),
            );
            let mut all = Vec::new();
            let mut piece = vec![0; size];
            loop {
                let len = stream.read(&mut piece).await.unwrap();
                if len == 0 {
                    break;
                }
                all.extend_from_slice(&piece[..len]);
            }
            assert_eq!(all, b"SSH-2.0-x\r\n");
        }
    }
}
