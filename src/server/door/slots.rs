//! How many channels there may be. One is counted until it is over on the wire and its actor has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places for channels on one connection.
pub(in crate::server) struct Slots {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// One place, until dropped.
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub(in crate::server) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub(super) fn take(&self) -> Option<Slot> {
        if self.used.fetch_add(1, Ordering::AcqRel) >= self.limit {
            self.used.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Slot(Arc::clone(&self.used)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
