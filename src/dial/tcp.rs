//! TCP: how sockets are made. [`eyeballs`](super::eyeballs) decides in which order addresses are tried.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use crate::error::ConfigError;

/// Which addresses of a name may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AddressFamily {
    /// IPv4 and IPv6, in the order the system gives them, alternating.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl AddressFamily {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Any => "usable",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }

    pub(super) const fn takes(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

/// Keepalive probes of TCP (SO_KEEPALIVE), which the operating system sends and the peer's answers.
///
/// [`Keepalive`](crate::config::Keepalive) of SSH, which is on by default, notices more: also a peer whose system is
/// well and whose program is not. Probes of TCP keep firewalls between awake at less cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// The first probe after so much silence. The system counts in seconds.
    pub idle: Duration,
    /// Further probes so long after each other.
    pub interval: Duration,
    /// The connection is over when so many were not answered. Windows uses a number of its own.
    pub probes: u32,
}

impl TcpKeepalive {
    /// The first probe after `idle`, further ones every `interval`, over after `probes` without an answer.
    #[must_use]
    pub const fn new(idle: Duration, interval: Duration, probes: u32) -> Self {
        Self { idle, interval, probes }
    }
}

/// How TCP sockets are made. Equal ones make equal sockets.
///
/// TCP_NODELAY is on unless [`nodelay`](Self::nodelay) says otherwise: with Nagle's algorithm every short exchange of
/// SSH waits for the peer's delayed acknowledgement, 40 ms each.
///
/// Several addresses of a name are tried as RFC 8305 ("happy eyeballs") says: the families alternate, and the next one
/// is tried when the one before has failed or has not answered for the [`attempt_delay`](Self::attempt_delay); the first
/// that is connected is taken, the others are given up.
///
/// ```
/// use std::time::Duration;
/// use ractor_ssh::dial::{AddressFamily, TcpKeepalive, TcpOptions};
///
/// let options = TcpOptions::new()
///     .family(AddressFamily::Ipv4)
///     .keepalive(TcpKeepalive::new(Duration::from_secs(60), Duration::from_secs(10), 5))
///     .user_timeout(Duration::from_secs(90));
/// assert!(options.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TcpOptions {
    pub(super) family: AddressFamily,
    pub(super) attempt_delay: Duration,
    local_address: Option<IpAddr>,
    local_port: u16,
    nodelay: bool,
    keepalive: Option<TcpKeepalive>,
    user_timeout: Option<Duration>,
    reset_on_close: bool,
    send_buffer: Option<u32>,
    receive_buffer: Option<u32>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            family: AddressFamily::Any,
            // RFC 8305 section 5.
            attempt_delay: Duration::from_millis(250),
            local_address: None,
            local_port: 0,
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            reset_on_close: false,
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

