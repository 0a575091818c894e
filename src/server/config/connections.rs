//! Connections: how many, and how they are run.

use super::DaemonConfig;
use crate::config::{Keepalive, Limits, RekeyLimit, Timeouts};

/// # Connections
impl DaemonConfig {
    /// Sets how many connections there may be; further ones are closed at once. Default 1,024.
    #[must_use]
    pub const fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Sets how many connections may be without a login at a time; further ones are closed at once. Default 64.
    #[must_use]
    pub const fn max_unauthenticated(mut self, limit: usize) -> Self {
        self.max_unauthenticated = limit;
        self
    }

    /// Sets the deadlines. `version`, `kex` and `auth` also end at the login grace.
    #[must_use]
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets the limits of each connection; start from [`Limits::server`], or the number of channels is a client's.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how a dead peer is noticed.
    #[must_use]
    pub const fn keepalive(mut self, keepalive: Keepalive) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Sets when keys are exchanged anew.
    #[must_use]
    pub const fn rekey(mut self, limit: RekeyLimit) -> Self {
        self.rekey = limit;
        self
    }

    /// Sets the software version in our identification string (RFC 4253 section 4.2), without `SSH-2.0-`.
    #[must_use]
    pub fn server_id(mut self, id: impl Into<String>) -> Self {
        self.server_id = id.into();
        self
    }
}
