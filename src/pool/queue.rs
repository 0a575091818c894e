//! Who waits for a place at one host, and in which order.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::OpenError;
use crate::handle::route::Way;

/// What a place is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// A `session` channel, of which servers count how many there are.
    Session,
    /// A channel of another kind.
    Channel,
    /// The connection itself, in a caller's hands: the end of the pool does not wait for that.
    Connection,
}

impl Want {
    pub(super) const fn channel(session: bool) -> Self {
        if session { Self::Session } else { Self::Channel }
    }
}

/// One who waits. Dropping the other end is to go away.
pub(super) struct Waiter {
    pub(super) want: Want,
    pub(super) give: oneshot::Sender<Result<Way, OpenError>>,
}

impl Waiter {
    fn is_other(&self) -> bool {
        self.want != Want::Session && !self.give.is_closed()
    }
}

/// Where somebody stands. Supervised channels come first, in the order of their declaration: they were there before.
/// Callers follow in the order they came, also those who got a place where there was none after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Supervised(u64),
    Caller(Instant),
}

/// A queue. Those who have gone away are passed over, and do not count.
#[derive(Default)]
pub(super) struct Queue {
    waiters: BTreeMap<(Rank, u64), Waiter>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, rank: Rank, waiter: Waiter) {
        self.next += 1;
        self.waiters.insert((rank, self.next), waiter);
    }

    /// How many wait.
    pub(super) fn len(&mut self) -> usize {
        self.waiters.retain(|_, waiter| !waiter.give.is_closed());
        self.waiters.len()
    }

    /// How many callers wait, looking no further than it has to.
    pub(super) fn callers(&mut self, bound: usize) -> usize {
        if self.waiters.len() >= bound {
            self.waiters.retain(|_, waiter| !waiter.give.is_closed());
        }
        self.waiters.keys().filter(|(rank, _)| matches!(rank, Rank::Caller(_))).count()
    }

    /// What the first one wants.
    pub(super) fn first(&mut self) -> Option<Want> {
        loop {
            let entry = self.waiters.first_entry()?;
            if !entry.get().give.is_closed() {
                return Some(entry.get().want);
            }
            drop(entry.remove());
        }
    }

    pub(super) fn pop(&mut self) -> Option<Waiter> {
        self.waiters.pop_first().map(|(_, waiter)| waiter)
    }

    /// Whether somebody waits who wants no session.
    pub(super) fn has_other(&self) -> bool {
        self.waiters.values().any(Waiter::is_other)
    }

    /// The first who wants no session.
    pub(super) fn pop_other(&mut self) -> Option<Waiter> {
        let place = self.waiters.iter().find(|(_, waiter)| waiter.is_other()).map(|(place, _)| *place)?;
        self.waiters.remove(&place)
    }

    /// Everybody, in order.
    pub(super) fn take_all(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.waiters).into_values().collect()
    }
}
