//! Byte accounts of one connection: what has come in and is not yet consumed, and what has been
//! handed to the transport and is not yet on the wire.
//!
//! Owns the counters, the inbound gate that they open and shut, and the outbound semaphore. Must
//! not know of sockets, of the SSH library or of actors: it counts, and it wakes whoever waits.
//!
//! Inbound, every queued event is charged to its channel and to the connection, and the [`Charge`]
//! travels with the event until the event is consumed. Dropping it, wherever that happens, gives
//! the bytes back:
//!
//! ```text
//! socket -> gate -> ChannelBudget::charge(len) -> [event + Charge] -> behaviour -> drop(Charge)
//!            ^                                                                         |
//!            +-------------------- open again at the low-water mark -------------------+
//! ```

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;

use crate::observe::{Pause, Used};
use crate::wire::id::ChannelKey;

mod outbound;
#[cfg(test)]
mod tests;

pub(crate) use outbound::OutboundCredit;
#[cfg(test)]
pub(crate) use outbound::{OutboundClosed, OutboundPermit};

/// Bytes charged for each event on top of its payload: about what a queued event itself costs, so
/// that a flood of tiny packets is counted for what it really holds.
pub(crate) const PER_EVENT_OVERHEAD: usize = 128;

/// The widest distance between the mark that shuts the gate and the one that opens it, in bytes.
/// It is narrow on purpose: with a percentage of the budget, siblings of a slow channel freeze for
/// seconds at a time.
const MAX_HYSTERESIS: usize = 512 * 1024;

type ShutHook = Arc<dyn Fn() + Send + Sync>;

/// The inbound account of one connection, and the gate in front of its socket.
///
/// The gate shuts when `limit` bytes or more are charged and opens again at
/// `limit - min(512 KiB, limit / 4)`.
pub(crate) struct ConnectionBudget {
    limit: usize,
    low: usize,
    used: AtomicUsize,
    shut: AtomicBool,
    /// Who was last found to keep reading stopped: the number of a channel, or 0.
    culprit: AtomicU64,
    gate: Mutex<Gate>,
    waiter: AtomicWaker,
}

/// What changes only when a mark is crossed.
#[derive(Default)]
struct Gate {
    shut_since: Option<Instant>,
    shut_before: Duration,
    pauses: u64,
    on_shut: Option<ShutHook>,
}

/// What the gate did when it was looked at; acted on after its lock is released.
enum Swing {
    Stayed,
    Opened,
    Shut(Option<ShutHook>),
}

