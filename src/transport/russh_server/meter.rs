//! Counts a connection's bytes from the first on, for whoever watches it from outside.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use crate::transport::Traffic;
use crate::transport::pump::PumpStats;

/// Filled in when the connection is served; outlives it.
#[derive(Debug, Default)]
pub(crate) struct Meter(OnceLock<Arc<PumpStats>>);

impl Meter {
    pub(super) fn set(&self, stats: Arc<PumpStats>) {
        let _ = self.0.set(stats);
    }

    /// Bytes so far.
    pub(crate) fn traffic(&self) -> Traffic {
        self.0.get().map_or(Traffic::ZERO, |stats| Traffic {
            bytes_in: stats.bytes_in(),
            bytes_out: stats.bytes_out(),
        })
    }

    /// When something was heard of the peer, or when it was first listened to.
    pub(crate) fn last_inbound(&self) -> Option<Instant> {
        self.0.get().map(|stats| stats.last_inbound())
    }
}
