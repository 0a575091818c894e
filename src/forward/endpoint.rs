//! Where a forward listens, and where it leads to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::error::ConfigError;
use crate::wire::open::OpenRequest;

/// One end of a forward: a TCP port or a Unix socket, here or on the server.
///
/// ```
/// use ractor_ssh::forward::Endpoint;
///
/// assert_eq!(Endpoint::from(("db.internal", 5432)).to_string(), "db.internal:5432");
/// assert_eq!(Endpoint::from(8080).to_string(), "127.0.0.1:8080");
/// assert_eq!(Endpoint::unix("/run/docker.sock").to_string(), "/run/docker.sock");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// An address, or a name that is looked up where the endpoint is: on the server, if that is there. To listen on
        /// here, `*` is every address.
        host: String,
        /// The port. To listen on, 0 has one chosen.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: String,
    },
}

impl Endpoint {
    /// A TCP port.
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp { host: host.into(), port }
    }

    /// A Unix socket. The protocol carries paths as text (RFC 4251 section 5).
    #[must_use]
    pub fn unix(path: impl Into<String>) -> Self {
        Self::Unix { path: path.into() }
    }

    /// The port, of a TCP port.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(*port),
            Self::Unix { .. } => None,
        }
    }

    /// What to connect to, if it is an address and no name.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { host, port } => Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, *port)),
            Self::Unix { .. } => None,
        }
    }

    /// Something to connect to.
    pub(super) fn check_target(&self) -> Result<(), ConfigError> {
        match self {
            Self::Tcp { host, .. } if host.is_empty() => {
                Err(ConfigError::new("to", "has no host", "give the name or address to connect to"))
            }
            Self::Tcp { port: 0, .. } => {
                Err(ConfigError::new("to", "has port 0", "give the port to connect to"))
            }
            Self::Unix { path } if path.is_empty() => {
                Err(ConfigError::new("to", "is an empty path", "give the path of the socket"))
            }
            _ => Ok(()),
        }
    }

    /// Something to listen on.
    pub(super) fn check_listen(&self, here: bool) -> Result<(), ConfigError> {
        match self {
            Self::Tcp { host, .. } if host.is_empty() && here => Err(ConfigError::new(
                "listen",
                "has no address",
                "give one: `127.0.0.1` for this host alone, `*` for everybody",
            )),
            Self::Unix { path } if path.is_empty() => {
                Err(ConfigError::new("listen", "is an empty path", "give the path of the socket"))
            }
            Self::Unix { .. } if here && cfg!(not(unix)) => {
                Err(ConfigError::new("listen", "is a Unix socket", "this system has none; give a TCP port"))
            }
            _ => Ok(()),
        }
    }

    /// The channel that leads there (RFC 4254 section 7.2; `direct-streamlocal@openssh.com`).
    pub(super) fn request(&self, from: &Originator) -> OpenRequest {
        match self {
            Self::Tcp { host, port } => OpenRequest::DirectTcpip {
                host: host.clone(),
                port: *port,
                originator_host: from.host.clone(),
                originator_port: from.port,
            },
            Self::Unix { path } => OpenRequest::DirectStreamlocal { path: path.clone() },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.parse::<Ipv6Addr>().is_ok() => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => f.write_str(path),
        }
    }
}

impl<H: Into<String>> From<(H, u16)> for Endpoint {
    fn from((host, port): (H, u16)) -> Self {
        Self::tcp(host, port)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address.ip().to_string(), address.port())
    }
}

/// A port of 127.0.0.1.
impl From<u16> for Endpoint {
    fn from(port: u16) -> Self {
        Self::tcp("127.0.0.1", port)
    }
}

/// Where a connection is said to come from.
#[derive(Debug, Clone)]
pub(super) struct Originator {
    host: String,
    port: u16,
}

impl Originator {
    /// A local Unix socket has no address; OpenSSH's client says this.
    pub(super) fn nowhere() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 65_535 }
    }
}

impl From<SocketAddr> for Originator {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}
