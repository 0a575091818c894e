//! What a channel can be opened for (RFC 4254 sections 6.1 and 7.2).

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
}

impl OpenRequest {
    /// The channel type name on the wire.
    #[must_use]
    pub const fn channel_type(&self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::DirectTcpip { .. } => "direct-tcpip",
            Self::DirectStreamlocal { .. } => "direct-streamlocal@openssh.com",
        }
    }
}
