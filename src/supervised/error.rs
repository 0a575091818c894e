//! Why a supervised channel did not take a message.

use std::error::Error;
use std::fmt;

use super::state::SupervisedState;
use crate::error::{CallError, CloseReason};

/// Nothing is up that could take a message.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NotUp {
    /// Nothing is up now, and nothing may be queued.
    #[error("the supervised channel is not up: {state}")]
    Refused {
        /// What it is instead.
        state: SupervisedState,
    },
    /// Nothing is up now, and the queue is full.
    #[error("the supervised channel is not up, and {bound} messages are waiting already")]
    QueueFull {
        /// How many may wait.
        bound: usize,
    },
    /// Nothing will be up any more.
    #[error("the supervised channel is over: {state}")]
    Over {
        /// Its final state; not final yet while a stop is under way.
        state: SupervisedState,
    },
}

impl NotUp {
    /// Whether the same message may be taken later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::Over { .. })
    }

    pub(super) fn close_reason(self) -> CloseReason {
        match self {
            Self::Over { state: SupervisedState::Down(error) } => CloseReason::Connection(error),
            other => CloseReason::ActorEnded(other.to_string().into()),
        }
    }
}

/// A message that was not taken. It comes back.
#[derive(Clone)]
#[non_exhaustive]
pub struct CastError<M> {
    /// The message.
    pub msg: M,
    /// Why.
    pub reason: NotUp,
}

impl<M> fmt::Debug for CastError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CastError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for CastError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<M> Error for CastError<M> {}

/// Why a call to a supervised channel got no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisedCallError {
    /// The message was not taken.
    #[error(transparent)]
    NotUp(#[from] NotUp),
    /// The message was taken, and not answered.
    #[error(transparent)]
    Call(#[from] CallError),
}
