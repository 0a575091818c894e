//! How many connections there may be: in all, without a login, from one place. One account for all of them; what a
//! connection takes from it goes back when it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::ServeError;
use super::source::Source;
use crate::error::ConfigError;

/// The limits. As many as [`usize::MAX`] are no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CapLimits {
    pub(super) connections: usize,
    pub(super) per_source: usize,
    pub(super) startups: Startups,
    pub(super) startups_per_source: usize,
}

impl Default for CapLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_source: 128,
            startups: Startups { start: 10, rate: 30, full: 64 },
            startups_per_source: 16,
        }
    }
}

impl CapLimits {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let zero = [
            ("max_connections", self.connections),
            ("max_unauthenticated", self.startups.full),
            ("max_per_source", self.startups_per_source),
            ("max_connections_per_source", self.per_source),
        ];
        if let Some((field, _)) = zero.into_iter().find(|(_, limit)| *limit == 0) {
            return Err(ConfigError::new(
                field,
                "is 0: nobody could log in",
                "give at least 1; usize::MAX for no limit",
            ));
        }
        if self.startups.rate > 100 {
            return Err(ConfigError::new(
                "max_startups",
                format!("has a rate of {} %", self.startups.rate),
                "give a rate from 0 to 100; 0 drops nothing before `full`",
            ));
        }
        if self.startups.start == 0 && self.startups.rate == 100 {
            return Err(ConfigError::new(
                "max_startups",
                "drops every connection from the first on",
                "give a start of at least 1, or a rate below 100",
            ));
        }
        Ok(())
    }
}

/// How connections without a login are turned away: none below `start`, `rate` percent of them from there on, growing
/// to all of them at `full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Startups {
    pub(super) start: usize,
    pub(super) rate: u32,
    pub(super) full: usize,
}

impl Startups {
    /// How many of a hundred are turned away when there are `present` already.
    fn percent(&self, present: usize) -> u32 {
        if present >= self.full {
            return 100;
        }
        if present < self.start {
            return 0;
        }
        let (over, span) = (present - self.start, (self.full - self.start).max(1));
        // Below 100, as `over` is less than `span`.
        let more = (100 - self.rate.min(100)) as usize * over / span;
        self.rate + u32::try_from(more).unwrap_or(100)
    }
}

#[derive(Debug, Default)]
struct Counts {
    all: Count,
    by_source: HashMap<Source, Count>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    connections: usize,
    startups: usize,
}

impl Count {
    const fn enter(&mut self) {
        self.connections += 1;
        self.startups += 1;
    }

    const fn log_in(&mut self) {
        self.startups = self.startups.saturating_sub(1);
    }

    const fn leave(&mut self, startup: bool) {
        self.connections = self.connections.saturating_sub(1);
        if startup {
            self.log_in();
        }
    }
}

/// The account.
#[derive(Debug, Default)]
pub(super) struct Caps(Mutex<Counts>);

impl Caps {
    /// Lets one more connection in, or says why not. `roll` is a random number below 100.
    pub(super) fn enter(
        self: &Arc<Self>,
        limits: &CapLimits,
        source: Option<Source>,
        roll: u32,
    ) -> Result<Pass, ServeError> {
        let mut counts = self.lock();
        let here = source.and_then(|source| counts.by_source.get(&source)).copied().unwrap_or_default();
        if counts.all.connections >= limits.connections {
            return Err(ServeError::TooManyConnections { limit: limits.connections });
        }
        if counts.all.startups >= limits.startups.full {
            return Err(ServeError::TooManyUnauthenticated { limit: limits.startups.full });
        }
        let limit = if here.startups >= limits.startups_per_source {
            Some(limits.startups_per_source)
        } else {
            (here.connections >= limits.per_source).then_some(limits.per_source)
        };
        if let Some(limit) = limit {
            return Err(ServeError::TooManyFromSource { limit });
        }
        if roll < limits.startups.percent(counts.all.startups) {
            return Err(ServeError::DroppedEarly { unauthenticated: counts.all.startups });
        }
        counts.all.enter();
        if let Some(source) = source {
            counts.by_source.entry(source).or_default().enter();
        }
        drop(counts);
        Ok(Pass { caps: Arc::clone(self), source, startup: true })
    }

