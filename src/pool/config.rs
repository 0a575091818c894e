//! What a pool is told.

use std::time::Duration;

use crate::error::ConfigError;
use crate::managed::ManagedSpec;

/// How a [`Pool`](super::Pool) shares connections.
///
/// | option | default | per |
/// |---|---|---|
/// | `sessions_per_connection` | 10, lower when a server refuses | connection |
/// | `max_connections` | 4 | host |
/// | `max_isolated` | 16 | host |
/// | `max_waiting` | 1,024 | host |
/// | `wait` | 30 s | caller |
/// | `idle` | 60 s | connection |
/// | `drain` | 5 min | connection |
/// | `max_failed_opens` | 3 | connection |
/// | `max_stalls` | 3 | connection |
/// | `max_handshakes_per_host` | 4 | host |
/// | `max_handshakes` | 32 | pool |
/// | `managed` | `ManagedSpec::new()` | connection |
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a configuration does nothing by itself"]
pub struct PoolConfig {
    pub(super) sessions: usize,
    pub(super) max_connections: usize,
    pub(super) max_isolated: usize,
    pub(super) max_waiting: usize,
    pub(super) wait: Duration,
    pub(super) idle: Duration,
    pub(super) drain: Duration,
    pub(super) max_failed_opens: u32,
    pub(super) max_stalls: u32,
    pub(super) handshakes_per_host: usize,
    pub(super) handshakes: usize,
    pub(super) managed: ManagedSpec,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl PoolConfig {
    /// All defaults.
    pub fn new() -> Self {
        Self {
            sessions: 10,
            max_connections: 4,
            max_isolated: 16,
            max_waiting: 1024,
            wait: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(300),
            max_failed_opens: 3,
            max_stalls: 3,
            handshakes_per_host: 4,
            handshakes: 32,
            managed: ManagedSpec::new(),
        }
    }

    /// Sets how many `session` channels a connection gets at most, as long as its server has not refused one. The
    /// default is OpenSSH's own (`MaxSessions`).
    ///
    /// A server that allows fewer is found out: the channel it refuses waits for another place, its caller does not
    /// notice, and the host's limit is lower from then on. Now and then one more is tried. `usize::MAX` puts all
    /// channels on one connection until a server refuses.
    pub const fn sessions_per_connection(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Sets how many shared connections a host may have. Another one is made when all places of the others are taken;
    /// when there are so many, callers wait. Those that are being drained do not count.
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets how many channels with [`SlowConsumer::Isolate`](crate::config::SlowConsumer::Isolate) a host may have at a
    /// time, each on a connection of its own. Others wait, and are [bounded](Self::max_waiting) as those for a place are.
    /// Supervised channels do not count: they hold a place on a shared connection, too.
    pub const fn max_isolated(mut self, channels: usize) -> Self {
        self.max_isolated = channels;
        self
    }

    /// Sets how many callers may wait for a place at a host. One more gets
    /// [`QueueFull`](crate::error::OpenError::QueueFull). Supervised channels do not count, and neither do callers whose
    /// channel a server has refused for their number: they were there before. Who comes first waits for the connection to
    /// be made, so that 0 is good only for hosts that are connected.
    pub const fn max_waiting(mut self, callers: usize) -> Self {
        self.max_waiting = callers;
        self
    }

    /// Sets how long a caller waits for a place, connecting included, before it gets
    /// [`NoTurn`](crate::error::OpenError::NoTurn). Supervised channels wait without a limit.
    pub const fn wait(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// Sets for how long a connection without channels is kept, whether it is up or being made. `Duration::MAX`: for as
    /// long as the pool. The last connection of a host with supervised channels is never idle.
    pub const fn idle(mut self, limit: Duration) -> Self {
        self.idle = limit;
        self
    }

    /// Sets how long the channels of a connection that was evicted may take to end by themselves. Then it is closed.
    pub const fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Sets after how many channels in a row that its server did not open, for other reasons than their number, a
    /// connection is evicted. One that has never had a channel is not: another would do no better. Whatever is set here, a
    /// connection is evicted when more than half of its places are taken by channels whose opens were not answered in
    /// time: those stay taken until they are.
    pub const fn max_failed_opens(mut self, failures: u32) -> Self {
        self.max_failed_opens = failures;
        self
    }

    /// Sets after how many channels that were ended with [`Stalled`](crate::error::CloseReason::Stalled) a connection
    /// is evicted.
    pub const fn max_stalls(mut self, stalls: u32) -> Self {
        self.max_stalls = stalls;
        self
    }

    /// Sets how many connections to one host may be in the making at a time, from dialling to login.
    pub const fn max_handshakes_per_host(mut self, handshakes: usize) -> Self {
        self.handshakes_per_host = handshakes;
        self
    }

    /// Sets how many connections to all hosts may be in the making at a time.
    pub const fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.handshakes = handshakes;
        self
    }

    /// Sets when a connection that was lost, or could not be made, is made again.
    /// [`patience`](ManagedSpec::patience) does not count here: [`wait`](Self::wait) does.
    pub fn managed(mut self, spec: ManagedSpec) -> Self {
        self.managed = spec;
        self
    }

    /// Looks at every value; [`Pool::new`](super::Pool::new) does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("sessions_per_connection", self.sessions),
            ("max_connections", self.max_connections),
            ("max_isolated", self.max_isolated),
            ("max_handshakes_per_host", self.handshakes_per_host),
            ("max_handshakes", self.handshakes),
            ("max_failed_opens", usize::try_from(self.max_failed_opens).unwrap_or(usize::MAX)),
            ("max_stalls", usize::try_from(self.max_stalls).unwrap_or(usize::MAX)),
        ];
        if let Some((field, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::new(*field, "is 0", "give at least 1"));
        }
        self.managed.check()
    }
}
