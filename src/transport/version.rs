//! Notices when the peer's identification string has arrived (RFC 4253 section 4.2), so that the version exchange
//! has a deadline of its own. Sits below the pump and costs one branch a read afterwards.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// No line before the identification string is kept longer than this.
const MAX_LINE: usize = 512;

/// How an identification string of a peer begins that speaks the second version (RFC 4253 sections 4.2 and 5.1). Any
/// other line is none, and goes before it.
const VERSIONS: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];

/// A byte stream whose first line with one of [`VERSIONS`] is announced.
#[derive(Debug)]
pub(super) struct VersionWatch<IO> {
    io: IO,
    line: Vec<u8>,
    seen: Option<oneshot::Sender<String>>,
}

impl<IO> VersionWatch<IO> {
    /// The receiver gets the line, without its end, when it is complete; it fails when the stream is dropped before.
    pub(super) fn new(io: IO) -> (Self, oneshot::Receiver<String>) {
        let (tx, rx) = oneshot::channel();
        (Self { io, line: Vec::new(), seen: Some(tx) }, rx)
    }

    fn look(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < MAX_LINE {
                    self.line.push(byte);
                }
                continue;
            }
            if VERSIONS.iter().any(|version| self.line.starts_with(version)) {
                let line = std::mem::take(&mut self.line);
                if let Some(seen) = self.seen.take() {
                    let _ = seen.send(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
                }
                return;
            }
            self.line.clear();
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for VersionWatch<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if self.seen.is_some() {
            let new = buf.filled().get(before..).unwrap_or_default().to_vec();
            self.look(&new);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for VersionWatch<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn announced(chunks: &[&[u8]]) -> Option<String> {
        let (mut theirs, ours) = tokio::io::duplex(4096);
        let (mut watch, mut seen) = VersionWatch::new(ours);
        for chunk in chunks {
            theirs.write_all(chunk).await.unwrap();
            let mut buf = vec![0; 4096];
            assert_eq!(watch.read(&mut buf).await.unwrap(), chunk.len());
        }
        seen.try_recv().ok()
    }

    #[tokio::test]
    async fn the_identification_line_is_announced_when_complete() {
        let line = Some("SSH-2.0-x".to_owned());
        assert_eq!(announced(&[b"SSH-2.0-x\r\n"]).await, line);
        assert_eq!(announced(&[b"SS", b"H-2.0", b"-x\n"]).await, line);
        assert_eq!(announced(&[b"hello\r\nthere\r\n", b"SSH-2.0-x\r\nrest"]).await, line);
    }

    #[tokio::test]
    async fn other_lines_and_half_a_line_are_not_announced() {
        assert_eq!(announced(&[b"SSH-2.0-x"]).await, None);
        assert_eq!(announced(&[b"hello\r\n"]).await, None);
        assert_eq!(announced(&[b"SSH-1.5-old\r\n"]).await, None);
        assert_eq!(announced(&[&[b'x'; 4096]]).await, None);
    }
}
