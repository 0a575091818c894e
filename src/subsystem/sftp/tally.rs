//! What is counted of the sessions of an [`Sftp`](super::Sftp).

use std::sync::atomic::{AtomicU64, Ordering};

/// What the limits of an [`Sftp`](crate::Sftp) refused, in all its sessions. They only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SftpCounters {
    /// Opens refused because a session had [`max_handles`](crate::Sftp::max_handles).
    pub refused_handles: u64,
    /// Names refused because they were longer than [`max_path`](crate::Sftp::max_path), targets of links included.
    pub refused_paths: u64,
    /// Packets above [`max_packet`](crate::Sftp::max_packet); each ended its channel.
    pub refused_packets: u64,
    /// Requests to change something refused because of [`read_only`](crate::Sftp::read_only).
    pub refused_changes: u64,
}

/// The counters, as they are counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) refused_handles: AtomicU64,
    pub(super) refused_paths: AtomicU64,
    pub(super) refused_packets: AtomicU64,
    pub(super) refused_changes: AtomicU64,
}

impl Tally {
    pub(super) fn counters(&self) -> SftpCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SftpCounters {
            refused_handles: read(&self.refused_handles),
            refused_paths: read(&self.refused_paths),
            refused_packets: read(&self.refused_packets),
            refused_changes: read(&self.refused_changes),
        }
    }
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
