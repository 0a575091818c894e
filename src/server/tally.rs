//! What a daemon counts, and the picture it gives of itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::error::ServeError;
use super::session::{SessionEnd, Totals};
use crate::error::ConnectionError;
use crate::metrics;

/// A daemon, at the moment it was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DaemonInfo {
    /// For how long it has been running.
    pub uptime: Duration,
    /// How many listeners accept connections at this moment; 0 after
    /// [`stop_listener`](crate::DaemonRef::stop_listener).
    pub listeners: usize,
    /// Connections at this moment, those without a login included.
    pub connections: usize,
    /// Connections without a login at this moment.
    pub unauthenticated: usize,
    /// What was counted so far.
    pub counters: DaemonCounters,
}

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Counters of a daemon. They only grow.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct DaemonCounters {
            $($(#[$doc])* pub $name: u64,)*
            /// Channels that peers were refused after their login, for whatever reason.
            pub opens_refused: u64,
            /// Requests that were over a limit, not allowed to the login, or not decided in time.
            pub requests_refused: u64,
            /// Channels ended because their consumers held their connections up.
            pub channels_stalled: u64,
        }

        /// The counters, as they are counted.
        #[derive(Debug)]
        pub(super) struct Tally {
            $(pub(super) $name: Count,)*
        }

        impl Default for Tally {
            fn default() -> Self {
                Self { $($name: Count { name: stringify!($name), value: AtomicU64::new(0) },)* }
            }
        }

        impl Tally {
            pub(super) fn counters(&self, totals: Totals) -> DaemonCounters {
                let Totals { opens_refused, requests_refused, channels_stalled } = totals;
                DaemonCounters {
                    $($name: self.$name.value.load(Ordering::Relaxed),)*
                    opens_refused,
                    requests_refused,
                    channels_stalled,
                }
            }
        }
    };
}

tally! {
    /// Connections taken in, those given to [`serve`](crate::DaemonRef::serve) included.
    connections_accepted
    /// Connections refused because there were [`max_connections`](crate::DaemonConfig::max_connections).
    refused_connections
    /// Connections refused because there were [`max_unauthenticated`](crate::DaemonConfig::max_unauthenticated)
    /// without a login.
    refused_unauthenticated
    /// Connections refused at random before that, by [`max_startups`](crate::DaemonConfig::max_startups).
    refused_early
    /// Connections refused because too many came from one place.
    refused_per_source
    /// Connections refused because too many logins from their address were.
    refused_barred
    /// Connections refused because the daemon was draining or had stopped.
    refused_stopping
    /// Connections that have logged in.
    logins
    /// Connections that took too long to log in: over the login grace, or the time for one of its phases.
    login_timeouts
    /// Connections that ended without a login in another way: refused too often, gone, broken.
    logins_failed
    /// Connections ended because they had no channel for too long.
    idle_timeouts
    /// Connections ended because of their age.
    lifetimes_over
    /// Connections ended because their peers did far too much of something
    /// ([`SessionLimits`](crate::SessionLimits)).
    expelled
    /// Connections ended because their peers answered nothing any more.
    peers_dead
    /// Connections ended because their peers took nothing any more.
    write_stalls
    /// Connections ended by [`kick`](crate::DaemonRef::kick).
    kicked
    /// Errors of accepting connections, such as no file descriptor being left.
    accept_errors
    /// Restarts of acceptors that failed or were killed.
    acceptor_restarts
}

/// One of the counters.
#[derive(Debug)]
pub(super) struct Count {
    name: &'static str,
    value: AtomicU64,
}

/// Counts one.
pub(super) fn count(counter: &Count) {
    counter.value.fetch_add(1, Ordering::Relaxed);
    metrics::count(metrics::DAEMON_EVENTS, 1, &[("event", counter.name)]);
}

impl Tally {
    pub(super) fn refused(&self, why: ServeError) {
        count(match why {
            ServeError::TooManyConnections { .. } => &self.refused_connections,
            ServeError::TooManyUnauthenticated { .. } => &self.refused_unauthenticated,
            ServeError::DroppedEarly { .. } => &self.refused_early,
            ServeError::TooManyFromSource { .. } => &self.refused_per_source,
            ServeError::Barred => &self.refused_barred,
            ServeError::Stopping => &self.refused_stopping,
        });
    }

    pub(super) fn ended(&self, end: &SessionEnd) {
        match end {
            SessionEnd::LoginTimeout { .. } => count(&self.login_timeouts),
            SessionEnd::NoLogin { error: ConnectionError::Closed, .. } => {}
            SessionEnd::NoLogin { .. } => count(&self.logins_failed),
            SessionEnd::Ended(ConnectionError::Idle { .. }) => count(&self.idle_timeouts),
            SessionEnd::Ended(ConnectionError::Expired { .. }) => count(&self.lifetimes_over),
            SessionEnd::Ended(ConnectionError::Expelled(_)) => count(&self.expelled),
            SessionEnd::Ended(ConnectionError::PeerDead { .. }) => count(&self.peers_dead),
            SessionEnd::Ended(ConnectionError::WriteStalled { .. }) => count(&self.write_stalls),
            SessionEnd::Ended(_) => {}
        }
    }
}
