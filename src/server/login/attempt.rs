//! Who knocks.

use std::net::{IpAddr, SocketAddr};

use crate::auth::AuthMethod;

/// A peer that has connected and has not said who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contact {
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// Which address of ours it has reached, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// Its identification string (RFC 4253 section 4.2), for example `SSH-2.0-OpenSSH_9.2`. What is no UTF-8 in it is
    /// replaced. The peer says what it likes here.
    pub client_version: String,
}

impl Contact {
    /// The peer's address and ours. The rest comes when it speaks.
    pub(in crate::server) fn new((peer, local): (Option<SocketAddr>, Option<SocketAddr>)) -> Self {
        Self { peer, local, client_version: String::new() }
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip())
    }
}

/// Who tries to log in, and how far the connection has come with it.
///
/// russh tells the session identifier (RFC 4253 section 7.2) only after the login, so it is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginAttempt {
    /// The name given.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// Which address of ours it has reached, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// The peer's identification string (RFC 4253 section 4.2).
    pub client_version: String,
    /// How many logins were refused on this connection so far, under any name.
    pub refused: usize,
    /// The methods this user has passed on this connection, in order, where several are required. Another name starts
    /// from nothing.
    pub passed: Vec<AuthMethod>,
}
