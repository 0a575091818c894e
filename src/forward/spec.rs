//! What is forwarded, and how.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::endpoint::Endpoint;
use crate::config::{ChannelOptions, SlowConsumer};
use crate::error::ConfigError;
use crate::session::{ChannelStream, SIBLINGS_WAIT};

/// How many connections a forward has at a time, if nothing else is said: fewer than a connection has channels
/// (4,096, [`Limits::max_channels`](crate::config::Limits::max_channels)), so that one forward leaves room for others,
/// and about what a process may have open files at all on many systems.
const MAX_CONNECTIONS: usize = 1024;

/// What becomes of connections that come while a managed connection is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhileDown {
    /// They wait for the next connection, so long at most, and are closed then. The default, with 30 s.
    Wait(Duration),
    /// They are closed at once.
    Refuse,
}

/// What a forward does.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Local { listen: Endpoint, to: Endpoint },
    Dynamic { listen: Endpoint },
    Remote { listen: Endpoint, to: To },
}

/// Where a connection that was taken on the server leads on this side.
#[derive(Clone)]
pub(super) enum To {
    Endpoint(Endpoint),
    /// Wherever the SOCKS client asks for.
    Asked,
    Function(Arc<Handler>),
}

/// A function that serves connections taken on the server.
pub(super) type Handler = dyn Fn(ChannelStream) -> BoxFuture<'static, ()> + Send + Sync;

/// Says which destinations SOCKS clients may ask for.
#[derive(Clone)]
struct Permit(Arc<Permits>);

type Permits = dyn Fn(&str, u16) -> bool + Send + Sync;

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

impl fmt::Debug for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(to) => write!(f, "to {to}"),
            Self::Asked => f.write_str("by SOCKS"),
            Self::Function(_) => f.write_str("to a function"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { to, .. } => write!(f, "to {to}"),
            Self::Dynamic { .. } => f.write_str("by SOCKS"),
            Self::Remote { to, .. } => to.fmt(f),
        }
    }
}

/// A forward to be set up: by [`ConnectionRef::forward`](crate::ConnectionRef::forward) or
/// [`ManagedRef::forward`](crate::ManagedRef::forward).
///
/// ```no_run
/// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
/// use ractor_ssh::forward::Forward;
///
/// // As `ssh -L 127.0.0.1:0:db.internal:5432`.
/// let database = conn.forward(Forward::local(("127.0.0.1", 0), ("db.internal", 5432))).await?;
/// println!("connect to {}", database.local_addr());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is forwarded before it is given to a connection"]
pub struct Forward {
    pub(super) kind: Kind,
    pub(super) options: ChannelOptions,
    pub(super) max_connections: usize,
    pub(super) while_down: WhileDown,
    pub(super) handshake_limit: Duration,
    pub(super) connect_limit: Duration,
    permit: Option<Permit>,
}

