//! What a scripted connection is like.

use std::time::Duration;

use crate::config::{Keepalive, LifeLimits, Limits, RekeyLimit, Timeouts};

/// How our side of a scripted connection is set up, and how generous its peer is. The defaults are those of a real
/// connection.
#[derive(Debug, Clone)]
pub struct ScriptConfig {
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) keepalive: Keepalive,
    pub(super) rekey: RekeyLimit,
    pub(super) life: LifeLimits,
    pub(super) window: u32,
    pub(super) max_packet: u32,
    pub(super) patience: Duration,
}

impl Default for ScriptConfig {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            keepalive: Keepalive::default(),
            rekey: RekeyLimit::default(),
            life: LifeLimits::default(),
            window: 2 << 20,
            max_packet: 32 << 10,
            patience: Duration::from_secs(600),
        }
    }
}

impl ScriptConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes deadlines of ours in place.
    #[must_use]
    pub fn timeouts(mut self, change: impl FnOnce(&mut Timeouts)) -> Self {
        change(&mut self.timeouts);
        self
    }

    /// Changes limits of ours in place.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Sets how we notice a dead peer.
    #[must_use]
    pub const fn keepalive(mut self, keepalive: Keepalive) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Sets when we exchange keys anew.
    #[must_use]
    pub const fn rekey(mut self, limit: RekeyLimit) -> Self {
        self.rekey = limit;
        self
    }

    /// Sets for how long we do without a channel: from the start, and after the last one has ended. Default:
    /// `Duration::MAX` both.
    #[must_use]
    pub const fn idle_timeouts(mut self, first_channel: Duration, unused: Duration) -> Self {
        self.life.first_channel = first_channel;
        self.life.unused = unused;
        self
    }

    /// Sets how old the connection may become. Default `Duration::MAX`.
    #[must_use]
    pub const fn max_lifetime(mut self, limit: Duration) -> Self {
        self.life.lifetime = limit;
        self
    }

    /// Sets the window, in bytes, that the peer grants with [`PendingOpen::confirm`](super::PendingOpen::confirm).
    /// Default 2 MiB.
    #[must_use]
    pub const fn window(mut self, bytes: u32) -> Self {
        self.window = bytes;
        self
    }

    /// Sets the largest packet, in bytes, that the peer takes. Default 32 KiB.
    #[must_use]
    pub const fn max_packet(mut self, bytes: u32) -> Self {
        self.max_packet = bytes;
        self
    }

    /// Sets how long each `expect_` function waits before it panics. Default 10 minutes, which a paused clock
    /// jumps over.
    #[must_use]
    pub const fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }
}
