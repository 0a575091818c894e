//! Numbers of RFC 4250: disconnect reasons, open failures, data type codes.

use std::fmt;

/// The stream a piece of channel data belongs to (RFC 4254 section 5.2).
///
/// `Normal` travels as SSH_MSG_CHANNEL_DATA, everything else as SSH_MSG_CHANNEL_EXTENDED_DATA with
/// its data type code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DataType {
    /// Ordinary data: stdin towards a command, stdout from it.
    Normal,
    /// SSH_EXTENDED_DATA_STDERR, code 1.
    Stderr,
    /// Any other data type code. RFC 4254 defines none.
    Other(u32),
}

impl DataType {
    /// The code as OTP counts it: 0 for ordinary data, else the extended data type code.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Normal => 0,
            Self::Stderr => 1,
            Self::Other(code) => code,
        }
    }

    /// The type for an extended data type code as received.
    #[must_use]
    pub const fn from_extended_code(code: u32) -> Self {
        match code {
            1 => Self::Stderr,
            other => Self::Other(other),
        }
    }
}

/// Why a peer refused to open a channel (RFC 4254 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenFailureReason {
    /// SSH_OPEN_ADMINISTRATIVELY_PROHIBITED (1). OpenSSH also uses it beyond `MaxSessions`.
    AdministrativelyProhibited,
    /// SSH_OPEN_CONNECT_FAILED (2).
    ConnectFailed,
    /// SSH_OPEN_UNKNOWN_CHANNEL_TYPE (3).
    UnknownChannelType,
    /// SSH_OPEN_RESOURCE_SHORTAGE (4).
    ResourceShortage,
    /// A code RFC 4250 does not define.
    Other(u32),
}

impl OpenFailureReason {
    /// The reason code on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::AdministrativelyProhibited => 1,
            Self::ConnectFailed => 2,
            Self::UnknownChannelType => 3,
            Self::ResourceShortage => 4,
            Self::Other(code) => code,
        }
    }

    /// The reason for a code as received.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::AdministrativelyProhibited,
            2 => Self::ConnectFailed,
            3 => Self::UnknownChannelType,
            4 => Self::ResourceShortage,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for OpenFailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AdministrativelyProhibited => f.write_str("administratively prohibited"),
            Self::ConnectFailed => f.write_str("connect failed"),
            Self::UnknownChannelType => f.write_str("unknown channel type"),
            Self::ResourceShortage => f.write_str("resource shortage"),
            Self::Other(code) => write!(f, "reason code {code}"),
        }
    }
}

/// Why a connection is ended by SSH_MSG_DISCONNECT (RFC 4253 section 11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DisconnectCode(
    /// The reason code on the wire.
    pub u32,
);

impl DisconnectCode {
    /// The code with this number.
    #[must_use]
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// SSH_DISCONNECT_PROTOCOL_ERROR.
    pub const PROTOCOL_ERROR: Self = Self(2);
    /// SSH_DISCONNECT_CONNECTION_LOST.
    pub const CONNECTION_LOST: Self = Self(10);
    /// SSH_DISCONNECT_BY_APPLICATION: the ordinary, orderly end.
    pub const BY_APPLICATION: Self = Self(11);
    /// SSH_DISCONNECT_TOO_MANY_CONNECTIONS.
    pub const TOO_MANY_CONNECTIONS: Self = Self(12);
}