impl Forward {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            options: ChannelOptions::new().slow_consumer(SlowConsumer::Yield(SIBLINGS_WAIT)),
            max_connections: MAX_CONNECTIONS,
            while_down: WhileDown::Wait(Duration::from_secs(30)),
            handshake_limit: Duration::from_secs(10),
            connect_limit: Duration::from_secs(10),
            permit: None,
        }
    }

    /// Listens here, and has the server connect to `to` for every connection: `ssh -L`.
    ///
    /// A TCP port becomes `direct-tcpip` (RFC 4254 section 7.2), a Unix socket on the server
    /// `direct-streamlocal@openssh.com`. A name to listen on is looked up, and the first of its addresses that can be
    /// listened on is. A local Unix socket is made with mode 0600 and removed at the end; one at the same path that
    /// nobody listens on is replaced.
    pub fn local(listen: impl Into<Endpoint>, to: impl Into<Endpoint>) -> Self {
        let kind = Kind::Local { listen: listen.into(), to: to.into() };
        Self::new(kind)
    }

    /// Listens here as a SOCKS proxy, and has the server connect to wherever the clients ask for: `ssh -D`.
    ///
    /// SOCKS4, SOCKS4a and SOCKS5 (RFC 1928) without a login, CONNECT only. Names go to the server as they are.
    pub fn dynamic(listen: impl Into<Endpoint>) -> Self {
        Self::new(Kind::Dynamic { listen: listen.into() })
    }

    /// Has the server listen, and connects to `to` from here for every connection: `ssh -R`.
    ///
    /// A TCP port becomes `tcpip-forward` (RFC 4254 section 7.1), a Unix socket on the server
    /// `streamlocal-forward@openssh.com`. What the address means is up to the server: `localhost` is its loopback, `""`
    /// all its addresses; OpenSSH's listens on loopback alone unless its `GatewayPorts` says otherwise. With port 0 it
    /// chooses one, and is asked for the same one again after a reconnect.
    ///
    /// The server sees its connection taken before the one on this side is made; if that fails, it is closed.
    pub fn remote(listen: impl Into<Endpoint>, to: impl Into<Endpoint>) -> Self {
        Self::new(Kind::Remote { listen: listen.into(), to: To::Endpoint(to.into()) })
    }

    /// Has the server listen as a SOCKS proxy; connections are made from here: `ssh -R` with a port alone.
    pub fn remote_dynamic(listen: impl Into<Endpoint>) -> Self {
        Self::new(Kind::Remote { listen: listen.into(), to: To::Asked })
    }

    /// Has the server listen, and runs a function on every connection. It runs in a task of its own; when that is cut
    /// off ([`close`](super::ForwardHandle::close)), its stream is dropped, which the other side sees as its end.
    ///
    /// ```no_run
    /// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
    /// use ractor_ssh::forward::Forward;
    /// use tokio::io::AsyncWriteExt as _;
    ///
    /// let hello = Forward::remote_fn(("localhost", 0), |mut stream| async move {
    ///     let _ = stream.write_all(b"hello\n").await;
    /// });
    /// let hello = conn.forward(hello).await?;
    /// println!("the server listens on {}", hello.local_addr());
    /// # Ok(())
    /// # }
    /// ```
    pub fn remote_fn<F>(
        listen: impl Into<Endpoint>,
        serve: impl Fn(ChannelStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let serve: Arc<Handler> = Arc::new(move |stream| serve(stream).boxed());
        Self::new(Kind::Remote { listen: listen.into(), to: To::Function(serve) })
    }

    /// Sets how long a connection on this side may take to be made, for a remote forward. Default 10 s.
    pub const fn connect_limit(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self
    }

    /// Sets how the channels are run: budgets, the time an open may take, and the slow-consumer policy, which is
    /// [`SlowConsumer::Yield`] with 5 s if nothing else is said. See [slow connections](crate::forward#slow-connections).
    /// Of a remote forward, whose channels the server opens, the patience of that policy is all that counts.
    pub fn options(mut self, options: ChannelOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets how many connections there may be at a time. Beyond, none is accepted: callers wait in the listener's
    /// queue. Default 1,024.
    pub const fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// Sets what becomes of connections that come while there is no SSH connection.
    pub const fn while_down(mut self, policy: WhileDown) -> Self {
        self.while_down = policy;
        self
    }

    /// Sets how long a SOCKS client may take to say where it wants to go. Default 10 s.
    pub const fn handshake_limit(mut self, limit: Duration) -> Self {
        self.handshake_limit = limit;
        self
    }

    /// Sets which destinations SOCKS clients may ask for, of a forward that is [dynamic](Self::dynamic) or
    /// [dynamic on the server](Self::remote_dynamic): `permit` gets the name or address as the client says it, not looked
    /// up, and the port. To whom it says no is told so (SOCKS5: "connection not allowed by ruleset", RFC 1928 section 6),
    /// and counted as [refused](super::ForwardCounters::refused). It is called for one connection each, and is not to take
    /// long. Default: all.
    ///
    /// ```
    /// use ractor_ssh::forward::Forward;
    ///
    /// let web = Forward::remote_dynamic(("localhost", 0)).permit_open(|_, port| matches!(port, 80 | 443));
    /// assert!(web.check().is_ok());
    /// ```
    pub fn permit_open(mut self, permit: impl Fn(&str, u16) -> bool + Send + Sync + 'static) -> Self {
        self.permit = Some(Permit(Arc::new(permit)));
        self
    }

    /// Whether a SOCKS client may go there.
    pub(super) fn permits(&self, host: &str, port: u16) -> bool {
        self.permit.as_ref().is_none_or(|Permit(permit)| permit(host, port))
    }

    /// Looks at every value.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.options.check()?;
        match &self.kind {
            Kind::Local { listen, to } => {
                listen.check_listen(true)?;
                to.check_target()?;
            }
            Kind::Dynamic { listen } => listen.check_listen(true)?,
            Kind::Remote { listen, to } => {
                listen.check_listen(false)?;
                if let To::Endpoint(to) = to {
                    to.check_target()?;
                }
            }
        }
        let asks = matches!(&self.kind, Kind::Dynamic { .. } | Kind::Remote { to: To::Asked, .. });
        if self.permit.is_some() && !asks {
            let fix = "leave it out; it is for dynamic forwards";
            return Err(ConfigError::new("permit_open", "has no SOCKS client to ask about", fix));
        }
        if self.max_connections == 0 {
            return Err(ConfigError::new("max_connections", "is 0", "give at least 1 connection"));
        }
        if self.handshake_limit.is_zero() {
            return Err(ConfigError::new(
                "handshake_limit",
                "is 0",
                "give a time, Duration::MAX for no limit",
            ));
        }
        if self.connect_limit.is_zero() {
            return Err(ConfigError::new("connect_limit", "is 0", "give a time, Duration::MAX for no limit"));
        }
        if matches!(self.while_down, WhileDown::Wait(limit) if limit.is_zero()) {
            let fix = "give a time, or `WhileDown::Refuse`";
            return Err(ConfigError::new("while_down", "waits for no time at all", fix));
        }
        Ok(())
    }
}
