//! What it takes to connect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::gate::Gate;
use crate::auth::{Auth, Credentials};
use crate::config::{Keepalive, LifeLimits, Limits, RekeyLimit, Timeouts};
use crate::dial::{Proxy, Stop, Streams, Via};
use crate::error::{BoxError, ConfigError};
use crate::host_key::HostKeyPolicy;
use crate::transport::russh_client::{AlgorithmLists, BannerHook};

/// How to reach, trust and enter a server.
///
/// Without further calls: port 22, the keys and agent OpenSSH would use, strict host key checking against OpenSSH's
/// files, and the defaults of [`Timeouts`], [`Limits`], [`Keepalive`] and [`RekeyLimit`].
#[derive(Clone)]
pub struct ClientConfig {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) auth: Credentials,
    pub(super) via: Via,
    pub(super) jump: Option<Arc<Self>>,
    pub(super) deadline: Duration,
    pub(super) outbound_rate: u64,
    pub(super) host_key: HostKeyPolicy,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) keepalive: Keepalive,
    pub(super) rekey: RekeyLimit,
    pub(super) life: LifeLimits,
    pub(super) algorithms: AlgorithmLists,
    pub(super) client_id: String,
    pub(super) banner: Option<BannerHook>,
    /// The byte streams that were made by it, while they are open.
    pub(super) streams: Streams,
    pub(super) gate: Option<Gate>,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl ClientConfig {
    /// For `user` at `host`: a name or an address.
    #[must_use]
    pub fn new(host: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: 22,
            user: user.into(),
            auth: Credentials::Given(Auth::usual()),
            via: Via::default(),
            jump: None,
            deadline: Duration::MAX,
            outbound_rate: u64::MAX,
            host_key: HostKeyPolicy::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            keepalive: Keepalive::default(),
            rekey: RekeyLimit::default(),
            life: LifeLimits::default(),
            algorithms: AlgorithmLists::default(),
            client_id: concat!("ractor-ssh_", env!("CARGO_PKG_VERSION")).to_owned(),
            banner: None,
            streams: Streams::default(),
            gate: None,
        }
    }

    /// Sets the port. Default 22.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets who we are.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Credentials::Given(auth);
        self
    }

    /// Has us asked who we are, anew for every connection: for credentials that expire, from an agent of your own or a
    /// vault. Asked when the host key has been accepted, within [`Timeouts::auth`].
    ///
    /// An error of the provider is [`AuthError::Provider`](crate::auth::AuthError::Provider), which may be tried again.
    ///
    /// ```
    /// use ractor_ssh::ClientConfig;
    /// use ractor_ssh::auth::Auth;
    ///
    /// let config = ClientConfig::new("build.example.org", "ci").auth_with(|| async {
    ///     let password = tokio::fs::read_to_string("/run/secrets/build").await?;
    ///     Ok(Auth::new().password(password.trim_end().into()))
    /// });
    /// # drop(config);
    /// ```
    #[must_use]
    pub fn auth_with<F, Fut>(mut self, provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Auth, BoxError>> + Send + 'static,
    {
        self.auth = Credentials::asked(provider);
        self
    }

    /// Sets how the byte stream is made: TCP options, a Unix socket, a command, proxies. Default: TCP as
    /// [`TcpOptions`](crate::dial::TcpOptions) has it.
    ///
    /// ```
    /// use ractor_ssh::ClientConfig;
    /// use ractor_ssh::dial::{Proxy, Via};
    ///
    /// let config = ClientConfig::new("build.example.org", "ci")
    ///     .via(Via::default().proxy(Proxy::socks5("proxy.example.org", 1080)));
    /// assert!(config.check().is_ok());
    /// ```
    #[must_use]
    pub fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }

    /// Makes the byte stream in your own way instead of over TCP: a proxy, a tunnel, a Unix socket. Called for every
    /// connection, within [`Timeouts::dial`]. Host and port then only name the server for its host key. The same as
    /// [`via`](Self::via) with [`Via::own`], and replaces what was set by it.
    ///
    /// ```
    /// use ractor_ssh::ClientConfig;
    /// use tokio::net::UnixStream;
    ///
    /// let config = ClientConfig::new("guest.example.org", "root")
    ///     .dial_with(|| UnixStream::connect("/run/vm/guest.sock"));
    /// # drop(config);
    /// ```
    #[must_use]
    pub fn dial_with<F, Fut, IO>(self, dial: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.via(Via::own(dial))
    }

    /// Goes through the proxy that `ALL_PROXY` names, unless `NO_PROXY` exempts the target: [`Proxy::from_env`]. Behind
    /// those that are set by [`via`](Self::via). Looks at host and port, and at the environment, now: set the port first.
    ///
    /// # Errors
    /// `ALL_PROXY` makes no sense.
    pub fn proxy_from_env(mut self) -> Result<Self, ConfigError> {
        if let Some(proxy) = Proxy::from_env(&self.host, self.port)? {
            self.via = self.via.proxy(proxy);
        }
        Ok(self)
    }

    /// Goes over this host: a connection to it is made first, and a `direct-tcpip` channel on that (RFC 4254 section
    /// 7.2) is the byte stream, as with OpenSSH's `ProxyJump`. Called again, goes over one more host, behind those given
    /// before: `.jump(a).jump(b)` goes to a, from there to b, from there to the target.
    ///
    /// Each hop is a configuration of its own: its way to it, whom it trusts, who we are there, its deadlines and limits.
    /// [`via`](Self::via) of a configuration behind a jump host may have proxies only, which are then reached from the jump
    /// host. Every connection makes its own connections to the jump hosts; they live as long as its byte stream.
    ///
    /// [`Timeouts::dial`] of a configuration begins when the connection to its jump host is up. For a limit on the whole
    /// way, see [`deadline`](Self::deadline).
    ///
    /// ```
    /// use ractor_ssh::ClientConfig;
    ///
    /// let outer = ClientConfig::new("bastion.example.org", "ops");
    /// let inner = ClientConfig::new("gate.internal", "ops").port(2222);
    /// let config = ClientConfig::new("db.internal", "postgres").jump(outer).jump(inner);
    /// assert!(config.check().is_ok());
    /// ```
    #[must_use]
    pub fn jump(mut self, hop: Self) -> Self {
        let before = self.jump.take();
        self.jump = Some(Arc::new(hop.behind(before)));
        self
    }

    /// The same, with `before` ahead of its first hop.
    fn behind(mut self, before: Option<Arc<Self>>) -> Self {
        self.jump = match self.jump.take() {
            None => before,
            Some(first) => Some(Arc::new(Self::clone(&first).behind(before))),
        };
        self
    }

    /// Gives up when the connection is not up after so long, with everything that belongs to it: jump hosts, proxies,
    /// keys, login, prompts, and waiting for a turn in a [`Pool`](crate::Pool). The error is
    /// [`Timeout`](crate::ConnectError::Timeout) with the phase it was in. Default `Duration::MAX`: only the
    /// [`Timeouts`] of each step.
    #[must_use]
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// Sends no more than so many bytes a second on the byte stream, all channels and what SSH adds together. For a
    /// connection made by [`connect`](crate::Client::connect) as well as over a stream that was given. Default
    /// `u64::MAX`: no limit.
    #[must_use]
    pub const fn outbound_rate(mut self, bytes_per_second: u64) -> Self {
        self.outbound_rate = bytes_per_second;
        self
    }

    /// Sets whom we trust.
    #[must_use]
    pub fn host_key(mut self, policy: HostKeyPolicy) -> Self {
        self.host_key = policy;
        self
    }

    /// Sets the deadlines.
    #[must_use]
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how a dead peer is noticed.
    #[must_use]
    pub const fn keepalive(mut self, keepalive: Keepalive) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Sets when keys are exchanged anew.
    #[must_use]
    pub const fn rekey(mut self, limit: RekeyLimit) -> Self {
        self.rekey = limit;
        self
    }

    /// Ends a connection that has no channel for so long, from the start or since the last one ended, with
    /// [`ConnectionError::Idle`](crate::error::ConnectionError::Idle). Keepalives and global requests are no use of it.
    /// Default `Duration::MAX`: never.
    #[must_use]
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.life.first_channel = limit;
        self.life.unused = limit;
        self
    }

    /// Ends a connection so long after it came up, whatever it does, with
    /// [`ConnectionError::Expired`](crate::error::ConnectionError::Expired). Default `Duration::MAX`: never.
    #[must_use]
    pub const fn max_lifetime(mut self, limit: Duration) -> Self {
        self.life.lifetime = limit;
        self
    }

    /// Allows these ciphers only, most preferred first, by their names on the wire.
    #[must_use]
    pub fn ciphers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.algorithms.ciphers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Allows these key exchanges only, most preferred first, by their names on the wire.
    #[must_use]
    pub fn kex_algorithms<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.algorithms.kex = names.into_iter().map(Into::into).collect();
        self
    }

    /// Allows these MACs only, most preferred first, by their names on the wire.
    #[must_use]
    pub fn macs<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.algorithms.macs = names.into_iter().map(Into::into).collect();
        self
    }

    /// Allows these host key algorithms only, by their names on the wire. Those that known_hosts has keys for come
    /// first.
    #[must_use]
    pub fn host_key_algorithms<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.algorithms.host_keys = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the software version in our identification string (RFC 4253 section 4.2), without `SSH-2.0-`.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Gets every banner of the server (RFC 4252 section 5.4), before the login is done. Must not block.
    #[must_use]
    pub fn on_banner(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.banner = Some(Arc::new(hook));
        self
    }

    /// Every connection waits at this gate first.
    pub(crate) fn gated(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Whether both lead to the same host and port, for the same user, in the same way, over the same jump hosts.
    pub(crate) fn goes_where(&self, other: &Self) -> bool {
        let jump = match (&self.jump, &other.jump) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.goes_where(other),
            (None, None) => true,
            _ => false,
        };
        (&self.host, self.port, &self.user) == (&other.host, other.port, &other.user)
            && self.via == other.via
            && jump
    }

    /// User, host and port, as errors name a hop.
    pub(super) fn hop(&self) -> String {
        format!("{}@{}", self.user, self.target())
    }

    /// The end of the way.
    pub(super) fn stop(&self) -> Stop<'_> {
        Stop { host: &self.host, port: self.port, user: &self.user }
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) const fn close_timeout(&self) -> Duration {
        self.timeouts.close
    }

    /// Host and port.
    pub(crate) fn target(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Looks at every value; connecting does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.host.trim().is_empty() {
            return Err(ConfigError::new("host", "is empty", "give a host name or an address"));
        }
        if self.port == 0 {
            return Err(ConfigError::new("port", "is 0", "give the port the server listens on, usually 22"));
        }
        if self.user.is_empty() {
            return Err(ConfigError::new("user", "is empty", "give the name to log in as"));
        }
        let printable = |c: char| c.is_ascii_graphic() || c == ' ';
        if self.client_id.is_empty() || self.client_id.len() > 240 || !self.client_id.chars().all(printable) {
            return Err(ConfigError::new(
                "client_id",
                "is empty, too long or not printable US-ASCII",
                "give 1 to 240 printable characters (RFC 4253 section 4.2)",
            ));
        }
        if self.deadline.is_zero() {
            return Err(ConfigError::new("deadline", "is 0", "give a time, Duration::MAX for no limit"));
        }
        if self.outbound_rate == 0 {
            return Err(ConfigError::new(
                "outbound_rate",
                "is 0",
                "give bytes per second, u64::MAX for no limit",
            ));
        }
        self.via.check()?;
        if let Some(jump) = &self.jump {
            if !self.via.starts_anywhere() {
                return Err(ConfigError::new(
                    "via",
                    format!(
                        "says how the byte stream to {} starts, and it starts on a jump host",
                        self.target()
                    ),
                    "set it on the first jump host, or leave out `jump`",
                ));
            }
            jump.check().map_err(|error| ConfigError {
                field: format!("jump host {}: {}", jump.hop(), error.field),
                ..error
            })?;
        }
        self.limits.check()?;
        self.timeouts.check()?;
        self.keepalive.check()?;
        self.rekey.check()?;
        self.life.check()?;
        self.algorithms.check()?;
        self.auth.check(&self.user)
    }
}
