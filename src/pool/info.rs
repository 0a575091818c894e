//! What can be seen of a pool. Plain values.

use std::fmt;

use crate::managed::ManagedInfo;

/// Why a connection is no longer used, before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// Too many of its channels were ended with [`Stalled`](crate::error::CloseReason::Stalled).
    Stalls,
    /// Its server did not open too many channels in a row.
    FailedOpens,
    /// More than half of its places are taken by channels whose opens its server has not answered in time.
    Unanswered,
    /// It has nothing but places of processes that nobody waits for any more, and that have not ended.
    Lingering,
    /// A supervised channel was restarted too often, and wanted the connection ended then.
    Escalated,
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stalls => "too many channels have stalled",
            Self::FailedOpens => "too many channels in a row were not opened",
            Self::Unanswered => "more than half of its places wait for answers that do not come",
            Self::Lingering => "processes that nobody waits for have all of its places",
            Self::Escalated => "a supervised channel was restarted too often",
        })
    }
}

/// What a pool's connection is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duty {
    /// It gets channels.
    Serving,
    /// It gets no channels any more, and is being drained: it was not well.
    Evicted(Eviction),
    /// It was idle, and is being closed.
    Idle,
    /// The pool is being closed.
    Closing,
}

/// What a pool has counted. These only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolCounters {
    /// Places that were given out, on isolated connections too.
    pub granted: u64,
    /// Those of them on isolated connections.
    pub isolated: u64,
    /// Channels that a server refused because it has too many, and that waited for another place.
    pub put_back: u64,
    /// Channels that a server did not open for other reasons. Their callers were told.
    pub not_opened: u64,
    /// Callers that were turned away from a full queue.
    pub turned_away: u64,
    /// Callers that have waited for too long.
    pub timed_out: u64,
    /// Managed connections that were begun.
    pub connections: u64,
    /// Those that could not be made, for good.
    pub failed: u64,
    /// Connections that were evicted.
    pub evictions: u64,
    /// Connections that were closed because nobody needed them.
    pub idled: u64,
}

impl PoolCounters {
    /// Each with its name.
    pub(super) const fn each(&self) -> [(&'static str, u64); 10] {
        [
            ("granted", self.granted),
            ("isolated", self.isolated),
            ("put_back", self.put_back),
            ("not_opened", self.not_opened),
            ("turned_away", self.turned_away),
            ("timed_out", self.timed_out),
            ("connections", self.connections),
            ("failed", self.failed),
            ("evictions", self.evictions),
            ("idled", self.idled),
        ]
    }

    pub(super) const fn add(&mut self, other: &Self) {
        self.granted += other.granted;
        self.isolated += other.isolated;
        self.put_back += other.put_back;
        self.not_opened += other.not_opened;
        self.turned_away += other.turned_away;
        self.timed_out += other.timed_out;
        self.connections += other.connections;
        self.failed += other.failed;
        self.evictions += other.evictions;
        self.idled += other.idled;
    }
}

/// One connection of a pool.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PooledInfo {
    /// Its number at this host.
    pub number: u64,
    /// What it is for.
    pub duty: Duty,
    /// The managed connection; `None` until its keeper has started.
    pub managed: Option<ManagedInfo>,
    /// `session` channels that are being opened, are open, or are being closed.
    pub sessions: usize,
    /// Those of them that are over here, while the server may still count them.
    pub settling: usize,
    /// `session` channels that we have closed, and whose processes the server may still run and count.
    pub lingering: usize,
    /// Channels of other kinds, and callers that hold the connection itself.
    pub others: usize,
    /// Channels that have stalled on it.
    pub stalls: u32,
}

/// One host of a pool.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostInfo {
    /// Host and port.
    pub target: String,
    /// The user to log in as.
    pub user: String,
    /// What the identity is called, if it was given a name.
    pub identity: Option<String>,
    /// Its connections, oldest first.
    pub connections: Vec<PooledInfo>,
    /// How many sessions each of them gets at present.
    pub limit: usize,
    /// How many the server has taken at most when it refused one, if it has.
    pub learned: Option<usize>,
    /// How many wait for a place.
    pub waiting: usize,
    /// How many wait until they may have a connection of their own.
    pub waiting_isolated: usize,
    /// Supervised channels that are not over.
    pub supervised: usize,
    /// Channels on connections of their own, the making of those included.
    pub isolated: usize,
    /// Connections in the making, from dialling to login.
    pub handshakes: usize,
    /// What was counted.
    pub counters: PoolCounters,
}

/// A pool, at the moment it was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolInfo {
    /// Its hosts, in the order of their names.
    pub hosts: Vec<HostInfo>,
    /// Connections in the making, at all hosts.
    pub handshakes: usize,
    /// How many may be.
    pub max_handshakes: usize,
    /// Whether it is closed, or being shut down.
    pub is_closed: bool,
    /// What was counted at all hosts, also at those that were forgotten.
    pub counters: PoolCounters,
}
