//! The read-ahead buffer: few large reads from the socket instead of many small ones. Must not
//! know of the gate or of the write side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::PumpStats;

/// The first size of the buffer, in bytes.
const INITIAL: usize = 16 * 1024;
/// How much larger it becomes when a read fills it.
const GROWTH: usize = 4;

/// Bytes that were read before they were asked for. The buffer is allocated at the first read and
/// replaced only when it is empty, so nothing is ever moved.
pub(super) struct ReadAhead {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The size for the next fill.
    size: usize,
    max: usize,
    stats: Arc<PumpStats>,
}

impl ReadAhead {
    pub(super) fn new(max: usize, stats: Arc<PumpStats>) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, size: INITIAL.min(max), max, stats }
    }

    /// As [`AsyncRead::poll_read`]. A read that is larger than the buffer goes past it.
    pub(super) fn poll_read<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start == self.end {
            if out.remaining() >= self.size {
                return self.poll_past(io, cx, out);
            }
            ready!(self.poll_fill(io, cx))?;
        }
        let ahead = self.bytes.get(self.start..self.end).unwrap_or_default();
        let (now, _) = ahead.split_at(ahead.len().min(out.remaining()));
        out.put_slice(now);
        self.start += now.len();
        Poll::Ready(Ok(()))
    }

    pub(super) const fn holds_memory(&self) -> bool {
        self.bytes.capacity() > 0
    }

    /// Frees the buffer if nothing is in it.
    pub(super) fn trim(&mut self) {
        if self.start == self.end {
            self.bytes = Vec::new();
            self.size = INITIAL.min(self.max);
        }
    }

    fn poll_past<IO: AsyncRead + Unpin>(
        &self,
        io: &mut IO,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(io).poll_read(cx, out))?;
        self.count(out.filled().len() - before);
        Poll::Ready(Ok(()))
    }

    fn poll_fill<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.len() != self.size {
            self.bytes = vec![0; self.size];
        }
        let mut into = ReadBuf::new(&mut self.bytes);
        ready!(Pin::new(io).poll_read(cx, &mut into))?;
        let filled = into.filled().len();
        (self.start, self.end) = (0, filled);
        if filled == self.size {
            self.size = self.size.saturating_mul(GROWTH).min(self.max);
        }
        self.count(filled);
        Poll::Ready(Ok(()))
    }

    fn count(&self, bytes: usize) {
        if bytes > 0 {
            self.stats.read(bytes);
        }
    }
}
