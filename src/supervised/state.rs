//! Where a supervised channel is in its life, and why one of its incarnations ended.
//!
//! Plain values; what leads from one to the next is known to `course` alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorCell;
use tokio::time::Instant;

use super::spec::Escalation;
use crate::error::{CloseReason, ConnectionError, OpenError, StopReason};
use crate::wire::id::ChannelKey;

/// Why one incarnation is over.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IncarnationEnd {
    /// The channel could not be opened, or `init` failed.
    #[error("not started: {0}")]
    NotStarted(OpenError),
    /// The factory panicked; nothing was opened.
    #[error("the factory panicked: {0}")]
    FactoryPanicked(Arc<str>),
    /// The channel actor ended.
    #[error(transparent)]
    Stopped(StopReason),
}

impl IncarnationEnd {
    /// Whether this is an ordinary end, after which a `Transient` channel is not started again.
    #[must_use]
    pub const fn is_normal(&self) -> bool {
        matches!(self, Self::Stopped(reason) if reason.is_normal())
    }

    /// Whether the behaviour has ended itself, which it does before it hears of the channel's end.
    pub(super) const fn is_own_wish(&self) -> bool {
        matches!(self, Self::Stopped(StopReason::Normal | StopReason::Because(_)))
    }

    /// The end of the connection, if that is the reason.
    pub(super) fn connection_error(&self) -> Option<ConnectionError> {
        match self {
            Self::NotStarted(OpenError::Connection(error))
            | Self::Stopped(StopReason::Closed(CloseReason::Connection(error))) => Some(error.clone()),
            Self::NotStarted(OpenError::Draining) => Some(ConnectionError::Closed),
            _ => None,
        }
    }

    /// Whether another try cannot turn out otherwise.
    pub(super) const fn is_hopeless(&self) -> bool {
        matches!(self, Self::NotStarted(OpenError::Config(_) | OpenError::Unsupported { .. }))
    }
}

/// Where a supervised channel is in its life.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SupervisedState {
    /// There is no connection: on a managed connection only, which is being made again. Also while those that were
    /// declared before start.
    Waiting,
    /// The channel is being opened, and `init` runs.
    Starting {
        /// Which incarnation.
        incarnation: u64,
    },
    /// It takes messages.
    Up {
        /// Which incarnation.
        incarnation: u64,
    },
    /// The last incarnation has ended; the next one starts after a pause.
    Backoff {
        /// Which restart in a row this will be, counted from 1; a quiet period makes it 1 again.
        attempt: u32,
        /// The length of the pause.
        after: Duration,
        /// When it is over.
        at: Instant,
    },
    /// The connection is gone, and none will follow. Final.
    Down(ConnectionError),
    /// Too many restarts within the policy's window. Final.
    GaveUp {
        /// How many there were in the window.
        restarts: u32,
        /// The length of the window.
        within: Duration,
        /// Why the last incarnation ended.
        last: IncarnationEnd,
    },
    /// The last incarnation has ended and its restart type wants no other, or no try can succeed (wrong
    /// arguments, an unsupported kind of channel). Final.
    Ended(IncarnationEnd),
    /// Stopped from outside. Final.
    Stopped,
}

impl SupervisedState {
    /// Whether nothing will be started any more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Starting { .. } | Self::Up { .. } | Self::Backoff { .. })
    }

    /// Whether messages are taken by a running behaviour.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }
}

impl fmt::Display for SupervisedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting for the connection"),
            Self::Starting { incarnation } => write!(f, "incarnation {incarnation} is starting"),
            Self::Up { incarnation } => write!(f, "incarnation {incarnation} is up"),
            Self::Backoff { attempt, after, .. } => {
                write!(f, "restart {attempt} follows a pause of {after:?}")
            }
            Self::Down(error) => write!(f, "the connection is gone: {error}"),
            Self::GaveUp { restarts, within, last } => {
                write!(f, "given up after {restarts} restarts within {within:?}; the last end: {last}")
            }
            Self::Ended(end) => write!(f, "ended: {end}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// A supervised channel, at the moment it was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SupervisedInfo {
    /// The name of its behaviour's type.
    pub behaviour: &'static str,
    /// The actor that supervises.
    pub supervisor: ActorCell,
    /// What the running incarnation runs, or the last one ran, as in
    /// [`ChannelInfo::command`](crate::observe::ChannelInfo::command).
    pub command: Option<Arc<str>>,
    /// Where in its life it is.
    pub state: SupervisedState,
    /// While it is waiting: what for, in words.
    pub waits_for: Option<String>,
    /// How many behaviours the factory was asked for.
    pub incarnation: u64,
    /// How many restarts there were in all.
    pub restarts: u64,
    /// The channel of the running incarnation, as the connection's info lists it.
    pub channel: Option<ChannelKey>,
    /// For how long the running incarnation has been up.
    pub up_for: Option<Duration>,
    /// Why the last incarnation ended, if one has.
    pub last: Option<IncarnationEnd>,
    /// Messages waiting for the next incarnation.
    pub queued: usize,
    /// How many may wait.
    pub queue: usize,
    /// Whether it has, or gets with its next incarnation, a connection of its own.
    pub isolated: bool,
    /// Whether it gets one when it stalls.
    pub isolate_stalled: bool,
    /// What is ended when it was restarted too often.
    pub on_give_up: Escalation,
    /// How often it has ended its connection that way.
    pub escalations: u64,
}
