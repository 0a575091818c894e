//! The socket pump: stands between the SSH library and the byte stream, as `AsyncRead` and
//! `AsyncWrite`, without a task of its own.
//!
//! Owns the byte stream, a read-ahead buffer and a write buffer. Must not know SSH: it moves
//! ciphertext. It makes up for five habits of the library:
//!
//! - It waits for its flush without reading, so two ends that stream to each other stop for good.
//!   Here a write is taken at once and a flush never waits: [`poll_read`](AsyncRead::poll_read)
//!   pushes the buffered output along.
//! - It reads a packet in two small reads. Here they come from a read-ahead buffer.
//! - It grants window on receipt. Here reading stops while the connection's gate
//!   ([`ConnectionBudget`]) is shut.
//! - It gives up on the first failed write. Here what the peer sent before it went away is read
//!   first (its last output, its reason), and the reader gets the error after that.
//! - It waits for the peer's end of file after it has shut the stream down, for ever. Here that comes
//!   after a second at the latest.
//!
//! ```text
//!  poll_write -> write buffer (8 MiB cap) --+            +--> OutboundCredit::released
//!                 hold: stays here          +-> socket --+
//!  poll_read  <- gate <- read-ahead (16..256 KiB) <-+
//! ```
//!
//! Output moves only while somebody polls; one of the two halves must be kept polled, and the SSH
//! library always reads. Both halves may live in different tasks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::config::{Limits, Timeouts};
use crate::port::budget::{ConnectionBudget, OutboundCredit};

mod control;
mod fault;
mod quiet;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use control::{PumpControl, PumpStats};
pub(super) use fault::{PumpAborted, WriteStalled};

use quiet::QuietTimer;
use read::ReadAhead;
use write::WriteSide;

/// After so long without any traffic the buffers are freed: many connections idle most of the time.
const TRIM_AFTER: Duration = Duration::from_secs(1);

/// How long a stream that was shut down is read on: time for the peer to get the last words and to close its
/// side. One that does not would keep the connection for as long as it likes.
const LINGER: Duration = Duration::from_secs(1);

/// Sizes and limits of a [`Pump`].
#[derive(Debug, Clone)]
pub(super) struct PumpConfig {
    /// The largest read-ahead buffer, in bytes. It starts at 16 KiB. 0 reads nothing ahead.
    pub(super) read_ahead: usize,
    /// How much output may wait for the socket, in bytes; beyond it, writes are pending.
    pub(super) write_cap: usize,
    /// How long the socket may take no byte while output waits.
    pub(super) write_stall: Duration,
}

impl PumpConfig {
    /// With room for all that may be on its way, and for what is wrapped around it.
    pub(super) fn new(timeouts: &Timeouts, limits: &Limits) -> Self {
        let default = Self::default();
        let write_cap = default.write_cap.max(limits.outbound_budget.saturating_mul(2));
        Self { write_stall: timeouts.write_stall, write_cap, ..default }
    }
}

impl Default for PumpConfig {
    fn default() -> Self {
        Self { read_ahead: 256 * 1024, write_cap: 8 * 1024 * 1024, write_stall: Duration::from_secs(30) }
    }
}

