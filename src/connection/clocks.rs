//! The clocks of a connection: keepalive, key re-exchange, the end of what is not used or too old. Values in, decisions
//! out; the time is given, nothing here waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Keepalive, LifeLimits, RekeyLimit};
use crate::error::ConnectionError;
use crate::observe::Silence;
use crate::transport::Traffic;

/// As good as never.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `later` after `now`, however long that is.
pub(super) fn after(now: Instant, later: Duration) -> Instant {
    now.checked_add(later.min(FAR)).unwrap_or(now)
}

/// Notices a peer that has gone silent.
#[derive(Debug)]
pub(super) struct KeepaliveClock {
    config: Keepalive,
    heard_bytes: u64,
    silent_since: Instant,
    asked: u32,
}

/// What the keepalive clock wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeepaliveStep {
    /// Nothing until then.
    Wait(Instant),
    /// Ask now, and look again then.
    Ask(Instant),
    /// The peer is dead.
    Dead { missed: u32, after: Duration },
    /// Keepalive is off.
    Off,
}

impl KeepaliveClock {
    pub(super) const fn new(config: Keepalive, now: Instant) -> Self {
        Self { config, heard_bytes: 0, silent_since: now, asked: 0 }
    }

    /// The silence of a peer that was asked for a sign of life.
    pub(super) fn silence(&self) -> Option<Silence> {
        (self.asked > 0).then(|| Silence::new(self.silent_since.elapsed(), self.asked))
    }

    /// `deaf` is whether we ourselves do not read: then silence means nothing.
    pub(super) fn step(&mut self, now: Instant, bytes_in: u64, deaf: bool) -> KeepaliveStep {
        if self.config.interval.is_zero() || self.config.max_missed == 0 {
            return KeepaliveStep::Off;
        }
        if deaf || bytes_in != self.heard_bytes {
            self.heard_bytes = bytes_in;
            self.silent_since = now;
            self.asked = 0;
        }
        let silence = now.saturating_duration_since(self.silent_since);
        let missed = self.asked + 1;
        let patience = self.config.interval.saturating_mul(missed);
        if silence < patience {
            return KeepaliveStep::Wait(after(self.silent_since, patience));
        }
        if missed >= self.config.max_missed {
            return KeepaliveStep::Dead { missed: self.asked, after: silence };
        }
        self.asked = missed;
        KeepaliveStep::Ask(after(self.silent_since, self.config.interval.saturating_mul(missed + 1)))
    }
}

/// Decides when keys are exchanged anew.
#[derive(Debug)]
pub(super) struct RekeyClock {
    limit: RekeyLimit,
    since: Instant,
    base: Traffic,
    /// What the last look saw.
    seen: Traffic,
}

impl RekeyClock {
    pub(super) const fn new(limit: RekeyLimit, now: Instant) -> Self {
        Self { limit, since: now, base: Traffic::ZERO, seen: Traffic::ZERO }
    }

    /// New keys are in use.
    pub(super) const fn done(&mut self, now: Instant, traffic: Traffic) {
        self.since = now;
        self.base = traffic;
    }

    pub(super) fn is_due(&self, now: Instant, traffic: Traffic) -> bool {
        let sent = traffic.bytes_out.saturating_sub(self.base.bytes_out);
        let received = traffic.bytes_in.saturating_sub(self.base.bytes_in);
        sent.max(received) >= self.limit.bytes || now.saturating_duration_since(self.since) >= self.limit.time
    }

    /// When to look again: soon while bytes flow, so that a fast link does not run far past the limit.
    pub(super) fn next_look(&mut self, now: Instant, traffic: Traffic) -> Instant {
        const BUSY: Duration = Duration::from_millis(100);
        const QUIET: Duration = Duration::from_secs(2);
        let busy = std::mem::replace(&mut self.seen, traffic) != traffic;
        if self.limit.bytes == u64::MAX {
            return after(self.since, self.limit.time);
        }
        after(self.since, self.limit.time).min(now + if busy { BUSY } else { QUIET })
    }
}

/// Ends a connection that nobody uses, or that is too old.
#[derive(Debug)]
pub(super) struct LifeClock {
    limits: LifeLimits,
    up_since: Instant,
    /// Since when there is no channel, and how long that may last.
    unused: Option<(Instant, Duration)>,
}

/// What the life clock wants.
#[derive(Debug, Clone)]
pub(super) enum LifeStep {
    /// Nothing until then.
    Wait(Instant),
    /// The connection ends, for this reason.
    Over(ConnectionError),
}

impl LifeClock {
    pub(super) const fn new(limits: LifeLimits, now: Instant) -> Self {
        Self { limits, up_since: now, unused: Some((now, limits.first_channel)) }
    }

    /// Whether there are channels at the moment. True when that is news.
    pub(super) const fn note(&mut self, now: Instant, in_use: bool) -> bool {
        if in_use != self.unused.is_some() {
            return false;
        }
        self.unused = if in_use { None } else { Some((now, self.limits.unused)) };
        true
    }

