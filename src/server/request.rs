//! What a peer wants of a session channel, as routes and factories are told.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::wire::pty::PtyRequest;

/// A session channel that was just opened (RFC 4254 section 6.1). What it is for is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewSession {
    /// Who is logged in.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
}

/// What a session channel is to do, with all that was asked for before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionRequest {
    /// Who is logged in.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// Which of our addresses the peer connected to, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// What is to run.
    pub kind: SessionKind,
    /// Environment variables the peer asked for, in order (RFC 4254 section 6.4). Nothing is done with them: whether
    /// any is good for anything is the handler's decision. At most 256 of them, and 64 KiB.
    pub env: Vec<(String, String)>,
    /// Environment variables that came with the login ([`Permissions::environment`](super::Permissions::environment)).
    /// They win over what the peer asks for.
    pub environment: Vec<(String, String)>,
    /// The terminal the peer asked for (RFC 4254 section 6.2). There is none: the handler speaks to the peer's.
    pub pty: Option<PtyRequest>,
}

impl SessionRequest {
    /// The command line of an exec request as text; empty for a shell or a subsystem. What is no UTF-8 in it is
    /// replaced.
    #[must_use]
    pub fn command(&self) -> Cow<'_, str> {
        match &self.kind {
            SessionKind::Exec { command } => String::from_utf8_lossy(command),
            _ => Cow::Borrowed(""),
        }
    }
}

/// What is to run on a session channel (RFC 4254 section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionKind {
    /// A command line: bytes, not necessarily text.
    Exec {
        /// The command line.
        command: Bytes,
    },
    /// The user's shell.
    Shell,
    /// A subsystem.
    Subsystem {
        /// Its name.
        name: String,
    },
}
