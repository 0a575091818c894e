//! Source addresses that guess: each refused login costs its address time, and one that has collected too much is
//! turned away until the time is over.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::ConfigError;
use crate::server::source::Source;

/// Longer than any daemon runs, and short enough for every clock.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What refused logins cost their source address.
///
/// Each refused password or interview costs `per_failure`, and so does each connection that ends without a login after
/// keys were refused. What an address has collected goes down with time. Once `bar_at` has no room for one more failure,
/// new connections from it are closed at once, with one line that says why, until all of it is over. With the defaults
/// that is so after 12 failures at the same time, or 14 of a peer that waits for each answer: a refusal takes a second.
///
/// IPv6 addresses count by their network of 64 bits. Behind a proxy or a NAT many users share an address: raise
/// `bar_at`, or switch it [`off`](Self::off).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourcePenalties {
    /// What one failure costs. Default 5 s. Zero switches penalties off.
    pub per_failure: Duration,
    /// How much an address may collect. Default 60 s.
    pub bar_at: Duration,
    /// No address collects more than this. Default 10 min.
    pub longest: Duration,
    /// How many addresses are kept, about 64 bytes each. When there are more, the one that would be forgotten first
    /// is. Default 16,384.
    pub sources: usize,
}

impl Default for SourcePenalties {
    fn default() -> Self {
        Self {
            per_failure: Duration::from_secs(5),
            bar_at: Duration::from_secs(60),
            longest: Duration::from_secs(600),
            sources: 16_384,
        }
    }
}

impl SourcePenalties {
    /// No penalties.
    #[must_use]
    pub fn off() -> Self {
        Self { per_failure: Duration::ZERO, ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.per_failure.is_zero() {
            return Ok(());
        }
        if self.sources == 0 {
            let fix = "give at least 1, or switch them off with `SourcePenalties::off()`";
            return Err(ConfigError::new("source_penalties.sources", "is 0", fix));
        }
        if self.bar_at.is_zero() {
            let problem = "is 0: every address would be turned away after its first failure";
            return Err(ConfigError::new("source_penalties.bar_at", problem, "give at least `per_failure`"));
        }
        if self.longest < self.bar_at {
            let problem = "is shorter than `bar_at`: nobody would ever be turned away";
            return Err(ConfigError::new("source_penalties.longest", problem, "give at least `bar_at`"));
        }
        Ok(())
    }
}

/// The addresses of one daemon.
#[derive(Debug)]
pub(in crate::server) struct Penalties {
    policy: RwLock<SourcePenalties>,
    sources: Mutex<HashMap<Source, Debt>>,
}

#[derive(Debug, Clone, Copy)]
struct Debt {
    /// When all it has collected is over.
    over: Instant,
    barred: bool,
}

impl Penalties {
    pub(in crate::server) fn new(policy: SourcePenalties) -> Self {
        Self { policy: RwLock::new(policy), sources: Mutex::default() }
    }

    /// What has been collected stays, and is looked at by the new policy: switched off, nobody is barred any more.
    pub(in crate::server) fn set_policy(&self, policy: SourcePenalties) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn policy(&self) -> RwLockReadGuard<'_, SourcePenalties> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether connections from this address are to be turned away.
    pub(in crate::server) fn is_barred(&self, ip: IpAddr) -> bool {
        if self.policy().per_failure.is_zero() {
            return false;
        }
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get(&Source::of(ip)).is_some_and(|debt| debt.barred && debt.over > Instant::now())
    }

    /// A login from this address was refused.
    pub(super) fn failed(&self, ip: IpAddr) {
        let policy = self.policy();
        if policy.per_failure.is_zero() {
            return;
        }
        let (now, key) = (Instant::now(), Source::of(ip));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains_key(&key) {
            make_room(&mut sources, policy.sources, now);
        }
        let debt = sources.entry(key).or_insert(Debt { over: now, barred: false });
        debt.barred &= debt.over > now;
        let collected = debt.over.saturating_duration_since(now).saturating_add(policy.per_failure);
        debt.over = now + collected.min(policy.longest).min(FOREVER);
        if collected.saturating_add(policy.per_failure) > policy.bar_at && !debt.barred {
            debt.barred = true;
            drop(sources);
            tracing::warn!(source = %key, "too many refused logins; connections from there are turned away");
        }
    }

