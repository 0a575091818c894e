//! Where a managed connection is in its life, and what was counted.
//!
//! Plain values; what leads from one to the next is known to `course` alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::connect_error::ConnectError;
use crate::error::{ConnectionError, Phase};

/// Why there is no connection any more, or none yet.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ManagedEnd {
    /// It could not be made.
    #[error("not connected: {0}")]
    NotConnected(Arc<ConnectError>),
    /// It was up, and has ended.
    #[error(transparent)]
    Lost(ConnectionError),
    /// It was ended because a supervised channel was restarted too often: see
    /// [`Escalation`](crate::Escalation).
    #[error("a channel was restarted too often; its last end: {0}")]
    Escalated(Arc<str>),
}

impl ManagedEnd {
    /// Whether somebody on our side has closed it, after which a `Transient` connection is not made again.
    #[must_use]
    pub const fn is_normal(&self) -> bool {
        matches!(self, Self::Lost(ConnectionError::Closed))
    }
}

/// Where a managed connection is in its life.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ManagedState {
    /// It is being made: [`ManagedInfo::phase`] says how far that has come.
    Connecting {
        /// Which attempt in a row, counted from 1.
        attempt: u32,
    },
    /// Channels can be opened.
    Up {
        /// Which connection, counted from 1.
        incarnation: u64,
    },
    /// The next attempt follows after a pause.
    Backoff {
        /// Which restart in a row this will be, counted from 1; a quiet period makes it 1 again.
        attempt: u32,
        /// The length of the pause.
        after: Duration,
        /// When it is over.
        at: Instant,
        /// Why there is none.
        why: ManagedEnd,
    },
    /// Somebody has stopped it; what it consists of is being closed.
    Stopping,
    /// Another try cannot turn out otherwise until somebody has changed something: a host key that is not trusted,
    /// credentials that were refused, a wrong argument. Final.
    Failed(ManagedEnd),
    /// Too many restarts within the policy's window. Final.
    GaveUp {
        /// How many there were in the window.
        restarts: u32,
        /// The length of the window.
        within: Duration,
        /// Why there is no connection.
        last: ManagedEnd,
    },
    /// Its restart type wants no other connection. Final.
    Ended(ManagedEnd),
    /// Stopped from outside, and nothing is left of it. Final.
    Stopped,
}

impl ManagedState {
    /// Whether no connection will be made any more, and nothing is left of the last one, except for channels of one that
    /// was lost: they may still be at what arrived before. After a stop nothing is left of these either.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::GaveUp { .. } | Self::Ended(_) | Self::Stopped)
    }

    /// Whether channels can be opened.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// What those are told that wait for a connection, when none will come.
    pub(super) fn over(&self) -> Option<ConnectionError> {
        match self {
            Self::Stopping | Self::Stopped => Some(ConnectionError::Closed),
            Self::Ended(ManagedEnd::Lost(error)) => Some(error.clone()),
            state if state.is_final() => Some(ConnectionError::Abandoned(state.to_string().into())),
            _ => None,
        }
    }
}

impl fmt::Display for ManagedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting { attempt } => write!(f, "connecting, attempt {attempt}"),
            Self::Up { incarnation } => write!(f, "connection {incarnation} is up"),
            Self::Backoff { attempt, after, why, .. } => {
                write!(f, "attempt {attempt} follows a pause of {after:?}; {why}")
            }
            Self::Stopping => f.write_str("being stopped"),
            Self::Failed(end) => write!(f, "failed: {end}"),
            Self::GaveUp { restarts, within, last } => {
                write!(f, "given up after {restarts} restarts within {within:?}; {last}")
            }
            Self::Ended(end) => write!(f, "ended: {end}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// How often connecting failed, by how far it had come. These only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failures {
    /// Before anything was sent: a wrong argument, an unreadable key.
    pub config: u64,
    /// No byte stream.
    pub dial: u64,
    /// No identification string.
    pub version: u64,
    /// Key exchange and host key.
    pub kex: u64,
    /// Credentials and their provider.
    pub auth: u64,
    /// After that: nothing of the network.
    pub other: u64,
}

impl Failures {
    pub(super) const fn add(&mut self, phase: Phase) {
        let count = match phase {
            Phase::Config => &mut self.config,
            Phase::Dial => &mut self.dial,
            Phase::Version => &mut self.version,
            Phase::Kex => &mut self.kex,
            Phase::Auth => &mut self.auth,
            _ => &mut self.other,
        };
        *count += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.config + self.dial + self.version + self.kex + self.auth + self.other
    }
}

/// A managed connection, at the moment it was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ManagedInfo {
    /// Host and port.
    pub target: String,
    /// The user to log in as.
    pub user: String,
    /// Where in its life it is.
    pub state: ManagedState,
    /// How far the attempt under way, or the connection that is up, has come.
    pub phase: Phase,
    /// How often connecting was begun.
    pub attempts: u64,
    /// How often it succeeded: the number of the latest connection.
    pub connects: u64,
    /// How often it failed.
    pub failures: Failures,
    /// How often a connection that was up was lost, closed or ended by an escalation.
    pub losses: u64,
    /// How often a supervised channel has ended it.
    pub escalations: u64,
    /// For how long the present connection has been up.
    pub up_for: Option<Duration>,
    /// For how long all of them together were.
    pub uptime: Duration,
    /// Why there was no connection the last time there was none.
    pub last: Option<ManagedEnd>,
    /// How many supervised channels are declared on it and not over.
    pub channels: usize,
    /// How many of them wait for the connection or their turn.
    pub waiting: usize,
}
