//! Connections: where they come from, how many there may be, for how long, and how they are run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::DaemonConfig;
use crate::config::{Keepalive, Limits, RekeyLimit, Timeouts};
use crate::server::caps::Startups;
use crate::server::session::{SessionEnd, SessionInfo};

/// # Where connections come from
impl DaemonConfig {
    /// Listens on one more TCP address. With port 0 the operating system chooses;
    /// [`DaemonRef::local_addrs`](crate::DaemonRef::local_addrs) tells.
    ///
    /// `[::]` takes IPv4 connections as well where the operating system lets it, unless an IPv4 address is listened on
    /// too.
    #[must_use]
    pub fn listen(mut self, address: impl Into<SocketAddr>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Listens on one more Unix socket. Only the daemon's own user can connect (mode 0600); put it into a directory
    /// that nobody else can write to.
    ///
    /// A socket that nobody listens on any more is replaced; anything else at the path is an error. The file is removed
    /// when listening ends.
    #[cfg(unix)]
    #[must_use]
    pub fn listen_unix(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.listen_unix.push(path.into());
        self
    }
}

/// # How many connections
///
/// What is over a limit is told in one line before the version exchange (RFC 4253 section 4.2) and closed, and counted
/// in [`DaemonCounters`](crate::DaemonCounters).
impl DaemonConfig {
    /// Sets how many connections there may be. Default 1,024.
    #[must_use]
    pub const fn max_connections(mut self, limit: usize) -> Self {
        self.caps.connections = limit;
        self
    }

    /// Sets how many connections may be without a login at a time. Default 64; from 10 on some are refused already, see
    /// [`max_startups`](Self::max_startups).
    #[must_use]
    pub const fn max_unauthenticated(mut self, limit: usize) -> Self {
        self.caps.startups.full = limit;
        self
    }

    /// Sets how connections without a login are refused at random before they are too many, as OpenSSH's `MaxStartups`:
    /// with `start` of them, `rate` percent of new ones are, growing evenly to all of them at `full`. Default 10, 30,
    /// 64. A flood of them thus leaves a chance to everybody else. With a rate of 0 none is refused before `full`.
    ///
    /// `full` is what [`max_unauthenticated`](Self::max_unauthenticated) sets.
    #[must_use]
    pub const fn max_startups(mut self, start: usize, rate: u32, full: usize) -> Self {
        self.caps.startups = Startups { start, rate, full };
        self
    }

    /// Sets how many connections without a login there may be from one place: an IPv4 address, or an IPv6 prefix of 64
    /// bits. Default 16; [`usize::MAX`] lifts it. Unix sockets and streams served without an address count for none.
    #[must_use]
    pub const fn max_per_source(mut self, limit: usize) -> Self {
        self.caps.startups_per_source = limit;
        self
    }

    /// Sets how many connections there may be from one place, with or without a login. Default 128; [`usize::MAX`] lifts
    /// it, as for a proxy with many users behind its address.
    #[must_use]
    pub const fn max_connections_per_source(mut self, limit: usize) -> Self {
        self.caps.per_source = limit;
        self
    }
}

/// # For how long
///
/// The peer is told SSH_MSG_DISCONNECT with SSH_DISCONNECT_BY_APPLICATION (RFC 4253 section 11.1), and the end is
/// counted in [`DaemonCounters`](crate::DaemonCounters). Nothing the peer sends but a channel moves these limits.
impl DaemonConfig {
    /// Ends connections that have opened no channel so long after their login, and have nothing
    /// [listened on](crate::Router::listen_tcpip). Default 120 s; `Duration::MAX` lifts it.
    #[must_use]
    pub const fn initial_idle_timeout(mut self, limit: Duration) -> Self {
        self.life.first_channel = limit;
        self
    }

    /// Ends connections whose last channel ended so long ago. An open channel that carries nothing is no reason, nor is a
    /// connection for which the daemon [listens](crate::Router::listen_tcpip) (`ssh -N -R`).
    /// Default 15 minutes; `Duration::MAX` lifts it.
    ///
    /// A client that keeps a connection for later commands (OpenSSH's `ControlPersist`), or only listens itself for
    /// connections to forward (`ssh -N -L`), has no channel meanwhile.
    #[must_use]
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.life.unused = limit;
        self
    }

    /// Ends connections so long after their login, whatever they do. Default `Duration::MAX`: never.
    #[must_use]
    pub const fn max_lifetime(mut self, limit: Duration) -> Self {
        self.life.lifetime = limit;
        self
    }
}

/// # What is heard of them
///
/// Hooks must not block: each runs in the task of its connection, and holds up that one. A panic in one is caught. Each
/// setter replaces an earlier one.
impl DaemonConfig {
    /// Is told of every connection that is taken in, before anything is read from it.
    #[must_use]
    pub fn on_connect(mut self, hook: impl Fn(&SessionInfo) + Send + Sync + 'static) -> Self {
        self.hooks.connect = Some(Arc::new(hook));
        self
    }

    /// Is told of every login, before any channel of it.
    #[must_use]
    pub fn on_login(mut self, hook: impl Fn(&SessionInfo) + Send + Sync + 'static) -> Self {
        self.hooks.login = Some(Arc::new(hook));
        self
    }

    /// Is told, once, how each connection ended that [`on_connect`](Self::on_connect) was told of, with a login or
    /// without.
    #[must_use]
    pub fn on_disconnect(mut self, hook: impl Fn(&SessionInfo, &SessionEnd) + Send + Sync + 'static) -> Self {
        self.hooks.disconnect = Some(Arc::new(hook));
        self
    }
}

/// # How connections are run
impl DaemonConfig {
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

    /// Sets when keys are exchanged anew. Default: after 1 GiB in one direction, or an hour.
    ///
    /// russh 0.65.1 ends a connection when more than twice its window (4 MiB) arrives between its own wish for new keys and
    /// the peer's. Channels in use are granted less for that reason; but each new one may send a window at once. So
    /// leave the bytes well above the window times the channels that begin at a time.
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
