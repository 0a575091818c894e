//! The local sockets of forwards, and how one connects locally.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpListener, TcpStream};

use super::endpoint::{Endpoint, Originator};
use crate::dial::connect_plainly;
use crate::listen::Listen;
#[cfg(unix)]
use crate::listen::UnixSocket;

/// What is listened on. The file of a Unix socket is removed with it.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixSocket),
}

/// A connection on this side.
pub(super) enum Local {
    Tcp(TcpStream, Option<SocketAddr>),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Local {
    pub(super) fn originator(&self) -> Originator {
        match self {
            Self::Tcp(_, Some(peer)) => (*peer).into(),
            _ => Originator::nowhere(),
        }
    }
}

impl Listener {
    /// Listens, and says where: with the port, if one was chosen.
    pub(super) async fn bind(at: &Endpoint) -> io::Result<(Self, Endpoint)> {
        match at {
            Endpoint::Tcp { host, port } => {
                let listener = match host.as_str() {
                    "*" => everywhere(*port).await?,
                    host => TcpListener::bind((host, *port)).await?,
                };
                let at = listener.local_addr()?.into();
                Ok((Self::Tcp(listener), at))
            }
            #[cfg(unix)]
            Endpoint::Unix { path } => Ok((Self::Unix(UnixSocket::listen(path.as_ref()).await?), at.clone())),
            #[cfg(not(unix))]
            Endpoint::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Local {
    /// Connects on this side.
    pub(super) async fn connect(to: &Endpoint) -> io::Result<Self> {
        match to {
            Endpoint::Tcp { host, port } => {
                let stream = connect_plainly(host, *port).await?;
                Ok(Self::Tcp(stream, None))
            }
            #[cfg(unix)]
            Endpoint::Unix { path } => UnixStream::connect(path).await.map(Self::Unix),
            #[cfg(not(unix))]
            Endpoint::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Every address of this machine, of both families if there are both.
async fn everywhere(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            Err(error)
        }
        // There is no IPv6 here.
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}

impl Listen for Listener {
    type Io = Local;

    async fn accept(&mut self) -> io::Result<Local> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = Listen::accept(listener).await?;
                Ok(Local::Tcp(stream, Some(peer)))
            }
            #[cfg(unix)]
            Self::Unix(listener) => listener.accept().await.map(Local::Unix),
        }
    }
}
