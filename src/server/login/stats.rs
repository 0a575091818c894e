//! How many logins there were.

use std::sync::atomic::{AtomicU64, Ordering};

/// Logins since the daemon started. How many connections were turned away for the refusals before them is in
/// [`DaemonCounters`](crate::DaemonCounters).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginStats {
    /// Users who were let in.
    pub accepted: u64,
    /// Steps passed where more were required.
    pub partial: u64,
    /// Proofs that were refused, offered keys included; without what
    /// [russh refuses itself](crate::login#what-russh-refuses-itself).
    pub refused: u64,
    /// Connections that have used up their attempts.
    pub exhausted: u64,
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(in crate::server) struct Counters {
    accepted: AtomicU64,
    partial: AtomicU64,
    refused: AtomicU64,
    exhausted: AtomicU64,
}

impl Counters {
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn partial(&self) {
        self.partial.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn exhausted(&self) {
        self.exhausted.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::server) fn snapshot(&self) -> LoginStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoginStats {
            accepted: read(&self.accepted),
            partial: read(&self.partial),
            refused: read(&self.refused),
            exhausted: read(&self.exhausted),
        }
    }
}
