//! How much is lent to the sessions of each user: one account for all connections of a daemon. What a session takes from it
//! goes back when nothing is left of what was made for it; who ends the daemon can wait for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::ConfigError;

/// What can be lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::server) enum Kind {
    Agent,
    Display,
}

/// How much of each there may be, for one user at a time. As many as [`usize::MAX`] are no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct LendLimits {
    pub(in crate::server) agents: usize,
    pub(in crate::server) displays: usize,
}

impl Default for LendLimits {
    fn default() -> Self {
        Self { agents: 256, displays: 64 }
    }
}

impl LendLimits {
    pub(in crate::server) fn check(&self) -> Result<(), ConfigError> {
        let zero = [
            ("max_agents_per_user", self.agents, "give at least 1, or leave out `Router::agent_forwarding`"),
            (
                "max_displays_per_user",
                self.displays,
                "give at least 1, or leave out `Router::x11_forwarding`",
            ),
        ];
        match zero.into_iter().find(|(_, limit, _)| *limit == 0) {
            Some((field, _, way_out)) => Err(ConfigError::new(field, "is 0: nothing could be lent", way_out)),
            None => Ok(()),
        }
    }

    const fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Agent => self.agents,
            Kind::Display => self.displays,
        }
    }
}

type Counts = HashMap<(Kind, String), usize>;

/// The account.
#[derive(Debug, Default)]
pub(in crate::server) struct Lending {
    counts: Mutex<Counts>,
    /// Of the places there are.
    places: TaskTracker,
}

impl Lending {
    /// A place for one more; `None` if the user has all it may have.
    pub(in crate::server) fn take(
        self: &Arc<Self>,
        limits: &LendLimits,
        user: &str,
        kind: Kind,
    ) -> Option<Place> {
        let key = (kind, user.to_owned());
        let mut counts = self.lock();
        let count = counts.get(&key).copied().unwrap_or_default();
        if count >= limits.of(kind) {
            let limit = limits.of(kind);
            tracing::info!(?user, ?kind, limit, "the user has as many of them lent as there may be");
            return None;
        }
        counts.insert(key.clone(), count + 1);
        drop(counts);
        Some(Place { account: Arc::clone(self), key, lives: self.places.token() })
    }

    /// Waits until nothing is lent, and nothing of it is left.
    pub(in crate::server) async fn empty(&self) {
        self.places.close();
        self.places.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is counted as long as this exists.
#[derive(Debug)]
pub(in crate::server) struct Place {
    account: Arc<Lending>,
    key: (Kind, String),
    lives: TaskTrackerToken,
}

impl Place {
    /// For what is over a little later than this place. [`Lending::empty`] waits for it, too.
    pub(super) fn outlived(&self) -> TaskTrackerToken {
        self.lives.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.account.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_its_own_places_of_each_kind_and_gives_them_back() {
        let (account, limits) = (Arc::<Lending>::default(), LendLimits { agents: 2, displays: 1 });
        let take = |user, kind| account.take(&limits, user, kind);
        let display = take("alice", Kind::Display);
        assert!(display.is_some() && take("alice", Kind::Display).is_none());
        let others = [take("bob", Kind::Display), take("alice", Kind::Agent), take("alice", Kind::Agent)];
        assert!(others.iter().all(Option::is_some));
        assert!(take("alice", Kind::Agent).is_none());
        drop(display);
        assert!(take("alice", Kind::Display).is_some());
        drop(others);
        assert!(account.lock().is_empty(), "nothing is kept for users without any");
    }

    #[test]
    fn a_limit_that_allows_nothing_names_itself_and_the_way_out() {
        for (limits, field) in [
            (LendLimits { agents: 0, ..LendLimits::default() }, "max_agents_per_user"),
            (LendLimits { displays: 0, ..LendLimits::default() }, "max_displays_per_user"),
        ] {
            let error = limits.check().unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("leave out"), "{error}");
        }
        LendLimits::default().check().unwrap();
    }
}
