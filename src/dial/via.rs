//! A way as a value: where it starts, and the proxies on it.

use std::fmt;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(unix)]
use super::command::ProxyCommand;
use super::dialer::{ByteStream, Dialer};
use super::error::{DialError, ProxyError};
use super::eyeballs;
use super::proxy::Proxy;
use super::tcp::TcpOptions;
use crate::error::ConfigError;

/// How the first byte stream is made.
#[derive(Clone)]
enum Start {
    Tcp(TcpOptions),
    #[cfg(unix)]
    Unix(PathBuf),
    #[cfg(unix)]
    Command(ProxyCommand),
    Own(Dialer),
}

/// How a byte stream to a host is made: over TCP, a Unix socket, a command's standard streams, or your own dialler; then
/// through any number of proxies. Used anew for every connection.
///
/// Given to [`ClientConfig::via`](crate::ClientConfig::via). The stream starts at the first proxy, or at the target if
/// there is none. With [`ClientConfig::jump`](crate::ClientConfig::jump) it starts on the jump host instead, which can
/// make TCP connections without options, and connect to its own Unix sockets.
///
/// Two are equal if they go the same way: same start with the same options, same proxies with the same logins. Own
/// diallers are equal if one is a clone of the other. [`Pool`](crate::Pool)s share connections by that.
///
/// ```
/// use ractor_ssh::dial::{Proxy, TcpOptions, Via};
///
/// let via = Via::tcp(TcpOptions::new().local_port(1022))
///     .proxy(Proxy::http("outer.example.org", 3128))
///     .proxy(Proxy::socks5("inner.example.org", 1080));
/// assert_eq!(via, via.clone());
/// assert_ne!(via, Via::default());
/// ```
#[derive(Clone)]
pub struct Via {
    start: Start,
    proxies: Vec<Proxy>,
}

impl Default for Via {
    /// TCP, with no proxy.
    fn default() -> Self {
        Self::tcp(TcpOptions::default())
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: &dyn fmt::Debug = match &self.start {
            Start::Tcp(options) => options,
            #[cfg(unix)]
            Start::Unix(path) => path,
            #[cfg(unix)]
            Start::Command(command) => command,
            Start::Own(_) => &"own dialler",
        };
        f.debug_struct("Via").field("start", start).field("proxies", &self.proxies).finish()
    }
}

impl PartialEq for Via {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.start, &other.start) {
            (Start::Tcp(one), Start::Tcp(other)) => one == other,
            #[cfg(unix)]
            (Start::Unix(one), Start::Unix(other)) => one == other,
            #[cfg(unix)]
            (Start::Command(one), Start::Command(other)) => one == other,
            (Start::Own(one), Start::Own(other)) => one.is_same(other),
            _ => false,
        };
        same && self.proxies == other.proxies
    }
}

impl Eq for Via {}

/// A host on the way, and who goes there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
}

