//! What it takes to serve.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::caps::CapLimits;
use super::hooks::Hooks;
use super::lend::LendLimits;
use super::login::Logins;
use super::router::Router;
use super::session_limits::SessionLimits;
use crate::config::{ChannelOptions, Keepalive, LifeLimits, Limits, RekeyLimit, Timeouts};
use crate::error::ConfigError;
use crate::wire::keys::{Certificate, PrivateKey};

mod channels;
mod connections;
mod keys;
mod logins;

/// Where to listen, who may enter, and what runs on their channels.
///
/// Without further calls nobody gets in and nothing runs: a host key, a way to log in and routes are what a daemon
/// needs. Limits and deadlines have defaults; see each setter.
#[derive(Clone)]
pub struct DaemonConfig {
    pub(in crate::server) listen: Vec<SocketAddr>,
    #[cfg(unix)]
    pub(in crate::server) listen_unix: Vec<std::path::PathBuf>,
    pub(in crate::server) host_keys: Vec<PrivateKey>,
    pub(in crate::server) host_certificates: Vec<Certificate>,
    pub(in crate::server) logins: Logins,
    pub(in crate::server) router: Arc<Router>,
    pub(in crate::server) session_limits: SessionLimits,
    pub(in crate::server) lend_limits: LendLimits,
    pub(in crate::server) login_grace: Duration,
    pub(in crate::server) caps: CapLimits,
    pub(in crate::server) life: LifeLimits,
    pub(in crate::server) hooks: Hooks,
    pub(in crate::server) max_auth_attempts: usize,
    pub(in crate::server) timeouts: Timeouts,
    pub(in crate::server) limits: Limits,
    pub(in crate::server) channel_options: ChannelOptions,
    pub(in crate::server) keepalive: Keepalive,
    pub(in crate::server) rekey: RekeyLimit,
    pub(in crate::server) server_id: String,
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
    /// For one TCP address; [`listen`](Self::listen) adds others. With port 0 the operating system chooses;
    /// [`DaemonRef::local_addr`](super::DaemonRef::local_addr) tells.
    #[must_use]
    pub fn new(listen: impl Into<SocketAddr>) -> Self {
        Self::unbound().listen(listen)
    }

    /// For no address: a daemon that serves only the streams it is [given](super::DaemonRef::serve), or listens on Unix
    /// sockets only.
    #[must_use]
    pub fn unbound() -> Self {
        Self {
            listen: Vec::new(),
            #[cfg(unix)]
            listen_unix: Vec::new(),
            host_keys: Vec::new(),
            host_certificates: Vec::new(),
            logins: Logins::default(),
            router: Arc::default(),
            session_limits: SessionLimits::default(),
            lend_limits: LendLimits::default(),
            login_grace: Duration::from_secs(120),
            caps: CapLimits::default(),
            life: LifeLimits {
                first_channel: Duration::from_secs(120),
                unused: Duration::from_secs(15 * 60),
                ..LifeLimits::default()
            },
            hooks: Hooks::default(),
            max_auth_attempts: 6,
            timeouts: Timeouts::default(),
            limits: Limits::server(),
            channel_options: ChannelOptions::default(),
            keepalive: Keepalive::default(),
            rekey: RekeyLimit::default(),
            server_id: concat!("ractor-ssh_", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Looks at every value; starting does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_host_keys()?;
        self.logins.check()?;
        let zero =
            [("max_auth_attempts", self.max_auth_attempts == 0), ("login_grace", self.login_grace.is_zero())];
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
        #[cfg(feature = "sftp")]
        self.router.check()?;
        self.caps.check()?;
        self.life.check()?;
        self.timeouts.check()?;
        self.keepalive.check()?;
        self.rekey.check()?;
        self.channel_options.check()?;
        self.session_limits.check()?;
        self.lend_limits.check()?;
        self.limits.check()
    }
}
