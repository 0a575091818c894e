//! Why there is no connection to be had.

use std::time::Duration;

use super::state::ManagedState;
use crate::error::{ConnectionError, OpenError, Origin};

/// A managed connection has no connection to give.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NotConnected {
    /// It did not come up in time.
    #[error("not up within {after:?}: {state}")]
    Deadline {
        /// The limit that was reached.
        after: Duration,
        /// Where it is instead.
        state: ManagedState,
    },
    /// It is over, or being stopped.
    #[error("the managed connection is over: {state}")]
    Over {
        /// Its state.
        state: ManagedState,
    },
}

impl NotConnected {
    /// Whether asking again may help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Deadline { .. })
    }

    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Deadline { .. } => Origin::Remote,
            Self::Over { .. } => Origin::Local,
        }
    }
}

impl From<NotConnected> for OpenError {
    fn from(error: NotConnected) -> Self {
        match error {
            NotConnected::Over { state } => Self::Connection(state.over().unwrap_or(ConnectionError::Closed)),
            deadline @ NotConnected::Deadline { .. } => Self::NoConnection(deadline.to_string().into()),
        }
    }
}
