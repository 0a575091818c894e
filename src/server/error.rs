//! Why a daemon did not start, and why it does not serve a connection.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::error::ConfigError;

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// A wrong argument.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The Unix socket cannot be listened on.
    #[error("cannot listen on {}: {source}", path.display())]
    ListenUnix {
        /// Where it was to be.
        path: PathBuf,
        /// What the operating system said, or what is there already.
        source: std::io::Error,
    },
    /// The actor that supervises the listeners did not start.
    #[error("the daemon's actor did not start: {0}")]
    Actor(std::sync::Arc<str>),
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// [`DaemonConfig::max_connections`](crate::DaemonConfig::max_connections).
    #[error("there are {limit} connections already, as many as may be")]
    TooManyConnections {
        /// The limit.
        limit: usize,
    },
    /// [`DaemonConfig::max_unauthenticated`](crate::DaemonConfig::max_unauthenticated).
    #[error("there are {limit} connections without a login already, as many as may be")]
    TooManyUnauthenticated {
        /// The limit.
        limit: usize,
    },
    /// By chance, before that limit is reached: [`DaemonConfig::max_startups`](crate::DaemonConfig::max_startups).
    #[error("dropped at random, with {unauthenticated} connections without a login")]
    DroppedEarly {
        /// How many there were.
        unauthenticated: usize,
    },
    /// [`DaemonConfig::max_per_source`](crate::DaemonConfig::max_per_source) or
    /// [`DaemonConfig::max_connections_per_source`](crate::DaemonConfig::max_connections_per_source).
    #[error("there are {limit} connections from the same place already, as many as may be")]
    TooManyFromSource {
        /// The limit.
        limit: usize,
    },
    /// Too many logins from there were refused:
    /// [`DaemonConfig::source_penalties`](crate::DaemonConfig::source_penalties).
    #[error("too many logins from the same place were refused")]
    Barred,
    /// The daemon is draining or has stopped.
    #[error("the daemon takes no more connections")]
    Stopping,
}

impl ServeError {
    /// What the peer is told before its connection is closed (RFC 4253 section 4.2 allows lines before the version).
    pub(super) const fn line(self) -> &'static str {
        match self {
            Self::TooManyConnections { .. } => "Too many connections\r\n",
            Self::Barred => "Too many refused logins\r\n",
            Self::Stopping => "The server is shutting down\r\n",
            _ => "Exceeded MaxStartups\r\n",
        }
    }
}
