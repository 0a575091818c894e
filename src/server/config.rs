//! What it takes to serve.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::login::Logins;
use super::router::Sessions;
use crate::config::{ChannelOptions, Keepalive, Limits, RekeyLimit, Timeouts};
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
    pub(in crate::server) listen: SocketAddr,
    pub(in crate::server) host_keys: Vec<PrivateKey>,
    pub(in crate::server) host_certificates: Vec<Certificate>,
    pub(in crate::server) logins: Logins,
    pub(in crate::server) sessions: Sessions,
    pub(in crate::server) login_grace: Duration,
    pub(in crate::server) max_connections: usize,
    pub(in crate::server) max_unauthenticated: usize,
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
    /// For one address. With port 0 the operating system chooses; [`DaemonRef::local_addr`](super::DaemonRef) tells.
    #[must_use]
    pub fn new(listen: impl Into<SocketAddr>) -> Self {
        Self {
            listen: listen.into(),
            host_keys: Vec::new(),
            host_certificates: Vec::new(),
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

    /// Looks at every value; starting does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_host_keys()?;
        self.logins.check()?;
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
