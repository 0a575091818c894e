//! Why there is no forward, or no forward any more.

use std::io;
use std::sync::Arc;

use super::endpoint::Endpoint;
use crate::error::{ConfigError, ConnectionError, OpenError, Origin};

/// A forward could not be set up.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// A wrong argument.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The local socket could not be listened on.
    #[error("cannot listen on {at}: {source}")]
    Listen {
        /// Where.
        at: Endpoint,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// There is no connection, now or in time.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The server does not listen for us.
    #[error("the server does not listen on {at}: {source}")]
    Refused {
        /// Where it was asked to.
        at: Endpoint,
        /// What is known of the reason. The protocol carries none (RFC 4254 section 7.1).
        source: Box<crate::error::ListenError>,
    },
}

impl ForwardError {
    /// Who caused it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Config(_) | Self::Listen { .. } => Origin::Local,
            Self::Connection(error) => OpenError::Connection(error.clone()).origin(),
            Self::Refused { source, .. } => source.origin(),
        }
    }

    /// Whether trying again may help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Listen { .. })
    }
}

/// Why a forward has ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardEnd {
    /// It was closed or shut down on this side, or its last handle was dropped.
    #[error("closed")]
    Closed,
    /// The connection is gone, and none will follow.
    #[error(transparent)]
    Connection(ConnectionError),
    /// Its actor was killed, or has failed.
    #[error("the forward's actor ended: {0}")]
    Actor(Arc<str>),
}
