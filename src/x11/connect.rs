//! The way to an X server.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::authority::{Address, host_name};
use super::display::{Display, Place};
use super::error::X11Error;

/// A connection to an X server.
pub(crate) trait XStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> XStream for T {}

impl Display {
    /// Where authority files look for this display.
    pub(super) async fn addresses(&self) -> Result<Vec<Address>, X11Error> {
        match &self.place {
            Place::Local | Place::Socket(_) => Ok(vec![Address::Local(host_name())]),
            Place::Host(host) => {
                let found = tokio::net::lookup_host((host.as_str(), self.port())).await;
                let found = found.map_err(|error| self.unreachable(error))?;
                Ok(found.map(|address| Address::of(address.ip())).collect())
            }
        }
    }

    pub(super) fn unreachable(&self, error: io::Error) -> X11Error {
        X11Error::Connect { display: self.to_string(), error: Arc::new(error) }
    }
}

/// Connects to the X server of a display.
pub(crate) async fn connect(display: &Display) -> Result<Box<dyn XStream>, X11Error> {
    let connected = match &display.place {
        Place::Local => local(display.number()).await,
        Place::Socket(path) => {
            // macOS has the colon and the number in the socket's name.
            let mut named = path.clone().into_os_string();
            named.push(format!(":{}", display.number()));
            match unix(named.as_ref()).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => unix(path).await,
                done => done,
            }
        }
        Place::Host(host) => TcpStream::connect((host.as_str(), display.port())).await.map(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
            Box::new(stream) as Box<dyn XStream>
        }),
    };
    connected.map_err(|error| display.unreachable(error))
}

/// By the usual name; on Linux also without a file, which nobody can put in its place once the server has it.
async fn local(number: u16) -> io::Result<Box<dyn XStream>> {
    let name = format!("/tmp/.X11-unix/X{number}");
    let first = unix(name.as_ref()).await;
    #[cfg(target_os = "linux")]
    if let Err(error) = first {
        return unix(format!("\0{name}").as_ref()).await.map_err(|_| error);
    }
    first
}

#[cfg(unix)]
async fn unix(path: &std::path::Path) -> io::Result<Box<dyn XStream>> {
    Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
}

#[cfg(not(unix))]
async fn unix(_path: &std::path::Path) -> io::Result<Box<dyn XStream>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "there are no Unix sockets here; name a host"))
}
