//! How many channels there may be. One is counted until it is over on the wire and its actor has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places for channels on one connection. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// One place, until dropped; or two: of a session, and of any channel.
#[derive(Debug)]
pub(crate) struct Slot {
    used: Arc<AtomicUsize>,
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "its drop is what counts"))]
    also: Option<Box<Self>>,
}

impl Slot {
    #[cfg(feature = "server")]
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.also = Some(Box::new(other));
        self
    }
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn take(&self) -> Option<Slot> {
        if self.used.fetch_add(1, Ordering::AcqRel) >= self.limit {
            self.used.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Slot { used: Arc::clone(&self.used), also: None })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
    }
}
