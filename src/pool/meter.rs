//! Tells the metrics what one host of a pool has counted.

use super::info::PoolCounters;
use crate::metrics::{self, POOL_EVENTS, POOL_WAITING};

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    told: PoolCounters,
    waiting: usize,
}

impl Meter {
    /// Tells what has changed.
    pub(super) fn tell(&mut self, now: &PoolCounters, waiting: usize) {
        for ((event, before), (_, now)) in self.told.each().into_iter().zip(now.each()) {
            metrics::count(POOL_EVENTS, now.saturating_sub(before), &[("event", event)]);
        }
        metrics::shift(POOL_WAITING, self.waiting, waiting, &[]);
        (self.told, self.waiting) = (*now, waiting);
    }
}

impl Drop for Meter {
    /// Nobody waits at a host that is forgotten.
    fn drop(&mut self) {
        let told = self.told;
        self.tell(&told, 0);
    }
}