    /// How many failures an address has not worked off yet.
    #[cfg(test)]
    pub(super) fn failures(&self, ip: IpAddr) -> u128 {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let left =
            sources.get(&Source::of(ip)).map(|debt| debt.over.saturating_duration_since(Instant::now()));
        left.unwrap_or_default().as_millis().div_ceil(self.policy().per_failure.as_millis())
    }
}

fn make_room(sources: &mut HashMap<Source, Debt>, most: usize, now: Instant) {
    if sources.len() < most {
        return;
    }
    sources.retain(|_, debt| debt.over > now);
    while sources.len() >= most {
        let Some(first) = sources.iter().min_by_key(|(_, debt)| debt.over).map(|(source, _)| *source) else {
            return;
        };
        sources.remove(&first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn penalties(sources: usize) -> Penalties {
        Penalties::new(SourcePenalties {
            per_failure: Duration::from_secs(5),
            bar_at: Duration::from_secs(15),
            longest: Duration::from_secs(20),
            sources,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_barred_when_it_has_collected_enough_until_all_is_over() {
        let penalties = penalties(10);
        let (bad, good) = (ip("10.0.0.1"), ip("10.0.0.2"));
        penalties.failed(bad);
        penalties.failed(bad);
        assert!(!penalties.is_barred(bad));
        penalties.failed(bad);
        assert!(penalties.is_barred(bad) && !penalties.is_barred(good));
        tokio::time::advance(Duration::from_secs(14)).await;
        assert!(penalties.is_barred(bad));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!penalties.is_barred(bad));
        penalties.failed(bad);
        assert!(!penalties.is_barred(bad), "it starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_failures_are_forgotten() {
        let penalties = penalties(10);
        for _ in 0..50 {
            penalties.failed(ip("10.0.0.1"));
            assert!(!penalties.is_barred(ip("10.0.0.1")));
            tokio::time::advance(Duration::from_secs(5)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_barred_for_longer_than_the_longest() {
        let penalties = penalties(10);
        for _ in 0..100 {
            penalties.failed(ip("10.0.0.1"));
        }
        tokio::time::advance(Duration::from_secs(21)).await;
        assert!(!penalties.is_barred(ip("10.0.0.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_forgets_who_is_nearest_to_the_end() {
        let penalties = penalties(2);
        let fail = |text: &str, times: usize| (0..times).for_each(|_| penalties.failed(ip(text)));
        fail("10.0.0.1", 3);
        fail("10.0.0.2", 1);
        fail("10.0.0.3", 1);
        assert_eq!(penalties.sources.lock().unwrap().len(), 2);
        assert!(penalties.is_barred(ip("10.0.0.1")));
        for n in 0..1000_u32 {
            penalties.failed(IpAddr::V4((0x0B00_0000 + n).into()));
        }
        assert_eq!(penalties.sources.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_of_one_ipv6_network_count_together_and_mapped_ones_as_ipv4() {
        let penalties = penalties(10);
        for host in 1..4 {
            penalties.failed(ip(&format!("2001:db8:1:2::{host}")));
            penalties.failed(ip(&format!("::ffff:10.0.0.{host}")));
        }
        assert!(penalties.is_barred(ip("2001:db8:1:2:ffff::")));
        assert!(!penalties.is_barred(ip("2001:db8:1:3::1")));
        assert!(!penalties.is_barred(ip("10.0.0.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn switched_off_nothing_is_kept() {
        let penalties = Penalties::new(SourcePenalties::off());
        (0..100).for_each(|_| penalties.failed(ip("10.0.0.1")));
        assert!(!penalties.is_barred(ip("10.0.0.1")) && penalties.sources.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_barred_gets_in_as_soon_as_penalties_are_switched_off() {
        let penalties = penalties(10);
        (0..3).for_each(|_| penalties.failed(ip("10.0.0.1")));
        assert!(penalties.is_barred(ip("10.0.0.1")));
        penalties.set_policy(SourcePenalties::off());
        assert!(!penalties.is_barred(ip("10.0.0.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn times_without_end_are_no_panic() {
        let (max, second) = (Duration::MAX, Duration::from_secs(1));
        for (per_failure, bar_at, barred) in [(max, max, false), (second, max, false), (max, second, true)] {
            let policy = SourcePenalties { per_failure, bar_at, longest: max, sources: 1 };
            policy.check().unwrap();
            let penalties = Penalties::new(policy);
            (0..3).for_each(|_| penalties.failed(ip("10.0.0.1")));
            assert_eq!(penalties.is_barred(ip("10.0.0.1")), barred, "{per_failure:?} {bar_at:?}");
        }
    }

    #[test]
    fn a_policy_that_cannot_work_is_a_wrong_argument() {
        assert!(SourcePenalties::default().check().is_ok() && SourcePenalties::off().check().is_ok());
        let change = |change: fn(&mut SourcePenalties)| {
            let mut policy = SourcePenalties::default();
            change(&mut policy);
            policy.check().unwrap_err().field
        };
        assert_eq!(change(|policy| policy.sources = 0), "source_penalties.sources");
        assert_eq!(change(|policy| policy.bar_at = Duration::ZERO), "source_penalties.bar_at");
        assert_eq!(change(|policy| policy.longest = Duration::ZERO), "source_penalties.longest");
    }
}
