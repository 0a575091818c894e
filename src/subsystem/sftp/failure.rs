//! What goes wrong: with one request, or with the client.

use std::io::{self, ErrorKind};

use russh_sftp::protocol::{Packet, StatusCode};

/// Why a request was not done; goes to the client as SSH_FXP_STATUS, and the session goes on.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    code: StatusCode,
    message: String,
}

/// What a request comes to.
pub(super) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn denied(message: &str) -> Self {
        Self::new(StatusCode::PermissionDenied, message)
    }

    pub(super) fn failed(message: &str) -> Self {
        Self::new(StatusCode::Failure, message)
    }

    pub(super) fn eof() -> Self {
        Self::new(StatusCode::Eof, "End of file")
    }

    pub(super) fn into_packet(self, id: u32) -> Packet {
        Packet::status(id, self.code, &self.message, "")
    }
}

/// Says what the system said. Its messages name no file.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => StatusCode::NoSuchFile,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StatusCode::PermissionDenied,
            ErrorKind::Unsupported => StatusCode::OpUnsupported,
            _ => StatusCode::Failure,
        };
        Self::new(code, error.to_string())
    }
}

/// What no client does that speaks the protocol; ends the channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a packet of {length} bytes, the limit is {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("a packet of {length} bytes, too short for any")]
    TooShort { length: usize },
    #[error("a packet of type {kind} before SSH_FXP_INIT")]
    BeforeInit { kind: u8 },
    #[error("a second SSH_FXP_INIT")]
    SecondInit,
    #[error("version {version} of the protocol, 3 is the oldest that is spoken here")]
    TooOld { version: u32 },
    #[error("a packet of type {kind}, which only servers send")]
    FromServers { kind: u8 },
    #[error("a packet of type {kind} that cannot be read: {problem}")]
    Unreadable { kind: u8, problem: String },
    #[error("the input ended in the middle of a packet")]
    CutOff,
}
