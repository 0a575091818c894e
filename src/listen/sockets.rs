//! The sockets of the system, to be accepted from.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::accept::Listen;
#[cfg(unix)]
use super::unix::UnixSocket;

/// What is written to its connections goes out at once.
impl Listen for TcpListener {
    type Io = (TcpStream, SocketAddr);

    async fn accept(&mut self) -> io::Result<Self::Io> {
        let (stream, peer) = Self::accept(self).await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        Ok((stream, peer))
    }
}

#[cfg(unix)]
impl Listen for UnixListener {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

#[cfg(unix)]
impl Listen for UnixSocket {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        Self::accept(self).await
    }
}