impl ConnectionBudget {
    /// An empty account with the gate open. `limit` is in bytes, at least 1.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let limit = limit.max(1);
        Arc::new(Self {
            limit,
            low: limit - (limit / 4).clamp(1, MAX_HYSTERESIS),
            used: AtomicUsize::new(0),
            shut: AtomicBool::new(false),
            culprit: AtomicU64::new(0),
            gate: Mutex::default(),
            waiter: AtomicWaker::new(),
        })
    }

    /// Ready while the gate is open. Otherwise the task of `cx` is woken when it opens.
    ///
    /// One task waits at a time (the reader of the connection's socket): the last one to poll is
    /// the one that is woken.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_shut() {
            return Poll::Ready(());
        }
        self.waiter.register(cx.waker());
        // Looked at again after registering: the gate may have opened in between.
        if self.is_shut() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Calls `hook` each time the gate shuts, and at once if it is shut already. The first hook
    /// stays: false means that there was one, and `hook` was dropped.
    ///
    /// It is called by whoever made the charge that shut the gate, so it should only pass the news
    /// on.
    pub(crate) fn on_shut(&self, hook: impl Fn() + Send + Sync + 'static) -> bool {
        let hook: ShutHook = Arc::new(hook);
        let missed_one = {
            let mut gate = self.lock();
            if gate.on_shut.is_some() {
                return false;
            }
            gate.on_shut = Some(Arc::clone(&hook));
            gate.shut_since.is_some()
        };
        if missed_one {
            hook();
        }
        true
    }

    /// Bytes charged at this moment, overhead included.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The mark at which the gate opens again, in bytes: while it is shut, more than that is charged.
    pub(crate) const fn low_mark(&self) -> usize {
        self.low
    }

    /// The mark at which the gate shuts, in bytes.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Whether reading from the socket is held back.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Since when the gate is shut; `None` while it is open.
    pub(crate) fn shut_since(&self) -> Option<Instant> {
        self.lock().shut_since
    }

    /// For how long the gate has been shut in total, the current pause included.
    pub(crate) fn shut_total(&self) -> Duration {
        let gate = self.lock();
        gate.shut_before + gate.shut_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Who keeps reading stopped, for those who look.
    pub(crate) fn blame(&self, culprit: Option<ChannelKey>) {
        self.culprit.store(culprit.map_or(0, ChannelKey::number), Ordering::Relaxed);
    }

    /// The pause of reading at this moment, if there is one.
    pub(crate) fn pause(&self) -> Option<Pause> {
        if !self.is_shut() {
            return None;
        }
        let since = self.shut_since()?.elapsed();
        let culprit = match self.culprit.load(Ordering::Relaxed) {
            0 => None,
            number => Some(ChannelKey::new(number)),
        };
        Some(Pause::new(since, culprit, Used::new(self.used(), self.limit)))
    }

    /// How often the gate has shut.
    pub(crate) fn pauses(&self) -> u64 {
        self.lock().pauses
    }

    fn add(&self, bytes: usize) {
        let before = self.used.fetch_add(bytes, Ordering::AcqRel);
        if before < self.limit && before.saturating_add(bytes) >= self.limit {
            self.swing();
        }
    }

    fn sub(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        if before > self.low && before.saturating_sub(bytes) <= self.low {
            self.swing();
        }
    }

    /// Brings the gate in line with the account. Called after each crossing of a mark, and it
    /// decides by the account as it is *now*: of two crossings that race, the later look is right.
    fn swing(&self) {
        let swing = {
            let mut gate = self.lock();
            let used = self.used.load(Ordering::Acquire);
            let swing = gate.look(used >= self.limit, used <= self.low);
            self.shut.store(gate.shut_since.is_some(), Ordering::Release);
            swing
        };
        match swing {
            Swing::Stayed | Swing::Shut(None) => {}
            Swing::Opened => self.waiter.wake(),
            Swing::Shut(Some(hook)) => hook(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    fn look(&mut self, full: bool, drained: bool) -> Swing {
        match self.shut_since {
            None if full => {
                self.shut_since = Some(Instant::now());
                self.pauses += 1;
                Swing::Shut(self.on_shut.clone())
            }
            Some(since) if drained => {
                self.shut_before += since.elapsed();
                self.shut_since = None;
                Swing::Opened
            }
            _ => Swing::Stayed,
        }
    }
}

impl fmt::Debug for ConnectionBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionBudget")
            .field("used", &self.used())
            .field("limit", &self.limit)
            .field("shut", &self.is_shut())
            .finish_non_exhaustive()
    }
}

/// The inbound account of one channel: the same bytes, seen from the channel that holds them.
#[derive(Debug)]
pub(crate) struct ChannelBudget {
    connection: Arc<ConnectionBudget>,
    budget: usize,
    /// Bytes charged here, and [`WRITTEN_OFF`].
    held: AtomicUsize,
    idle: OnceLock<Idle>,
}

/// What a consumer must take for the patience with it to begin anew, in bytes; of a channel with a smaller budget, all of it.
/// With less, a byte now and then would hold its siblings up for as long as the stall timeout.
const WORTH_WAITING: usize = 4 << 10;

/// Since when a channel holds bytes and gives none back that are worth waiting for.
#[derive(Debug)]
struct Idle {
    patience: Duration,
    epoch: Instant,
    /// Milliseconds after the epoch.
    since: AtomicU64,
    /// What was given back since then.
    taken: AtomicUsize,
}

impl Idle {
    fn takes(&self, bytes: usize, enough: usize) {
        if self.taken.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= enough {
            self.begins_anew();
        }
    }

    fn begins_anew(&self) {
        self.taken.store(0, Ordering::Relaxed);
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(now, Ordering::Relaxed);
    }

    fn since(&self) -> Instant {
        let after = Duration::from_millis(self.since.load(Ordering::Relaxed));
        self.epoch.checked_add(after).unwrap_or(self.epoch)
    }
}

/// Set in [`ChannelBudget::held`] once the channel's bytes count no more against the connection.
const WRITTEN_OFF: usize = 1 << (usize::BITS - 1);

impl ChannelBudget {
    /// An empty account under `connection`. `budget` is in bytes; it is a mark to ask about
    /// ([`is_over`](Self::is_over)), nothing is refused here.
    pub(crate) fn new(connection: Arc<ConnectionBudget>, budget: usize) -> Arc<Self> {
        Arc::new(Self { connection, budget, held: AtomicUsize::new(0), idle: OnceLock::new() })
    }

    /// From now on account is kept of how long its consumer takes nothing, or next to nothing: less than
    /// [`WORTH_WAITING`] within the patience. Only the first patience counts.
    pub(crate) fn yields_after(&self, patience: Duration) {
        let now = Instant::now();
        let _ = self.idle.set(Idle {
            patience,
            epoch: now,
            since: AtomicU64::new(0),
            taken: AtomicUsize::new(0),
        });
    }

    /// When the patience with its consumer is over, if it takes no more than next to nothing until then. `None` if it has
    /// all it likes.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        let idle = self.idle.get()?;
        idle.since().checked_add(idle.patience)
    }

    /// The patience with its consumer.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.idle.get().map(|idle| idle.patience)
    }

    /// Charges one event of `payload` bytes, plus [`PER_EVENT_OVERHEAD`], to channel and connection.
    pub(crate) fn charge(self: &Arc<Self>, payload: usize) -> Charge {
        let bytes = payload.saturating_add(PER_EVENT_OVERHEAD);
        self.take(bytes);
        Charge { channel: Arc::clone(self), bytes }
    }

    /// The channel is over: what its consumer still holds counts no more against the connection, which must
    /// not stand still for it.
    pub(crate) fn write_off(&self) {
        let held = self.held.fetch_or(WRITTEN_OFF, Ordering::AcqRel);
        if held & WRITTEN_OFF == 0 {
            self.connection.sub(held);
        }
    }

    /// Bytes that this channel has not consumed yet, overhead included.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed) & !WRITTEN_OFF
    }

    /// Whether the channel holds more than its budget.
    #[cfg(test)]
    pub(crate) fn is_over(&self) -> bool {
        self.held() > self.budget
    }

    /// The budget, in bytes.
    pub(crate) const fn budget(&self) -> usize {
        self.budget
    }

    /// The account of the whole connection.
    pub(crate) const fn connection(&self) -> &Arc<ConnectionBudget> {
        &self.connection
    }

    /// The connection first, so that it never counts less than its channels hold.
    fn take(&self, bytes: usize) {
        self.connection.add(bytes);
        let before = self.held.fetch_add(bytes, Ordering::AcqRel);
        if before & WRITTEN_OFF != 0 {
            self.connection.sub(bytes);
        }
        if before == 0
            && let Some(idle) = self.idle.get()
        {
            idle.begins_anew();
        }
    }

    fn give_back(&self, bytes: usize) {
        if self.held.fetch_sub(bytes, Ordering::AcqRel) & WRITTEN_OFF == 0 {
            self.connection.sub(bytes);
        }
        if let Some(idle) = self.idle.get() {
            idle.takes(bytes, WORTH_WAITING.min(self.budget));
        }
    }
}

