//! What a peer wants of a session channel, as routes and factories are told.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::permissions::Permissions;
use crate::wire::pty::PtyRequest;

/// A session channel that was just opened (RFC 4254 section 6.1). What it is for is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewSession {
    /// Who is logged in.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// The address of ours that the peer connected to, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// What the login may do. It is enforced already.
    pub permissions: Arc<Permissions>,
}

/// What a session channel is to do, with all that was asked for before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionRequest {
    /// Who is logged in.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// The address of ours that the peer connected to, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// What the login may do. It is enforced already.
    pub permissions: Arc<Permissions>,
    /// What is to run: what the peer asked for, or the command that is forced upon its login.
    pub kind: SessionKind,
    /// Environment variables the peer asked for, in order (RFC 4254 section 6.4). Nothing is done with them: whether
    /// any is good for anything is the handler's decision. Limited by
    /// [`SessionLimits`](crate::SessionLimits), and none of them has a name that is in `environment`.
    pub env: Vec<(String, String)>,
    /// Environment variables that the login's permissions set, to be taken as they are; with a forced command,
    /// `SSH_ORIGINAL_COMMAND` among them, if something was asked for.
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

/// A channel that wants to reach a TCP port (`direct-tcpip`, RFC 4254 section 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectTcpip {
    /// Who is logged in.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// The address of ours that the peer connected to, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// What the login may do. It is enforced already.
    pub permissions: Arc<Permissions>,
    /// The host to connect to, as the peer wrote it: a name or an address.
    pub host: String,
    /// The port to connect to.
    pub port: u16,
    /// Where the peer says that the connection comes from. Nobody has checked it.
    pub originator_host: String,
    /// From which port.
    pub originator_port: u16,
}

/// A channel that wants to reach a Unix socket (`direct-streamlocal@openssh.com`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectStreamlocal {
    /// Who is logged in.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// The address of ours that the peer connected to, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// What the login may do. It is enforced already.
    pub permissions: Arc<Permissions>,
    /// The path of the socket.
    pub path: String,
}

/// A TCP port that the peer wants listened on (`tcpip-forward`, RFC 4254 section 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpipForward {
    /// Who is logged in.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// The address of ours that the peer connected to, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// What the login may do. It is enforced already.
    pub permissions: Arc<Permissions>,
    /// The address to listen on, as the peer wrote it; `""` for all, `localhost` for loopback. What is bound for it is
    /// the daemon's decision ([`GatewayPorts`](crate::GatewayPorts)).
    pub address: String,
    /// The port; 0 for one of the daemon's choice.
    pub port: u16,
}

/// A Unix socket that the peer wants listened on (`streamlocal-forward@openssh.com`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamlocalForward {
    /// Who is logged in.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
    /// The address of ours that the peer connected to, if the byte stream tells.
    pub local: Option<SocketAddr>,
    /// What the login may do. It is enforced already.
    pub permissions: Arc<Permissions>,
    /// The path of the socket: absolute, and without `..`.
    pub path: String,
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
