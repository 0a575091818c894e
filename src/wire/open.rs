//! What a channel can be opened for (RFC 4254 sections 6.1, 6.3.2 and 7.2), and what a server can be asked to listen on
//! (section 7.1).

use std::fmt;

/// A channel type with its parameters, as carried by SSH_MSG_CHANNEL_OPEN.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenRequest {
    /// `session` (RFC 4254 section 6.1).
    Session,
    /// `direct-tcpip` (RFC 4254 section 7.2).
    DirectTcpip {
        /// Host the server is asked to connect to.
        host: String,
        /// Port the server is asked to connect to.
        port: u16,
        /// Address the connection is said to come from.
        originator_host: String,
        /// Port the connection is said to come from.
        originator_port: u16,
    },
    /// `direct-streamlocal@openssh.com`.
    DirectStreamlocal {
        /// Path of the Unix socket on the server.
        path: String,
    },
    /// `forwarded-tcpip` (RFC 4254 section 7.2): somebody has connected to a port that the client asked the server to
    /// listen on. Servers open it.
    ForwardedTcpip {
        /// Address that was connected to. OpenSSH repeats what the client had asked for, others tell what they bound.
        address: String,
        /// Port that was connected to.
        port: u16,
        /// Where the connection comes from, as the server says.
        originator_address: String,
        /// From which port.
        originator_port: u16,
    },
    /// `forwarded-streamlocal@openssh.com`: the same for a Unix socket. Servers open it.
    ForwardedStreamlocal {
        /// Path of the socket that was connected to.
        path: String,
    },
    /// `auth-agent@openssh.com`: something on the server asks the agent that the client forwards. Servers open it.
    AuthAgent,
    /// `x11` (RFC 4254 section 6.3.2): a program on the server connects to the display that the client forwards. Servers
    /// open it.
    X11 {
        /// Where the program runs, as the server says.
        originator_address: String,
        /// Its port.
        originator_port: u16,
    },
}

impl OpenRequest {
    /// The channel type name on the wire.
    #[must_use]
    pub const fn channel_type(&self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::DirectTcpip { .. } => "direct-tcpip",
            Self::DirectStreamlocal { .. } => "direct-streamlocal@openssh.com",
            Self::ForwardedTcpip { .. } => "forwarded-tcpip",
            Self::ForwardedStreamlocal { .. } => "forwarded-streamlocal@openssh.com",
            Self::AuthAgent => "auth-agent@openssh.com",
            Self::X11 { .. } => "x11",
        }
    }
}

/// What a server is asked to listen on for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenRequest {
    /// `tcpip-forward` (RFC 4254 section 7.1).
    Tcpip {
        /// The address to listen on, as the client writes it; `""` for all, `localhost` for loopback of both families.
        address: String,
        /// The port; 0 lets the server choose.
        port: u16,
    },
    /// `streamlocal-forward@openssh.com`.
    Streamlocal {
        /// Path of the socket.
        path: String,
    },
}

impl ListenRequest {
    /// The name of the global request on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcpip { .. } => "tcpip-forward",
            Self::Streamlocal { .. } => "streamlocal-forward@openssh.com",
        }
    }

    /// The same with the port that the server chose.
    #[must_use]
    pub(crate) fn at(self, chosen: u16) -> Self {
        match self {
            Self::Tcpip { address, .. } => Self::Tcpip { address, port: chosen },
            Self::Streamlocal { .. } => self,
        }
    }
}

impl fmt::Display for ListenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcpip { address, port } if address.contains(':') => {
                write!(f, "[{}]:{port}", address.escape_debug())
            }
            Self::Tcpip { address, port } => write!(f, "{}:{port}", address.escape_debug()),
            Self::Streamlocal { path } => write!(f, "{}", path.escape_debug()),
        }
    }
}