/// A byte stream with read-ahead, a gate, and writes that do not wait.
pub(super) struct Pump<IO> {
    io: IO,
    read: ReadAhead,
    write: WriteSide,
    trim: QuietTimer,
    /// The socket refuses output. Output is thrown away until the reader has read what had arrived
    /// and got this error.
    broken: Option<io::Error>,
    /// The error that was reported; both directions are over.
    ended: Option<io::Error>,
    /// Runs from the shutdown on; then there is nothing more to read.
    linger: Option<Pin<Box<Sleep>>>,
    gate: Arc<ConnectionBudget>,
    control: Arc<PumpControl>,
    stats: Arc<PumpStats>,
    /// Wakes both halves. Everything but a plain read waits with this one.
    waker: Waker,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Pump<IO> {
    /// Puts a pump before `io`. `credit` gets back what leaves, and is closed when nothing can
    /// leave any more, at the latest when the pump is dropped.
    pub(super) fn new(
        io: IO,
        config: &PumpConfig,
        gate: Arc<ConnectionBudget>,
        credit: Arc<OutboundCredit>,
    ) -> Self {
        let control = Arc::new(PumpControl::default());
        let stats = Arc::new(PumpStats::new());
        Self {
            io,
            read: ReadAhead::new(config.read_ahead, Arc::clone(&stats)),
            write: WriteSide::new(config, credit, Arc::clone(&stats)),
            trim: QuietTimer::new(TRIM_AFTER),
            broken: None,
            ended: None,
            linger: None,
            gate,
            waker: Waker::from(Arc::clone(&control)),
            control,
            stats,
        }
    }

    /// The handle by which the owner of the connection closes or holds the pump.
    pub(super) fn control(&self) -> Arc<PumpControl> {
        Arc::clone(&self.control)
    }

    /// The pump's counters.
    pub(super) fn stats(&self) -> Arc<PumpStats> {
        Arc::clone(&self.stats)
    }

    /// The error that ended the pump, if it has ended. An abort ends it here.
    fn check_alive(&mut self) -> io::Result<()> {
        if self.ended.is_none() && self.control.is_aborted() {
            self.end(PumpAborted.into());
        }
        self.ended.as_ref().map_or(Ok(()), |error| Err(fault::copy(error)))
    }

    /// Ends both directions.
    fn end(&mut self, error: io::Error) {
        self.ended = Some(error);
        self.broken = None;
        self.write.give_up();
        self.control.wake_both();
    }

    /// The write side failed. A stall ends the pump; anything else the reader will report.
    fn write_failed(&mut self, error: io::Error) {
        if WriteStalled::in_error(&error).is_some() {
            self.end(error);
        } else {
            self.broken = Some(error);
            self.write.give_up();
            self.control.wake_both();
        }
    }

    /// Whether the stream was shut down, and the peer has had its time to do the same.
    fn lingered(&mut self, cx: &mut Context<'_>) -> bool {
        self.linger.as_mut().is_some_and(|linger| linger.as_mut().poll(cx).is_ready())
    }

    /// Moves waiting output towards the socket. Ready when none waits.
    fn drive(&mut self) -> Poll<()> {
        if self.broken.is_some() {
            return Poll::Ready(());
        }
        if self.control.is_held() {
            self.write.rest();
            return Poll::Pending;
        }
        match self.write.poll_push(&mut self.io, &mut Context::from_waker(&self.waker)) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                self.write_failed(error);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Nothing to read: report a failed write now, or free the buffers if it stays quiet.
    fn nothing_to_read(&mut self) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken.take() {
            let report = fault::copy(&error);
            self.end(error);
            return Poll::Ready(Err(report));
        }
        if self.read.holds_memory() || self.write.holds_memory() {
            let cx = &mut Context::from_waker(&self.waker);
            if self.trim.poll_elapsed(self.stats.traffic(), cx).is_ready() {
                self.read.trim();
                self.write.trim();
            }
        }
        Poll::Pending
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Pump<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Registered before anything is looked at, so that no change of it goes unnoticed.
        this.control.register_reader(cx);
        this.check_alive()?;
        let _ = this.drive();
        this.check_alive()?;
        if this.lingered(cx) {
            return Poll::Ready(Ok(()));
        }
        this.write.poll_settle(&mut Context::from_waker(&this.waker));
        if this.control.is_paused() || this.gate.poll_open(cx).is_pending() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        match this.read.poll_read(&mut this.io, cx, buf) {
            Poll::Pending => this.nothing_to_read(),
            Poll::Ready(Err(error)) => {
                let report = fault::copy(&error);
                this.end(report);
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(())) => {
                let end_of_file = buf.filled().len() == before && buf.remaining() > 0;
                if end_of_file && this.broken.is_some() {
                    return this.nothing_to_read();
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pump<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.control.register_writer(cx);
        this.check_alive()?;
        let mut taken = 0;
        if this.drive().is_ready() && this.broken.is_none() {
            this.check_alive()?;
            let cx = &mut Context::from_waker(&this.waker);
            match this.write.direct(&mut this.io, cx, data) {
                Ok(written) => taken = written,
                Err(error) => this.write_failed(error),
            }
        }
        if this.broken.is_some() {
            return Poll::Ready(Ok(data.len()));
        }
        taken += this.write.keep(data.get(taken..).unwrap_or_default());
        if taken < data.len() && this.control.is_held() {
            // The library does not read while it waits for room: whoever holds would wait for ever.
            this.control.set_hold(false);
            let _ = this.drive();
            taken += this.write.keep(data.get(taken..).unwrap_or_default());
        }
        // The socket is full, or held: this starts the stall timer, unless held.
        let _ = this.drive();
        this.check_alive()?;
        if taken == 0 && !data.is_empty() { Poll::Pending } else { Poll::Ready(Ok(taken)) }
    }

    /// Never waits: what is buffered goes out while the other half reads.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_alive()?;
        this.write.want_flush();
        this.control.let_go_now();
        let _ = this.drive();
        Poll::Ready(Ok(()))
    }

    /// Writes out what is buffered, held or not, then shuts the stream down. A pump that has
    /// failed before has nothing to shut down: its failure was reported, or is the reader's to see.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.control.set_hold(false);
        this.control.register_writer(cx);
        if this.check_alive().is_err() {
            return Poll::Ready(Ok(()));
        }
        this.write.want_flush();
        let drained = this.drive();
        this.check_alive()?;
        if this.broken.is_some() {
            return Poll::Ready(Ok(()));
        }
        if drained.is_pending() {
            return Poll::Pending;
        }
        let waker = this.waker.clone();
        let shut = this.write.poll_shutdown(&mut this.io, &mut Context::from_waker(&waker));
        if let Poll::Ready(Err(error)) = &shut {
            this.end(fault::copy(error));
        } else if shut.is_ready() && this.linger.is_none() {
            this.linger = Some(Box::pin(sleep(LINGER)));
            // A reader that waits already has not looked at the clock.
            this.control.wake_both();
        }
        shut
    }
}

impl<IO> Drop for Pump<IO> {
    fn drop(&mut self) {
        self.write.give_up();
    }
}
