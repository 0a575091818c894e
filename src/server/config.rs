//! What it takes to serve.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::login::{LoginAttempt, Logins, decider};
use super::request::NewSession;
use super::router::{Router, Sessions};
use crate::behaviour::ServerChannel;
use crate::config::{ChannelOptions, Keepalive, Limits, RekeyLimit, Timeouts};
use crate::error::ConfigError;
use crate::wire::keys::{PrivateKey, PublicKey};

/// Where to listen, who may enter, and what runs on their channels.
///
/// Without further calls nobody gets in and nothing runs: a host key, a way to log in and routes are what a daemon
/// needs. Limits and deadlines have defaults; see each setter.
#[derive(Clone)]
pub struct DaemonConfig {
    pub(super) listen: SocketAddr,
    pub(super) host_keys: Vec<PrivateKey>,
    pub(super) logins: Logins,
    pub(super) sessions: Sessions,
    pub(super) login_grace: Duration,
    pub(super) max_connections: usize,
    pub(super) max_unauthenticated: usize,
    pub(super) max_auth_attempts: usize,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) channel_options: ChannelOptions,
    pub(super) keepalive: Keepalive,
    pub(super) rekey: RekeyLimit,
    pub(super) server_id: String,
}

impl fmt::Debug for DaemonConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonConfig")
            .field("listen", &self.listen)
            .field("host_keys", &self.host_keys.len())
            .finish_non_exhaustive()
    }
}

impl DaemonConfig {
    /// For one address. With port 0 the operating system chooses; [`DaemonRef::local_addr`](super::DaemonRef) tells.
    #[must_use]
    pub fn new(listen: impl Into<SocketAddr>) -> Self {
        Self {
            listen: listen.into(),
            host_keys: Vec::new(),
            logins: Logins::default(),
            sessions: Sessions::Routed(Arc::default()),
            login_grace: Duration::from_secs(120),
            max_connections: 1024,
            max_unauthenticated: 64,
            max_auth_attempts: 6,
            timeouts: Timeouts::default(),
            limits: Limits::server(),
            channel_options: ChannelOptions::default(),
            keepalive: Keepalive::default(),
            rekey: RekeyLimit::default(),
            server_id: concat!("ractor-ssh_", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Adds a host key; at least one is needed. Of several, the client's preference decides by their algorithms.
    #[must_use]
    pub fn host_key(mut self, key: PrivateKey) -> Self {
        self.host_keys.push(key);
        self
    }

    /// Lets in who has a password the callback says yes to (RFC 4252 section 8). A no takes at least a second.
    #[must_use]
    pub fn password<F>(
        mut self,
        decide: impl Fn(LoginAttempt, SecretString) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.logins.password = Some(decider(decide));
        self
    }

    /// Lets in who owns a key the callback says yes to (RFC 4252 section 7).
    ///
    /// It is asked when a key is offered, and again when the peer's signature has been verified; only then the yes
    /// counts.
    #[must_use]
    pub fn public_key<F>(
        mut self,
        decide: impl Fn(LoginAttempt, PublicKey) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.logins.public_key = Some(decider(decide));
        self
    }

    /// Lets anyone in, under any name, without any proof (the method `none`, RFC 4252 section 5.2).
    #[must_use]
    pub const fn danger_let_anyone_in(mut self) -> Self {
        self.logins.anyone = true;
        self
    }

    /// Sets a text that every client gets before it logs in (RFC 4252 section 5.4).
    #[must_use]
    pub fn banner(mut self, text: impl Into<String>) -> Self {
        self.logins.banner = Some(text.into());
        self
    }

    /// Sets what runs on session channels, by what they are for. Replaces an earlier one. Default: nothing.
    #[must_use]
    pub fn router(mut self, router: Router) -> Self {
        self.sessions = Sessions::Routed(Arc::new(router));
        self
    }

    /// Runs a behaviour on every session channel from its opening on: it gets each request as an event and answers it
    /// with `reply_request`. Replaces an earlier router. The function must not block.
    ///
    /// Over russh, which does not say whether an answer is wanted, `want_reply` is always true here; an answer nobody
    /// wants is not sent. Until a request is answered, at most for a second, nothing is read from its connection:
    /// answer first, work later.
    #[must_use]
    pub fn session_channel<C: ServerChannel>(
        mut self,
        make: impl Fn(NewSession) -> C + Send + Sync + 'static,
    ) -> Self {
        self.sessions = Sessions::whole(make);
        self
    }

    /// Sets how long a peer may take from the TCP connection to a successful login, whatever it sends meanwhile.
    /// Default 120 s.
    #[must_use]
    pub const fn login_grace(mut self, limit: Duration) -> Self {
        self.login_grace = limit;
        self
    }

    /// Sets how many connections there may be; further ones are closed at once. Default 1,024.
    #[must_use]
    pub const fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Sets how many connections may be without a login at a time; further ones are closed at once. Default 64.
    #[must_use]
    pub const fn max_unauthenticated(mut self, limit: usize) -> Self {
        self.max_unauthenticated = limit;
        self
    }

    /// Sets how many logins may be refused on a connection before it is ended. Default 6.
    #[must_use]
    pub const fn max_auth_attempts(mut self, limit: usize) -> Self {
        self.max_auth_attempts = limit;
        self
    }

    /// Sets how many channels a connection may have; further opens are refused with SSH_OPEN_RESOURCE_SHORTAGE.
    /// Default 64.
    #[must_use]
    pub const fn max_channels(mut self, limit: usize) -> Self {
        self.limits.max_channels = limit;
        self
    }

    /// Sets the deadlines. `version`, `kex` and `auth` also end at the login grace.
    #[must_use]
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets the limits of each connection; start from [`Limits::server`], or the number of channels is a client's.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how channels are run. Isolation and the open timeout mean nothing on a server.
    #[must_use]
    pub const fn channel_options(mut self, options: ChannelOptions) -> Self {
        self.channel_options = options;
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

    /// Sets the software version in our identification string (RFC 4253 section 4.2), without `SSH-2.0-`.
    #[must_use]
    pub fn server_id(mut self, id: impl Into<String>) -> Self {
        self.server_id = id.into();
        self
    }

    /// Looks at every value; starting does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.host_keys.is_empty() {
            return Err(ConfigError::new(
                "host_key",
                "none was given",
                "give one; `wire::keys::generate_ed25519()` makes one",
            ));
        }
        if let Some(key) = self.host_keys.iter().find(|key| key.is_encrypted()) {
            let problem = format!("the {} key is encrypted", key.algorithm());
            return Err(ConfigError::new("host_key", problem, "decrypt it first"));
        }
        let zero = [
            ("max_connections", self.max_connections == 0),
            ("max_unauthenticated", self.max_unauthenticated == 0),
            ("max_auth_attempts", self.max_auth_attempts == 0),
            ("login_grace", self.login_grace.is_zero()),
        ];
        if let Some((field, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError::new(field, "is 0: nobody could log in", "give at least 1"));
        }
        let printable = |c: char| c.is_ascii_graphic() || c == ' ';
        if self.server_id.is_empty() || self.server_id.len() > 240 || !self.server_id.chars().all(printable) {
            return Err(ConfigError::new(
                "server_id",
                "is empty, too long or not printable US-ASCII",
                "give 1 to 240 printable characters (RFC 4253 section 4.2)",
            ));
        }
        self.channel_options.check()?;
        self.limits.check()
    }
}