/// Bytes charged to a channel. They are given back, exactly once, when this is dropped.
#[must_use = "dropping a charge gives its bytes back at once"]
#[derive(Debug)]
pub(crate) struct Charge {
    channel: Arc<ChannelBudget>,
    bytes: usize,
}

impl Charge {
    /// For the end of `channel`, which comes once and costs its account nothing.
    pub(crate) fn free(channel: &Arc<ChannelBudget>) -> Self {
        Self { channel: Arc::clone(channel), bytes: 0 }
    }

    /// How much is charged, in bytes, overhead included.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Splits off up to `bytes`, so that a reader can give credit back piece by piece.
    pub(crate) fn take(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { channel: Arc::clone(&self.channel), bytes }
    }

    /// Gives up to `bytes` back now.
    pub(crate) fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        if bytes > 0 {
            self.bytes -= bytes;
            self.channel.give_back(bytes);
        }
    }

    /// Adds `other` to this one. A charge of another channel is given back there and charged here.
    pub(crate) fn merge(&mut self, mut other: Self) {
        if Arc::ptr_eq(&self.channel, &other.channel) {
            self.bytes += mem::take(&mut other.bytes);
        } else {
            self.channel.take(other.bytes);
            self.bytes += other.bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.channel.give_back(self.bytes);
        }
    }
}
