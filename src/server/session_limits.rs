//! What the peer of one connection may ask for: how much, and how often.

use std::time::Duration;

use crate::config::Rate;
use crate::error::ConfigError;

/// What one peer may ask for on one connection, after its login. All of it is on by default.
///
/// What goes beyond is refused and counted ([`Counters::opens_refused`](crate::observe::Counters::opens_refused),
/// [`requests_refused`](crate::observe::Counters::requests_refused)); nothing else of the connection is touched.
/// How many channels there may be at a time is [`DaemonConfig::max_channels`](crate::DaemonConfig::max_channels).
///
/// ```
/// use ractor_ssh::{Rate, SessionLimits};
///
/// let mut limits = SessionLimits::default();
/// limits.opens = Rate::new(20, 40);
/// limits.command_bytes = 4096;
/// limits.check()?;
/// # Ok::<(), ractor_ssh::error::ConfigError>(())
/// ```
///
/// russh 0.65.1 answers some messages by itself, and they cannot be counted here: opens of unknown channel types,
/// unknown requests, and unknown global requests. It ends the connection at a request it cannot decode: text that is no
/// UTF-8, more than 130 terminal modes, modes that end early.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLimits {
    /// Channels over the whole life of a connection. With the first one beyond, the connection drains: opens are
    /// refused (SSH_OPEN_RESOURCE_SHORTAGE), and it ends with its last channel. Default 16,384: russh keeps about
    /// 4 KiB for each channel that was closed on our side first, so this is 64 MiB.
    pub max_opens: u64,
    /// Session channels at a time, as OpenSSH's `MaxSessions`; other channels count only for
    /// [`max_channels`](crate::DaemonConfig::max_channels). Beyond: SSH_OPEN_RESOURCE_SHORTAGE. Default [`usize::MAX`]: as
    /// many as channels.
    pub max_sessions: usize,
    /// How long a session channel that waits for its route may be without the request that says what it is for; then it is
    /// closed. Default 120 s.
    pub first_request: Duration,
    /// Opens per second. Beyond: SSH_OPEN_RESOURCE_SHORTAGE. Default 2,000 a second, 4,000 at once.
    pub opens: Rate,
    /// Channel requests per second, new window sizes and signals included, and requests to listen. Beyond:
    /// SSH_MSG_CHANNEL_FAILURE, SSH_MSG_REQUEST_FAILURE; what is never answered is dropped. Default 10,000 a second, 20,000 at once.
    pub requests: Rate,
    /// What the peer may have listened on at a time, ports and sockets together (RFC 4254 section 7.1). Beyond:
    /// SSH_MSG_REQUEST_FAILURE. Default 32. Nothing can be listened on unless a
    /// [`Router`](crate::Router::listen_tcpip) allows it.
    pub max_listeners: usize,
    /// Connections to these listeners at a time, together. The next ones wait until one has ended.
    /// Each is a channel, so [`max_channels`](crate::DaemonConfig::max_channels) bounds them as well: beyond that they
    /// are closed at once. Default 48.
    pub max_forwarded: usize,
    /// Environment variables a channel (`env`, RFC 4254 section 6.4). Default 256.
    pub env_vars: usize,
    /// Bytes of their names and values together. Default 64 KiB.
    pub env_bytes: usize,
    /// Bytes of a command line (`exec`, section 6.5). Default 256 KiB.
    pub command_bytes: usize,
    /// Bytes of a terminal type, of a subsystem's name, of an X11 protocol or cookie. Default 256.
    pub name_bytes: usize,
    /// Columns, rows and pixels of a terminal, each. Default 65,535, which is what a POSIX terminal can hold.
    pub terminal_side: u32,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            max_opens: 16_384,
            max_sessions: usize::MAX,
            first_request: Duration::from_secs(120),
            opens: Rate::new(2000, 4000),
            requests: Rate::new(10_000, 20_000),
            max_listeners: 32,
            max_forwarded: 48,
            env_vars: 256,
            env_bytes: 64 << 10,
            command_bytes: 256 << 10,
            name_bytes: 256,
            terminal_side: 65_535,
        }
    }
}

impl SessionLimits {
    /// Looks at every value.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zero = [
            ("max_opens", self.max_opens == 0),
            ("max_sessions", self.max_sessions == 0),
            ("max_listeners", self.max_listeners == 0),
            ("max_forwarded", self.max_forwarded == 0),
            ("first_request", self.first_request.is_zero()),
            ("opens", self.opens.is_zero()),
            ("requests", self.requests.is_zero()),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((field, _)) => {
                Err(ConfigError::new(field, "allows nothing", "give at least 1, or refuse by routes"))
            }
            None => Ok(()),
        }
    }
}
