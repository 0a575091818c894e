//! A jump host on the way: a connection to it, and a channel on that to the next stop.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::trail::Trail;
use super::{Client, ClientConfig};
use crate::config::ChannelOptions;
use crate::connect_error::ConnectError;
use crate::dial::{DialError, FirstStop, Streams, authority};
use crate::error::OpenError;
use crate::handle::ConnectionRef;
use crate::session::{ChannelStream, CommandError};
use crate::wire::open::OpenRequest;

/// A connection to a jump host. It ends when this is dropped, or, once it has connected to the next stop, when that stream
/// is.
pub(super) struct Hop {
    name: Arc<str>,
    connection: ConnectionRef,
    connected: bool,
}

impl Drop for Hop {
    fn drop(&mut self) {
        // An open that is under way would hold the connection until the jump host answers, or `Timeouts::open` is over.
        if !self.connected {
            self.connection.begin_close();
        }
    }
}

impl Hop {
    /// Connects to it, over the hops before it. Its byte streams are counted with those of whom it is for.
    pub(super) async fn connect(
        config: &Arc<ClientConfig>,
        streams: &Streams,
        trail: &Trail,
    ) -> Result<Self, ConnectError> {
        let name = config.hop();
        let mut own = ClientConfig { streams: streams.clone(), ..ClientConfig::clone(config) };
        // Its one channel holds nobody up but itself: who reads too slowly is for the connection over it to judge.
        own.limits.stall_timeout = Duration::MAX;
        let connecting = Client::new(own).connect_on(trail.clone());
        trail.enter(&name, connecting.phases());
        match connecting.await {
            Ok(connection) => {
                trail.leave();
                Ok(Self { name: name.into(), connection, connected: false })
            }
            Err(source) => Err(ConnectError::Jump { hop: name, source: Box::new(source) }),
        }
    }

    /// Has it connect to the next stop.
    pub(super) async fn open(
        mut self,
        stop: FirstStop<'_>,
        target: &str,
        trail: &Trail,
    ) -> Result<HopStream, DialError> {
        let (request, to) = match stop {
            FirstStop::Host(host, port) => {
                let request = OpenRequest::DirectTcpip {
                    host: host.to_owned(),
                    port,
                    // As OpenSSH says it: there is no connection on our side that this one is for.
                    originator_host: "127.0.0.1".to_owned(),
                    originator_port: 65_535,
                };
                (request, authority(host, port))
            }
            #[cfg(unix)]
            FirstStop::Unix(path) => {
                (OpenRequest::DirectStreamlocal { path: path.to_owned() }, path.to_owned())
            }
        };
        trail.at_jump(target, &self.name, &to);
        match self.connection.open_stream(request, ChannelOptions::default()).await {
            Ok(stream) => {
                self.connected = true;
                Ok(HopStream { stream, name: Arc::clone(&self.name) })
            }
            Err(error) => {
                let source = match error {
                    CommandError::Open(error) => error,
                    CommandError::Config(error) => error.into(),
                    other => OpenError::Init(other.to_string().into()),
                };
                Err(DialError::Jump { hop: self.name.to_string(), to, source: Box::new(source) })
            }
        }
    }
}

/// A stream over a jump host. Its errors name the host.
pub(super) struct HopStream {
    stream: ChannelStream,
    name: Arc<str>,
}

impl fmt::Debug for HopStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HopStream").field(&self.name).finish()
    }
}

impl HopStream {
    fn named<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        polled.map_err(|error| {
            io::Error::new(error.kind(), format!("over the jump host {}: {error}", self.name))
        })
    }
}

impl AsyncRead for HopStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.named(polled)
    }
}

impl AsyncWrite for HopStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, data);
        self.named(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.named(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.named(polled)
    }
}
