//! The sockets a daemon listens on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::house::House;
use super::session::Addresses;
use crate::listen::Listen;
#[cfg(unix)]
use crate::listen::UnixSocket;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket that is listened on. It outlives its acceptor, and is closed when the last one lets go of it.
pub(super) struct Socket {
    kind: Kind,
    /// Dropped after the socket: who waits for its end knows that it is closed.
    _open: watch::Receiver<()>,
}

enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixSocket),
}

impl Socket {
    /// Listens on a TCP address. An IPv6 socket takes IPv4 connections as well, unless the daemon listens on IPv4 by
    /// another socket.
    pub(super) fn tcp(address: SocketAddr, only_v6: bool, open: watch::Receiver<()>) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Connections of an earlier daemon may live on; on Windows it would mean something else.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if address.is_ipv6() && only_v6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Self { kind: Kind::Tcp(listener), _open: open })
    }

    #[cfg(unix)]
    pub(super) async fn unix(path: &std::path::Path, open: watch::Receiver<()>) -> io::Result<Self> {
        Ok(Self { kind: Kind::Unix(UnixSocket::listen(path).await?), _open: open })
    }

    /// Where it listens, if it is a TCP socket.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Kind::Unix(_) => None,
        }
    }
}

impl Listen for Arc<Socket> {
    type Io = Incoming;

    async fn accept(&mut self) -> io::Result<Incoming> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Incoming::Tcp(stream, peer))
            }
            #[cfg(unix)]
            Kind::Unix(socket) => Ok(Incoming::Unix(socket.accept().await?)),
        }
    }
}

/// An accepted connection.
pub(super) enum Incoming {
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Incoming {
    /// Passes it on to those who serve it.
    pub(super) fn enter(self, house: &Arc<House>) {
        // Whether it was taken in is counted there, and told to the peer.
        let _ = match self {
            Self::Tcp(stream, peer) => {
                let addresses = Addresses { peer: Some(peer), local: stream.local_addr().ok() };
                house.take_in(stream, addresses)
            }
            #[cfg(unix)]
            Self::Unix(stream) => house.take_in(stream, Addresses::default()),
        };
    }
}