    pub(super) fn step(&self, now: Instant) -> LifeStep {
        let oldest = after(self.up_since, self.limits.lifetime);
        if now >= oldest {
            return LifeStep::Over(ConnectionError::Expired { after: self.limits.lifetime });
        }
        let Some((since, limit)) = self.unused else { return LifeStep::Wait(oldest) };
        let unused = after(since, limit);
        if now >= unused {
            return LifeStep::Over(ConnectionError::Idle { after: limit });
        }
        LifeStep::Wait(oldest.min(unused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn limits_that_are_as_good_as_never_do_not_overflow() {
        let start = Instant::now();
        assert!(after(start, Duration::MAX) > start);
        let mut keepalive = KeepaliveClock::new(Keepalive::new(Duration::MAX, 3), start);
        assert!(matches!(keepalive.step(start + SECOND, 0, false), KeepaliveStep::Wait(_)));
        let mut rekey = RekeyClock::new(RekeyLimit::new(u64::MAX, Duration::MAX), start);
        assert!(!rekey.is_due(start + SECOND, Traffic::ZERO));
        assert!(rekey.next_look(start, Traffic::ZERO) > start);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_dead_after_interval_times_count() {
        let start = Instant::now();
        let mut clock = KeepaliveClock::new(Keepalive::new(10 * SECOND, 3), start);
        assert_eq!(clock.step(start, 0, false), KeepaliveStep::Wait(start + 10 * SECOND));
        assert_eq!(clock.step(start + 10 * SECOND, 0, false), KeepaliveStep::Ask(start + 20 * SECOND));
        assert_eq!(clock.step(start + 20 * SECOND, 0, false), KeepaliveStep::Ask(start + 30 * SECOND));
        assert!(matches!(clock.step(start + 30 * SECOND, 0, false), KeepaliveStep::Dead { missed: 2, .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn any_byte_of_the_peer_starts_the_keepalive_clock_again() {
        let start = Instant::now();
        let mut clock = KeepaliveClock::new(Keepalive::new(10 * SECOND, 3), start);
        clock.step(start + 20 * SECOND, 0, false);
        assert_eq!(clock.step(start + 21 * SECOND, 1, false), KeepaliveStep::Wait(start + 31 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_while_we_do_not_read_is_not_the_peers_fault() {
        let start = Instant::now();
        let mut clock = KeepaliveClock::new(Keepalive::new(10 * SECOND, 3), start);
        for n in 1..20 {
            let now = start + 10 * SECOND * n;
            assert_eq!(clock.step(now, 0, true), KeepaliveStep::Wait(now + 10 * SECOND));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_due_by_bytes_of_either_direction_or_by_time() {
        let start = Instant::now();
        let mut clock = RekeyClock::new(RekeyLimit::new(100, 60 * SECOND), start);
        let at = |bytes_in, bytes_out| Traffic { bytes_in, bytes_out };
        assert!(!clock.is_due(start, at(99, 99)));
        assert!(clock.is_due(start, at(100, 0)));
        assert!(clock.is_due(start, at(0, 100)));
        assert!(clock.is_due(start + 60 * SECOND, at(0, 0)));
        clock.done(start + 60 * SECOND, at(100, 100));
        assert!(!clock.is_due(start + 61 * SECOND, at(199, 150)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_channel_is_over_at_the_limit_that_applies() {
        let start = Instant::now();
        let limits = LifeLimits { first_channel: 10 * SECOND, unused: 100 * SECOND, lifetime: 1000 * SECOND };
        let idle = |step| match step {
            LifeStep::Over(ConnectionError::Idle { after }) => Some(after),
            _ => None,
        };
        let waits = |step| match step {
            LifeStep::Wait(at) => Some(at - start),
            LifeStep::Over(_) => None,
        };
        let mut clock = LifeClock::new(limits, start);
        assert_eq!(waits(clock.step(start)), Some(10 * SECOND));
        assert_eq!(idle(clock.step(start + 10 * SECOND)), Some(10 * SECOND));
        assert!(clock.note(start + 5 * SECOND, true) && !clock.note(start + 6 * SECOND, true));
        assert_eq!(waits(clock.step(start + 500 * SECOND)), Some(1000 * SECOND));
        assert!(clock.note(start + 500 * SECOND, false) && !clock.note(start + 550 * SECOND, false));
        assert_eq!(waits(clock.step(start + 599 * SECOND)), Some(600 * SECOND));
        assert_eq!(idle(clock.step(start + 600 * SECOND)), Some(100 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_use_is_over_at_its_greatest_age() {
        let start = Instant::now();
        let mut clock = LifeClock::new(LifeLimits { lifetime: SECOND, ..LifeLimits::default() }, start);
        clock.note(start, true);
        assert!(matches!(clock.step(start), LifeStep::Wait(at) if at == start + SECOND));
        let over = clock.step(start + SECOND);
        assert!(matches!(over, LifeStep::Over(ConnectionError::Expired { after }) if after == SECOND));
    }
}