/// Where the first stream goes to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FirstStop<'a> {
    Host(&'a str, u16),
    #[cfg(unix)]
    Unix(&'a str),
}

/// A byte stream that was made.
pub(crate) struct Dialed {
    pub(crate) stream: Box<dyn ByteStream>,
    /// The peer's address and ours, if the stream is a socket to the target itself.
    pub(crate) addresses: (Option<SocketAddr>, Option<SocketAddr>),
}

impl Via {
    const fn starting(start: Start) -> Self {
        Self { start, proxies: Vec::new() }
    }

    /// Starts with a TCP connection made like this.
    #[must_use]
    pub const fn tcp(options: TcpOptions) -> Self {
        Self::starting(Start::Tcp(options))
    }

    /// Starts with a Unix socket at this path. Host and port then only name the server for its host key; with a proxy,
    /// it is the first proxy's socket.
    #[cfg(unix)]
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::starting(Start::Unix(path.into()))
    }

    /// Starts with a command, whose standard input and output are the stream.
    #[cfg(unix)]
    #[must_use]
    pub const fn command(command: ProxyCommand) -> Self {
        Self::starting(Start::Command(command))
    }

    /// Starts with a stream that is made in your own way.
    #[must_use]
    pub fn own<F, Fut, IO>(dial: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::starting(Start::Own(Dialer::new(dial)))
    }

    /// Goes through this proxy, after those that were given before.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxies.push(proxy);
        self
    }

    /// Looks at every value; connecting does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        match &self.start {
            Start::Tcp(options) => options.check()?,
            #[cfg(unix)]
            Start::Unix(path) if path.as_os_str().is_empty() => {
                return Err(ConfigError::new("unix", "is an empty path", "give the socket's path"));
            }
            #[cfg(unix)]
            Start::Command(command) => command.check()?,
            _ => {}
        }
        self.proxies.iter().try_for_each(Proxy::check)
    }

    /// Whether it says nothing that only we could do, so that a jump host can make the first stream.
    pub(crate) fn starts_anywhere(&self) -> bool {
        match &self.start {
            Start::Tcp(options) => *options == TcpOptions::default(),
            // OpenSSH's protocol has it as a string.
            #[cfg(unix)]
            Start::Unix(path) => path.to_str().is_some(),
            _ => false,
        }
    }

    /// Where the first stream goes to, on the way to `target`.
    pub(crate) fn first_stop<'a>(&'a self, target: Stop<'a>) -> FirstStop<'a> {
        #[cfg(unix)]
        if let Start::Unix(path) = &self.start
            && let Some(path) = path.to_str()
        {
            return FirstStop::Unix(path);
        }
        let (host, port) = self.first_host(target);
        FirstStop::Host(host, port)
    }

    fn first_host<'a>(&'a self, target: Stop<'a>) -> (&'a str, u16) {
        self.proxies.first().map_or((target.host, target.port), |proxy| (&proxy.host, proxy.port))
    }

    /// Goes all the way to `target`. `at` is told each proxy before it is gone to.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was open.
    pub(crate) async fn dial(
        &self,
        target: Stop<'_>,
        at: &(dyn Fn(&Proxy) + Send + Sync),
    ) -> Result<Dialed, DialError> {
        let (host, port) = self.first_host(target);
        self.proxies.first().into_iter().for_each(at);
        let started = self.begin(Stop { host, port, ..target }).await;
        let first = match self.proxies.first() {
            Some(proxy) => {
                started.map_err(|error| DialError::proxy(proxy, ProxyError::Unreachable(Box::new(error))))?
            }
            None => return started,
        };
        let stream = self.through_proxies(first.stream, target, at).await?;
        Ok(Dialed { stream, addresses: (None, None) })
    }

    async fn begin(&self, stop: Stop<'_>) -> Result<Dialed, DialError> {
        let unnamed = |stream| Dialed { stream, addresses: (None, None) };
        match &self.start {
            Start::Tcp(options) => {
                let stream = eyeballs::connect(options, stop.host, stop.port).await?;
                let addresses = (stream.peer_addr().ok(), stream.local_addr().ok());
                Ok(Dialed { stream: Box::new(stream), addresses })
            }
            #[cfg(unix)]
            Start::Unix(path) => match tokio::net::UnixStream::connect(path).await {
                Ok(stream) => Ok(unnamed(Box::new(stream))),
                Err(source) => Err(DialError::Unix { path: path.clone(), source }),
            },
            #[cfg(unix)]
            Start::Command(command) => Ok(unnamed(Box::new(command.start(stop)?))),
            Start::Own(dialer) => dialer.dial().await.map(unnamed).map_err(DialError::Own),
        }
    }

    /// Has each proxy connect to the next one, and the last one to `target`. `stream` leads to the first.
    pub(crate) async fn through_proxies(
        &self,
        mut stream: Box<dyn ByteStream>,
        target: Stop<'_>,
        at: &(dyn Fn(&Proxy) + Send + Sync),
    ) -> Result<Box<dyn ByteStream>, DialError> {
        let mut proxies = self.proxies.iter().peekable();
        while let Some(proxy) = proxies.next() {
            at(proxy);
            let (host, port) =
                proxies.peek().map_or((target.host, target.port), |next| (next.host.as_str(), next.port));
            stream = proxy.connect(stream, host, port).await?;
        }
        Ok(stream)
    }
}