impl TcpOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses addresses of this family only. Default: any.
    #[must_use]
    pub const fn family(mut self, family: AddressFamily) -> Self {
        self.family = family;
        self
    }

    /// Starts the next attempt when the one before has not answered for so long (RFC 8305 section 5). Default 250 ms.
    #[must_use]
    pub const fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay;
        self
    }

    /// Connects from this address of ours. Only addresses of its family are then tried. Default: the system chooses.
    #[must_use]
    pub const fn local_address(mut self, address: IpAddr) -> Self {
        self.local_address = Some(address);
        self
    }

    /// Connects from this port of ours. Only one connection at a time can go from one port to one address, and when we
    /// closed it first, the system keeps the pair for about a minute more (TIME_WAIT): a managed connection then has to
    /// wait for so long. Default 0: the system chooses.
    #[must_use]
    pub const fn local_port(mut self, port: u16) -> Self {
        self.local_port = port;
        self
    }

    /// Whether small packets are sent at once (TCP_NODELAY). Default true.
    #[must_use]
    pub const fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// Has the system send probes. Default: none.
    #[must_use]
    pub const fn keepalive(mut self, keepalive: TcpKeepalive) -> Self {
        self.keepalive = Some(keepalive);
        self
    }

    /// Gives the connection up when what was sent is not acknowledged for so long (TCP_USER_TIMEOUT, RFC 5482), in
    /// milliseconds; connecting as well. Linux and Android; elsewhere [`check`](Self::check) refuses it. Default: the
    /// system's, about 15 minutes.
    #[must_use]
    pub const fn user_timeout(mut self, limit: Duration) -> Self {
        self.user_timeout = Some(limit);
        self
    }

    /// Has the system forget what it has not sent when the socket is closed, and reset the connection (SO_LINGER of 0).
    /// Default false: it goes on sending after the close. Another SO_LINGER would block a thread in the close, and is
    /// not offered.
    #[must_use]
    pub const fn reset_on_close(mut self, on: bool) -> Self {
        self.reset_on_close = on;
        self
    }

    /// Asks for so many bytes of send buffer (SO_SNDBUF); Linux doubles it and then no more sizes it by itself.
    /// Default: the system's.
    #[must_use]
    pub const fn send_buffer(mut self, bytes: u32) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Asks for so many bytes of receive buffer (SO_RCVBUF), before connecting, as the window scale depends on it.
    /// Default: the system's.
    #[must_use]
    pub const fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Looks at every value; connecting does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zero = |field: &str, fix: &str| Err(ConfigError::new(field, "is 0", fix));
        if let Some(address) = self.local_address
            && !self.family.takes(&SocketAddr::new(address, 0))
        {
            return Err(ConfigError::new(
                "local_address",
                format!("{address} is no {} address, and only such are allowed", self.family.name()),
                "give one of that family, or leave `family` at `Any`",
            ));
        }
        if let Some(keepalive) = self.keepalive {
            if keepalive.idle < Duration::from_secs(1) || keepalive.interval < Duration::from_secs(1) {
                return Err(ConfigError::new(
                    "keepalive",
                    "is below 1 s, and the system counts in seconds",
                    "give times of 1 s or more",
                ));
            }
            if keepalive.probes == 0 {
                return zero("keepalive.probes", "give 1 or more");
            }
        }
        if let Some(limit) = self.user_timeout {
            if limit < Duration::from_millis(1) {
                return Err(ConfigError::new(
                    "user_timeout",
                    "is below 1 ms",
                    "give a time, or leave it out",
                ));
            }
            if !cfg!(any(target_os = "linux", target_os = "android")) {
                return Err(ConfigError::new(
                    "user_timeout",
                    "is not there on this system",
                    "leave it out, and rely on `Keepalive`",
                ));
            }
        }
        if self.attempt_delay < Duration::from_millis(10) {
            // RFC 8305 section 5 has it as the minimum.
            return Err(ConfigError::new(
                "attempt_delay",
                "is below 10 ms",
                "give 10 ms or more, 250 ms is usual",
            ));
        }
        match (self.send_buffer, self.receive_buffer) {
            (Some(0), _) => zero("send_buffer", "give a size in bytes, or leave it out"),
            (_, Some(0)) => zero("receive_buffer", "give a size in bytes, or leave it out"),
            _ => Ok(()),
        }
    }

    /// Which addresses a socket of these options can go to.
    pub(super) fn wanted(&self) -> &'static str {
        match self.local_address {
            Some(IpAddr::V4(_)) => AddressFamily::Ipv4.name(),
            Some(IpAddr::V6(_)) => AddressFamily::Ipv6.name(),
            None => self.family.name(),
        }
    }

    /// Whether a socket of these options can go there.
    pub(super) fn takes(&self, address: &SocketAddr) -> bool {
        let local = self.local_address.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
        self.family.takes(address) && local
    }

    /// One attempt.
    pub(super) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        {
            let options = SockRef::from(&socket);
            options.set_tcp_nodelay(self.nodelay)?;
            if let Some(keepalive) = self.keepalive {
                let values =
                    socket2::TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
                #[cfg(unix)]
                let values = values.with_retries(keepalive.probes);
                options.set_tcp_keepalive(&values)?;
            }
            #[cfg(any(target_os = "linux", target_os = "android"))]
            if self.user_timeout.is_some() {
                options.set_tcp_user_timeout(self.user_timeout)?;
            }
            if self.reset_on_close {
                options.set_linger(Some(Duration::ZERO))?;
            }
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if self.local_address.is_some() || self.local_port != 0 {
            // The last connection from this port may not be forgotten yet, and attempts run beside each other.
            #[cfg(unix)]
            if self.local_port != 0 {
                socket.set_reuseaddr(true)?;
            }
            let any = if to.is_ipv4() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            } else {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            };
            socket.bind(SocketAddr::new(self.local_address.unwrap_or(any), self.local_port))?;
        }
        socket.connect(to).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn connected(options: &TcpOptions) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = options.connect(listener.local_addr().unwrap()).await.unwrap();
        (ours, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn nodelay_is_on_and_nothing_else_is_touched_by_default() {
        let (ours, _theirs) = connected(&TcpOptions::new()).await;
        let socket = SockRef::from(&ours);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.linger().unwrap(), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn every_option_reaches_the_socket() {
        let options = TcpOptions::new()
            .nodelay(false)
            .keepalive(TcpKeepalive::new(Duration::from_secs(61), Duration::from_secs(11), 7))
            .user_timeout(Duration::from_millis(12_345))
            .reset_on_close(true)
            .send_buffer(20_000)
            .receive_buffer(30_000);
        options.check().unwrap();
        let (ours, _theirs) = connected(&options).await;
        let socket = SockRef::from(&ours);
        assert!(!socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(61));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(11));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 7);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(12_345)));
        assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
        // Linux doubles what it is asked for.
        assert_eq!(socket.send_buffer_size().unwrap(), 40_000);
        assert_eq!(socket.recv_buffer_size().unwrap(), 60_000);
    }

    #[tokio::test]
    async fn a_reset_on_close_is_seen_as_one() {
        use tokio::io::AsyncReadExt as _;
        let (ours, mut theirs) = connected(&TcpOptions::new().reset_on_close(true)).await;
        drop(ours);
        let error = theirs.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn local_address_and_port_are_what_the_peer_sees_again_and_again() {
        let local: SocketAddr = "127.0.0.9:0".parse().unwrap();
        let free = TcpListener::bind(local).await.unwrap().local_addr().unwrap();
        let options = TcpOptions::new().local_address(free.ip()).local_port(free.port());
        for _ in 0..3 {
            let (ours, theirs) = connected(&options).await;
            assert_eq!(theirs.peer_addr().unwrap(), free);
            // Closed by us first: the port is in TIME_WAIT then.
            drop(ours);
        }
    }

    #[test]
    fn a_local_address_rules_the_other_family_out() {
        let options = TcpOptions::new().local_address("127.0.0.1".parse().unwrap());
        assert!(options.takes(&"192.0.2.1:22".parse().unwrap()));
        assert!(!options.takes(&"[2001:db8::1]:22".parse().unwrap()));
        assert_eq!(options.wanted(), "IPv4");
    }

    #[test]
    fn a_wrong_value_is_named() {
        let second = Duration::from_secs(1);
        let wrong = [
            (
                "local_address",
                TcpOptions::new().family(AddressFamily::Ipv6).local_address([127, 0, 0, 1].into()),
            ),
            ("keepalive", TcpOptions::new().keepalive(TcpKeepalive::new(Duration::ZERO, second, 1))),
            ("keepalive.probes", TcpOptions::new().keepalive(TcpKeepalive::new(second, second, 0))),
            ("user_timeout", TcpOptions::new().user_timeout(Duration::ZERO)),
            ("attempt_delay", TcpOptions::new().attempt_delay(Duration::ZERO)),
            ("send_buffer", TcpOptions::new().send_buffer(0)),
            ("receive_buffer", TcpOptions::new().receive_buffer(0)),
        ];
        for (field, options) in wrong {
            assert_eq!(options.check().unwrap_err().field, field);
        }
    }
}
