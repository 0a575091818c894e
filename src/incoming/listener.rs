//! Remote listeners: the server listens, and opens a channel for each connection.

use tokio::sync::oneshot;

use super::accept::maker;
use crate::behaviour::ClientChannel;
use crate::error::{ConfigError, ConnectionError, ForwardError};
use crate::handle::ConnectionRef;
use crate::handle::acceptance::Maker;
use crate::handle::msg::{ConnectionMsg, ListenCommand, Listening};
use crate::wire::open::{ListenRequest, OpenRequest};

/// Somebody has connected to a port that the server listens on for us (`forwarded-tcpip`, RFC 4254 section 7.2). All of
/// it is what the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedTcpip {
    /// Address that was connected to: OpenSSH repeats what was asked for, others tell what they bound.
    pub address: String,
    /// Port that was connected to.
    pub port: u16,
    /// Where the connection comes from.
    pub originator_address: String,
    /// From which port.
    pub originator_port: u16,
}

/// Somebody has connected to a Unix socket that the server listens on for us (`forwarded-streamlocal@openssh.com`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedStreamlocal {
    /// Path of the socket.
    pub path: String,
}

/// A server that listens for us. Dropping it cancels, without waiting for the answer; connections that were made go on.
///
/// It holds its connection: that does not end by itself while this lives, nor by its idle limits.
#[derive(Debug)]
#[must_use = "the server listens until this is dropped"]
pub struct RemoteListener {
    // Dropped in this order: the word goes out before the connection may.
    listening: Listening,
    connection: ConnectionRef,
}

impl RemoteListener {
    /// The port that the server listens on; the one that it chose, if it was asked for port 0. 0 for a Unix socket.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match &self.listening.request {
            ListenRequest::Tcpip { port, .. } => *port,
            ListenRequest::Streamlocal { .. } => 0,
        }
    }

    /// The address as it was asked for; the path, for a Unix socket.
    #[must_use]
    pub fn address(&self) -> &str {
        match &self.listening.request {
            ListenRequest::Tcpip { address, .. } => address,
            ListenRequest::Streamlocal { path } => path,
        }
    }

    /// The connection that it is on.
    #[must_use]
    pub const fn connection(&self) -> &ConnectionRef {
        &self.connection
    }

    /// Has the server listen no more (`cancel-tcpip-forward`, RFC 4254 section 7.1), and waits for its answer, at most for
    /// the request timeout. Connections that were made go on, and so do those that came in before the answer; after it
    /// nothing is taken in.
    ///
    /// # Cancel safety
    /// The server is asked when this is called; dropping the future changes nothing.
    ///
    /// # Errors
    /// The server refused or did not answer in time: it may go on listening, and its channels are refused. The connection
    /// ended, and the listener with it.
    pub async fn cancel(self) -> Result<(), ForwardError> {
        let Self { listening, connection } = self;
        match listening.cancel().await {
            Ok(answer) => answer,
            Err(_) => Err(ForwardError::Connection(connection.closed().await)),
        }
    }

    /// Waits until the listener is gone, which is when its connection is, and says why.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn closed(&self) -> ConnectionError {
        self.connection.closed().await
    }
}

/// # Remote listeners
///
/// Channels that the server opens without having been asked are refused (SSH_OPEN_ADMINISTRATIVELY_PROHIBITED) and counted
/// ([`Counters::opens_refused`](crate::observe::Counters::opens_refused)). So are, with SSH_OPEN_RESOURCE_SHORTAGE, those beyond
/// [`Limits::max_channels`](crate::config::Limits::max_channels) and more than 2,000 opens a second (4,000 at once); ten times as
/// many end the connection.
impl ConnectionRef {
    /// Asks the server to listen on a TCP port (`tcpip-forward`, RFC 4254 section 7.1), and runs a behaviour on the channel of
    /// every connection to it.
    ///
    /// `address` is for the server to understand: `""` for all its addresses, `localhost` for loopback of both families, or
    /// an address. OpenSSH binds loopback whatever is asked, unless its `GatewayPorts` says otherwise. With port 0 the
    /// server chooses; [`RemoteListener::port`] tells.
    ///
    /// `make` makes the behaviour of a channel, or refuses it with `None`. It runs between two packets of the connection
    /// and must not block. [`stream_fn`](crate::session::stream_fn) is a ready-made one.
    ///
    /// Returns when the server has answered. A connection that comes before that waits for it.
    ///
    /// # Cancel safety
    /// If the future is dropped, whatever the server agrees to is cancelled.
    ///
    /// # Errors
    /// The server refused, or did not answer within the request timeout (30 s by default); this connection listens there
    /// already; the connection ends or is the daemon's side.
    ///
    /// ```no_run
    /// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
    /// use ractor_ssh::session::stream_fn;
    /// use tokio::io::AsyncWriteExt as _;
    ///
    /// let listener = conn
    ///     .tcpip_forward("localhost", 0, |from| {
    ///         println!("a connection from {}:{}", from.originator_address, from.originator_port);
    ///         Some(stream_fn(|mut stream| async move {
    ///             let _ = stream.write_all(b"hello\n").await;
    ///         }))
    ///     })
    ///     .await?;
    /// println!("the server listens on port {}", listener.port());
    /// listener.cancel().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn tcpip_forward<C: ClientChannel>(
        &self,
        address: impl Into<String> + Send,
        port: u16,
        make: impl Fn(ForwardedTcpip) -> Option<C> + Send + Sync + 'static,
    ) -> Result<RemoteListener, ForwardError> {
        let make = maker(move |request| match request {
            OpenRequest::ForwardedTcpip { address, port, originator_address, originator_port } => {
                make(ForwardedTcpip { address, port, originator_address, originator_port })
            }
            _ => None,
        });
        self.listen(ListenRequest::Tcpip { address: address.into(), port }, make).await
    }

    /// As [`tcpip_forward`](Self::tcpip_forward) for a Unix socket of the server (`streamlocal-forward@openssh.com`).
    ///
    /// A file that is there already is in the way, unless the server's `StreamLocalBindUnlink` removes it.
    ///
    /// # Cancel safety
    /// As [`tcpip_forward`](Self::tcpip_forward).
    ///
    /// # Errors
    /// As [`tcpip_forward`](Self::tcpip_forward); the path is empty.
    pub async fn streamlocal_forward<C: ClientChannel>(
        &self,
        path: impl Into<String> + Send,
        make: impl Fn(ForwardedStreamlocal) -> Option<C> + Send + Sync + 'static,
    ) -> Result<RemoteListener, ForwardError> {
        let path = path.into();
        if path.is_empty() || path.contains('\0') {
            let error = ConfigError::new("path", "is empty or has a NUL in it", "give the path of a socket");
            return Err(error.into());
        }
        let make = maker(move |request| match request {
            OpenRequest::ForwardedStreamlocal { path } => make(ForwardedStreamlocal { path }),
            _ => None,
        });
        self.listen(ListenRequest::Streamlocal { path }, make).await
    }

    async fn listen(&self, request: ListenRequest, make: Maker) -> Result<RemoteListener, ForwardError> {
        let ticket = self
            .acceptance()
            .listener(request.clone(), make)
            .map_err(|_| ForwardError::InUse { what: request.to_string() })?;
        let (answer, answered) = oneshot::channel();
        self.tell(ConnectionMsg::Listen(ListenCommand { request, ticket, answer }))?;
        match answered.await {
            Ok(listening) => Ok(RemoteListener { listening: listening?, connection: self.clone() }),
            Err(_) => Err(ForwardError::Connection(self.closed().await)),
        }
    }
}
