//! What the owner of a pump keeps while the SSH library owns the pump itself: a handle to close or
//! hold it, and its counters. Must not know what is inside the pump.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Wake};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;

/// Closes or holds a pump from outside. As a waker it wakes both halves.
#[derive(Debug, Default)]
pub(in crate::transport) struct PumpControl {
    aborted: AtomicBool,
    held: AtomicBool,
    let_go: AtomicBool,
    paused: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl PumpControl {
    /// Ends both directions at once: every poll fails with
    /// [`PumpAborted`](super::PumpAborted), waiting ones are woken, buffered output is lost. The
    /// socket is closed when the SSH library, which sees the error, drops the pump. Idempotent.
    pub(in crate::transport) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.wake_both();
    }

    /// The write hold: while it is on, output is buffered and none goes to the socket, and the stall
    /// timer rests. Taking it off sends everything at once. A full buffer takes it off, and so does a
    /// shutdown of the stream.
    pub(in crate::transport) fn set_hold(&self, held: bool) {
        let was_held = self.held.swap(held, Ordering::AcqRel);
        if was_held && !held {
            self.wake_both();
        }
    }

    /// Takes the write hold off with the next flush: what is written before that leaves together with what was held.
    pub(in crate::transport) fn let_go_at_flush(&self) {
        self.let_go.store(true, Ordering::Release);
    }

    /// Takes the hold off if that was put off until now.
    pub(super) fn let_go_now(&self) {
        // Looked at first: this is on the way of every flush.
        if self.let_go.load(Ordering::Relaxed) && self.let_go.swap(false, Ordering::AcqRel) {
            self.set_hold(false);
        }
    }

    /// The read pause: while it is on nothing is read; output still moves. Taking it off wakes the reader.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "clients do not pause"))]
    pub(in crate::transport) fn set_pause(&self, paused: bool) {
        let was_paused = self.paused.swap(paused, Ordering::AcqRel);
        if was_paused && !paused {
            self.reader.wake();
        }
    }

    /// Whether the read pause is on.
    pub(in crate::transport) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Whether the pump was closed by [`abort`](Self::abort).
    pub(in crate::transport) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Whether the write hold is on.
    pub(in crate::transport) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    pub(super) fn register_reader(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    pub(super) fn register_writer(&self, cx: &Context<'_>) {
        self.writer.register(cx.waker());
    }

    pub(super) fn wake_both(&self) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl Wake for PumpControl {
    fn wake(self: Arc<Self>) {
        self.wake_both();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_both();
    }
}

/// Counters of a pump, read while it runs. They are exact one by one, not as a set.
#[derive(Debug)]
pub(in crate::transport) struct PumpStats {
    base: Instant,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    reads: AtomicU64,
    last_inbound_ms: AtomicU64,
    buffered: AtomicUsize,
    peak_buffered: AtomicUsize,
}

impl PumpStats {
    pub(super) fn new() -> Self {
        Self {
            base: Instant::now(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            last_inbound_ms: AtomicU64::new(0),
            buffered: AtomicUsize::new(0),
            peak_buffered: AtomicUsize::new(0),
        }
    }

    /// Bytes read from the socket, those still in the read-ahead buffer included.
    pub(in crate::transport) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes the socket has taken.
    pub(in crate::transport) fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Reads from the socket that brought something.
    #[cfg(test)]
    pub(in crate::transport) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Bytes that wait for the socket.
    pub(in crate::transport) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    /// The most bytes that ever waited for the socket.
    #[cfg(test)]
    pub(in crate::transport) fn peak_buffered(&self) -> usize {
        self.peak_buffered.load(Ordering::Relaxed)
    }

    /// When the socket last brought something, to the millisecond; when the pump was made, if it
    /// never did.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a daemon asks"))]
    pub(in crate::transport) fn last_inbound(&self) -> Instant {
        self.base + Duration::from_millis(self.last_inbound_ms.load(Ordering::Relaxed))
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes_in.fetch_add(wide(bytes), Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        let since_base = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_inbound_ms.store(since_base, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.bytes_out.fetch_add(wide(bytes), Ordering::Relaxed);
    }

    pub(super) fn buffer_holds(&self, bytes: usize) {
        self.buffered.store(bytes, Ordering::Relaxed);
        self.peak_buffered.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Changes whenever a byte moved in either direction.
    pub(super) fn traffic(&self) -> u64 {
        self.bytes_in().wrapping_add(self.bytes_out())
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
