//! What can be seen of a connection without asking its actor.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Gauges of one connection, kept up to date by those who know.
#[derive(Debug)]
pub(crate) struct Gauges {
    epoch: Instant,
    /// Milliseconds after the epoch.
    last_use: AtomicU64,
    channels: AtomicUsize,
    listeners: AtomicUsize,
    opened: AtomicU64,
    opens_refused: AtomicU64,
    requests_refused: AtomicU64,
    stalled: AtomicU64,
    /// See [`Self::peer_ends_with_eof`].
    ends_with_eof: AtomicBool,
    left_behind: AtomicU64,
}

impl Gauges {
    /// For a connection that begins now.
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            last_use: AtomicU64::new(0),
            channels: AtomicUsize::new(0),
            listeners: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            opens_refused: AtomicU64::new(0),
            requests_refused: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            ends_with_eof: AtomicBool::new(false),
            left_behind: AtomicU64::new(0),
        }
    }

    /// A channel was opened, has carried something, or is over. Says when, in milliseconds after the epoch.
    pub(crate) fn used(&self) -> u64 {
        let now = self.now();
        self.last_use.fetch_max(now, Ordering::Relaxed);
        now
    }

    /// This moment, in milliseconds after the epoch.
    pub(crate) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// A moment, in milliseconds after the epoch.
    pub(crate) fn at(&self, moment: Instant) -> u64 {
        let after = moment.saturating_duration_since(self.epoch);
        u64::try_from(after.as_millis()).unwrap_or(u64::MAX >> 8)
    }

    /// For how long nothing was, after what happened so many milliseconds after the epoch.
    pub(crate) fn since(&self, millis: u64) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_millis(millis))
    }

    /// For how long no channel has carried anything.
    pub(crate) fn idle(&self) -> Duration {
        self.since(self.last_use.load(Ordering::Relaxed))
    }

    /// The peer has said who it is (RFC 4253 section 4.2).
    pub(crate) fn meets(&self, peer_version: &str) {
        let ours = peer_version.starts_with("SSH-2.0-ractor-ssh_");
        self.ends_with_eof.store(ours, Ordering::Relaxed);
    }

    /// Whether the peer sends SSH_MSG_CHANNEL_EOF before it closes a channel whose end is no failure, as this crate
    /// does. RFC 4254 section 5.3 does not ask for that, and others close without it: programs in Go, for one.
    pub(crate) fn peer_ends_with_eof(&self) -> bool {
        self.ends_with_eof.load(Ordering::Relaxed)
    }

    /// Bytes of channels that are over, which their connection's budget counts no more and which wait for whoever takes
    /// them. Of all relays together.
    pub(crate) const fn left_behind(&self) -> &AtomicU64 {
        &self.left_behind
    }

    /// There are so many channels, and were so many in all.
    pub(crate) fn set_channels(&self, now: usize, opened: u64) {
        self.channels.store(now, Ordering::Relaxed);
        self.opened.store(opened, Ordering::Relaxed);
    }

    /// One more is listened on, on this side or, for us, on the other.
    pub(crate) fn listens(&self) {
        self.listeners.fetch_add(1, Ordering::AcqRel);
    }

    /// One of these is gone.
    pub(crate) fn listens_no_more(&self) {
        self.listeners.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether anything is listened on.
    pub(crate) fn is_listening(&self) -> bool {
        self.listeners.load(Ordering::Acquire) > 0
    }

    /// How many channels there are.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a daemon lists its sessions"))]
    pub(crate) fn channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }

    /// How many channels there have been.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a daemon lists its sessions"))]
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// The peer was refused a channel.
    pub(crate) fn refuse_open(&self) {
        self.opens_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A request of the peer was over a limit, or not allowed to its login.
    #[cfg(feature = "server")]
    pub(crate) fn refuse_request(&self) {
        self.requests_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A channel was ended because its consumer held the connection up.
    pub(crate) fn stall(&self) {
        self.stalled.fetch_add(1, Ordering::Relaxed);
    }

    /// How many channels were ended because their consumers held the connection up.
    #[cfg(feature = "server")]
    pub(crate) fn stalled(&self) -> u64 {
        self.stalled.load(Ordering::Relaxed)
    }

    /// How many channels the peer was refused.
    pub(crate) fn opens_refused(&self) -> u64 {
        self.opens_refused.load(Ordering::Relaxed)
    }

    /// How many requests the peer was refused.
    pub(crate) fn requests_refused(&self) -> u64 {
        self.requests_refused.load(Ordering::Relaxed)
    }
}
