//! The write side of a pump: the buffer of what the socket has not taken, and the clocks that
//! watch it. Must not know of the hold or of the read side.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::{PumpConfig, PumpStats, QuietTimer, WriteStalled};
use crate::port::budget::OutboundCredit;

/// After so long without output, credit that is still out is not on its way any more.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// A drained buffer above this size, in bytes, is freed at once, not only after a quiet while.
const KEEP: usize = 2 * 1024 * 1024;

/// What the socket has not taken yet, and how long it has been waiting.
pub(super) struct WriteSide {
    buffer: VecDeque<u8>,
    cap: usize,
    flush_wanted: bool,
    stall: QuietTimer,
    settle: QuietTimer,
    credit: Arc<OutboundCredit>,
    stats: Arc<PumpStats>,
}

impl WriteSide {
    pub(super) fn new(config: &PumpConfig, credit: Arc<OutboundCredit>, stats: Arc<PumpStats>) -> Self {
        Self {
            buffer: VecDeque::new(),
            cap: config.write_cap.max(1),
            flush_wanted: false,
            stall: QuietTimer::new(config.write_stall),
            settle: QuietTimer::new(SETTLE_AFTER),
            credit,
            stats,
        }
    }

    /// Writes the buffer out, then flushes the stream if that was asked for. Ready when nothing
    /// waits any more; [`WriteStalled`] when the stream has taken nothing for too long.
    pub(super) fn poll_push<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let pushed = self.poll_buffer(io, cx);
        self.watch(pushed, cx)
    }

    /// Writes to the stream without the buffer, which must be empty. Returns what was taken.
    pub(super) fn direct<IO: AsyncWrite + Unpin>(
        &self,
        io: &mut IO,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> io::Result<usize> {
        let mut rest = data;
        // Up to the first refusal: only then does the stream wake us when there is room.
        while !rest.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut *io).poll_write(cx, rest)? else { break };
            self.wrote(written)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(data.len() - rest.len())
    }

    /// Buffers as much of `data` as the cap allows. Returns how much that is.
    pub(super) fn keep(&mut self, data: &[u8]) -> usize {
        let (kept, _) = data.split_at(data.len().min(self.cap.saturating_sub(self.buffer.len())));
        if !kept.is_empty() {
            self.buffer.extend(kept);
            self.stats.buffer_holds(self.buffer.len());
        }
        kept.len()
    }

    /// Asks for a flush of the stream once the buffer is out.
    pub(super) const fn want_flush(&mut self) {
        self.flush_wanted = true;
    }

    /// Shuts the stream down, under the same deadline as a write.
    pub(super) fn poll_shutdown<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(io).poll_shutdown(cx);
        self.watch(shut_down, cx)
    }

    /// Nothing is to be written for now: the stall timer rests.
    pub(super) fn rest(&mut self) {
        self.stall.stop();
    }

    /// Nothing can be written any more: drops the buffer and ends those who wait for credit.
    pub(super) fn give_up(&mut self) {
        self.buffer = VecDeque::new();
        self.stats.buffer_holds(0);
        self.flush_wanted = false;
        self.stall.stop();
        self.settle.stop();
        self.credit.close();
    }

    /// Gives credit back that can no longer come home with ciphertext.
    pub(super) fn poll_settle(&mut self, cx: &mut Context<'_>) {
        if self.credit.outstanding() == 0 || !self.buffer.is_empty() {
            self.settle.stop();
        } else if self.settle.poll_elapsed(self.stats.bytes_out(), cx).is_ready() {
            self.credit.settle();
        }
    }

    pub(super) fn holds_memory(&self) -> bool {
        self.buffer.capacity() > 0
    }

    /// Frees the buffer if nothing is in it.
    pub(super) fn trim(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = VecDeque::new();
        }
    }

    fn poll_buffer<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let (front, back) = self.buffer.as_slices();
            // In one call: what was held together is to be sent together.
            let both = [IoSlice::new(front), IoSlice::new(back)];
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &both))?;
            self.wrote(written)?;
            self.buffer.drain(..written.min(self.buffer.len()));
            self.stats.buffer_holds(self.buffer.len());
        }
        if self.buffer.capacity() > KEEP {
            self.buffer = VecDeque::new();
        }
        if self.flush_wanted {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.flush_wanted = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Turns waiting that has gone on for too long into an error.
    fn watch(&mut self, outcome: Poll<io::Result<()>>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if outcome.is_ready() {
            self.stall.stop();
            return outcome;
        }
        ready!(self.stall.poll_elapsed(self.stats.bytes_out(), cx));
        Poll::Ready(Err(WriteStalled { after: self.stall.limit() }.into()))
    }

    fn wrote(&self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.stats.wrote(bytes);
        self.credit.released(bytes);
        Ok(())
    }
}
