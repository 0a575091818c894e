//! Why a connection could not be made.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::{AuthError, IdentityError};
use crate::dial::DialError;
use crate::error::{BoxError, ConfigError, Origin, Phase};
use crate::host_key::HostKeyError;

/// Why a connection could not be made. [`phase`](Self::phase) says how far it came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A wrong argument.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No byte stream could be made.
    #[error("cannot reach {target}: {source}")]
    Dial {
        /// Host and port.
        target: String,
        /// Where on the way it failed, and why.
        source: DialError,
    },
    /// A jump host on the way could not be reached or entered.
    #[error("jump host {hop}: {source}")]
    Jump {
        /// User, host and port of the jump host.
        hop: String,
        /// What went wrong with it: its own dialling, host key, login.
        source: Box<Self>,
    },
    /// A phase took too long.
    #[error("{phase} with the server took longer than {after:?}")]
    Timeout {
        /// Which phase.
        phase: Phase,
        /// The limit that was reached.
        after: Duration,
    },
    /// Both sides have no algorithm in common.
    #[error("no common {kind} algorithm; we offer {}, the server {}", ours.join(","), theirs.join(","))]
    NoCommonAlgorithm {
        /// Which kind.
        kind: String,
        /// What we offer.
        ours: Vec<String>,
        /// What the server offers.
        theirs: Vec<String>,
    },
    /// The handshake failed, or the byte stream ended in it.
    #[error("{phase} failed: {source}")]
    Handshake {
        /// Which phase.
        phase: Phase,
        /// What went wrong.
        source: BoxError,
    },
    /// The server's host key is not trusted.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// An identity could not be loaded.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server did not let us in.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The connection actor could not be started.
    #[error("the connection actor did not start: {0}")]
    Actor(Arc<str>),
}

impl ConnectError {
    /// How far the connection came.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Config(_) | Self::Identity(_) => Phase::Config,
            Self::Dial { .. } | Self::Jump { .. } => Phase::Dial,
            Self::Timeout { phase, .. } | Self::Handshake { phase, .. } => *phase,
            Self::NoCommonAlgorithm { .. } | Self::HostKey(_) => Phase::Kex,
            Self::Auth(_) => Phase::Auth,
            Self::Actor(_) => Phase::Up,
        }
    }

    /// Who caused it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Config(_) => Origin::Local,
            Self::Identity(error) => error.origin(),
            Self::HostKey(error) => error.origin(),
            Self::Auth(error) => error.origin(),
            Self::Jump { source, .. } => source.origin(),
            Self::Actor(_) => Origin::Library,
            Self::Dial { .. } | Self::Timeout { .. } => Origin::Remote,
            Self::NoCommonAlgorithm { .. } | Self::Handshake { .. } => Origin::Remote,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything: never after a host key that is
    /// not trusted, or credentials that were refused.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Handshake { .. } => true,
            Self::Dial { source, .. } => source.is_retryable(),
            Self::Jump { source, .. } => source.is_retryable(),
            Self::Auth(error) => error.is_retryable(),
            _ => false,
        }
    }
}
