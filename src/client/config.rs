//! What it takes to connect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use crate::auth::{Auth, Credentials};
use crate::config::{Keepalive, LifeLimits, Limits, RekeyLimit, Timeouts};
use crate::dial::{Streams, Via, authority};
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
    pub(super) host_key_alias: Option<String>,
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
            host_key_alias: None,
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

    /// Sets whom we trust.
    #[must_use]
    pub fn host_key(mut self, policy: HostKeyPolicy) -> Self {
        self.host_key = policy;
        self
    }

    /// Looks the host key up under this name, without the port, instead of the host's own (`HostKeyAlias`): for servers that are
    /// reached at several addresses or over tunnels. It is the name that certificates must have, too.
    #[must_use]
    pub fn host_key_alias(mut self, name: impl Into<String>) -> Self {
        self.host_key_alias = Some(name.into());
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

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) const fn close_timeout(&self) -> Duration {
        self.timeouts.close
    }

    /// Host and port.
    pub(crate) fn target(&self) -> String {
        authority(&self.host, self.port)
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
        self.check_way()?;
        self.limits.check()?;
        self.timeouts.check()?;
        self.keepalive.check()?;
        self.rekey.check()?;
        self.life.check()?;
        self.algorithms.check()?;
        self.auth.check(&self.user)
    }
}