    /// How many connections are without a login.
    pub(super) fn unauthenticated(&self) -> usize {
        self.lock().all.startups
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection has taken from the account.
#[derive(Debug)]
pub(super) struct Pass {
    caps: Arc<Caps>,
    source: Option<Source>,
    /// Not logged in yet.
    startup: bool,
}

impl Pass {
    /// The connection is no longer one without a login.
    pub(super) fn log_in(&mut self) {
        if std::mem::take(&mut self.startup) {
            let mut counts = self.caps.lock();
            counts.all.log_in();
            if let Some(count) = self.source.and_then(|source| counts.by_source.get_mut(&source)) {
                count.log_in();
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.caps.lock();
        counts.all.leave(self.startup);
        let Some(source) = self.source else { return };
        if let Some(count) = counts.by_source.get_mut(&source) {
            count.leave(self.startup);
            if *count == Count::default() {
                counts.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: u32 = 99;
    const OPEN: CapLimits = CapLimits {
        connections: usize::MAX,
        per_source: usize::MAX,
        startups: Startups { start: usize::MAX, rate: 0, full: usize::MAX },
        startups_per_source: usize::MAX,
    };

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn every_cap_names_itself_and_gives_back_what_is_dropped() {
        let caps = Arc::new(Caps::default());
        let here = Some(source("192.0.2.1"));
        for (limits, problem) in [
            (CapLimits { connections: 2, ..OPEN }, "2 connections"),
            (
                CapLimits { startups: Startups { start: 2, rate: 0, full: 2 }, ..OPEN },
                "2 connections without",
            ),
            (CapLimits { startups_per_source: 2, ..OPEN }, "2 connections from"),
            (CapLimits { per_source: 2, ..OPEN }, "2 connections from"),
        ] {
            let passes: Vec<_> = (0..2).map(|_| caps.enter(&limits, here, NEVER).unwrap()).collect();
            let error = caps.enter(&limits, here, NEVER).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
            drop(passes);
            drop(caps.enter(&limits, here, NEVER).unwrap());
            assert_eq!(caps.lock().all, Count::default());
            assert!(caps.lock().by_source.is_empty(), "nothing is kept of who is gone");
        }
    }

    #[test]
    fn a_login_makes_room_for_others_without_one() {
        let caps = Arc::new(Caps::default());
        let limits = CapLimits { startups_per_source: 1, ..OPEN };
        let here = Some(source("192.0.2.1"));
        let mut first = caps.enter(&limits, here, NEVER).unwrap();
        assert!(caps.enter(&limits, here, NEVER).is_err());
        first.log_in();
        first.log_in();
        let second = caps.enter(&limits, here, NEVER).unwrap();
        assert_eq!(caps.lock().all, Count { connections: 2, startups: 1 });
        drop((first, second));
        assert_eq!(caps.lock().all, Count::default());
    }

    #[test]
    fn one_source_is_an_ipv4_address_or_a_64_bit_ipv6_prefix() {
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }

    #[test]
    fn another_source_and_none_are_not_counted_with_this_one() {
        let caps = Arc::new(Caps::default());
        let limits = CapLimits { startups_per_source: 1, per_source: 1, ..OPEN };
        let _here = caps.enter(&limits, Some(source("192.0.2.1")), NEVER).unwrap();
        let _there = caps.enter(&limits, Some(source("192.0.2.2")), NEVER).unwrap();
        let nowhere: Vec<_> = (0..5).map(|_| caps.enter(&limits, None, NEVER).unwrap()).collect();
        assert_eq!(nowhere.len(), 5);
    }

    #[test]
    fn early_drop_grows_from_the_rate_at_start_to_everything_at_full() {
        let startups = Startups { start: 10, rate: 30, full: 60 };
        let percents = [0, 9, 10, 35, 59, 60, 1000].map(|present| startups.percent(present));
        assert_eq!(percents, [0, 0, 30, 65, 98, 100, 100]);
        let none_early = Startups { start: 10, rate: 0, full: 10 };
        assert_eq!([9, 10].map(|present| none_early.percent(present)), [0, 100]);
        let inverted = Startups { start: 10, rate: 30, full: 1 };
        assert_eq!([0, 1].map(|present| inverted.percent(present)), [0, 100]);
    }

    #[test]
    fn the_roll_decides_between_start_and_full() {
        let caps = Arc::new(Caps::default());
        let limits = CapLimits { startups: Startups { start: 1, rate: 30, full: 10 }, ..OPEN };
        let _first = caps.enter(&limits, None, 0).unwrap();
        let error = caps.enter(&limits, None, 29).unwrap_err();
        assert!(matches!(error, ServeError::DroppedEarly { unauthenticated: 1 }), "{error}");
        let _second = caps.enter(&limits, None, 30).unwrap();
    }
}
