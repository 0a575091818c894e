//! Snapshots of a connection and its channels, as OTP's `connection_info` and `channel_info` give them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ractor::ActorCell;

use super::channel::{ChannelInfo, Pause, Used};
use crate::error::{ConnectionError, Phase};

/// The algorithms in use (RFC 4253 section 7.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Algorithms {
    /// Key exchange.
    pub kex: String,
    /// Host key, with the signature scheme for RSA keys.
    pub host_key: String,
    /// Cipher, in both directions.
    pub cipher: String,
    /// MAC from client to server; empty with a cipher that authenticates.
    pub mac_client_to_server: String,
    /// MAC from server to client; empty with a cipher that authenticates.
    pub mac_server_to_client: String,
    /// Whether strict key exchange is in force (protection from CVE-2023-48795).
    pub strict_kex: bool,
}

/// What is fixed when a connection is up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) peer_version: String,
    pub(crate) algorithms: Algorithms,
    pub(crate) host_key_fingerprint: String,
    pub(crate) user: String,
    pub(crate) auth_methods: Vec<String>,
    pub(crate) peer_addr: Option<SocketAddr>,
    pub(crate) local_addr: Option<SocketAddr>,
}

/// A connection, at the moment it was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The connection actor.
    pub actor: ActorCell,
    /// Where in its life it is.
    pub phase: Phase,
    /// The peer's identification string (RFC 4253 section 4.2).
    pub peer_version: String,
    /// The negotiated algorithms.
    pub algorithms: Algorithms,
    /// `SHA256:...` of the peer's host key; empty on the server side.
    pub host_key_fingerprint: String,
    /// The authenticated user.
    pub user: String,
    /// The authentication methods that succeeded, in order.
    pub auth_methods: Vec<String>,
    /// The peer's address, if the byte stream has one.
    pub peer_addr: Option<SocketAddr>,
    /// Our address, if the byte stream has one.
    pub local_addr: Option<SocketAddr>,
    /// For how long it has been up.
    pub uptime: Duration,
    /// For how long no channel has carried anything, or none was there. Keepalives do not count.
    pub idle: Duration,
    /// What was counted so far.
    pub counters: Counters,
    /// The bytes that may be received and not consumed, of all channels together; [`Counters::unread`] are.
    pub inbound_budget: usize,
    /// What was handed to the SSH library and not written to the byte stream yet; `None` for scripted connections.
    pub outbound: Option<Used>,
    /// Reading has stopped at this moment, because too much is unread.
    pub pause: Option<Pause>,
    /// For how long keys have been exchanged, when they are.
    pub rekeying: Option<Duration>,
    /// The peer is silent, and was asked for a sign of life.
    pub silence: Option<Silence>,
    /// When it is draining or closing: what is left of its grace or its close timeout.
    pub time_left: Option<Duration>,
    /// Its channels, oldest first.
    pub channels: Vec<ChannelInfo>,
}

/// Counters of a connection. They only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes read from the byte stream.
    pub bytes_in: u64,
    /// Bytes written to the byte stream.
    pub bytes_out: u64,
    /// Bytes received and not consumed at this moment; the one figure that also falls.
    pub unread: usize,
    /// Channels whose open was asked for.
    pub channels_opened: u64,
    /// Channels that are over and forgotten.
    pub channels_closed: u64,
    /// Opens the peer refused or did not answer in time.
    pub opens_failed: u64,
    /// On a server: channels that the peer was refused, for whatever reason.
    pub opens_refused: u64,
    /// On a server: requests of the peer that were over a limit, or not allowed to its login.
    pub requests_refused: u64,
    /// Channel actors that failed, panicked or were killed.
    pub actors_failed: u64,
    /// Channels ended because their consumer held the connection up.
    pub stalled: u64,
    /// How often reading stopped because too much was unread.
    pub pauses: u64,
    /// For how long in total.
    pub paused_for: Duration,
    /// Key re-exchanges.
    pub rekeys: u64,
    /// Keepalive questions sent.
    pub keepalives_sent: u64,
    /// Keepalive questions answered.
    pub keepalives_answered: u64,
}

/// Where in its life a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelState {
    /// The peer has not answered the open.
    Opening,
    /// Open.
    Open,
    /// One side has closed it, or its actor has ended; something of it is left.
    Closing,
}

impl fmt::Display for ChannelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
        })
    }
}

/// A peer from which nothing comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Silence {
    /// For how long nothing has come.
    pub since: Duration,
    /// How many keepalive questions were asked meanwhile.
    pub asked: u32,
}

impl Silence {
    pub(crate) const fn new(since: Duration, asked: u32) -> Self {
        Self { since, asked }
    }
}

/// A step in the life of a connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PhaseEvent {
    /// The phase that began.
    pub phase: Phase,
    /// With [`Phase::Down`], why; `None` before a connection was up.
    pub reason: Option<ConnectionError>,
}

impl PhaseEvent {
    pub(crate) const fn new(phase: Phase) -> Self {
        Self { phase, reason: None }
    }

    pub(crate) const fn down(reason: Option<ConnectionError>) -> Self {
        Self { phase: Phase::Down, reason }
    }
}
