//! Numbers for channels, none of them twice on a connection.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::id::ChannelKey;

/// The channel keys of one connection.
#[derive(Debug, Default)]
pub(crate) struct Keys(AtomicU64);

impl Keys {
    /// One more; never used again.
    pub(crate) fn next(&self) -> ChannelKey {
        ChannelKey::new(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
