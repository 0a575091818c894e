//! Why something with a remote file did not work.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ConfigError;
use crate::session::CommandError;

/// Why an operation of an [`SftpClient`](super::SftpClient) failed: what was done, to which file, and what happened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}{}{path}: {kind}", if .path.is_empty() { "" } else { " " })]
#[non_exhaustive]
pub struct SftpError {
    /// What was done: `open`, `read`, `rename`, ...
    pub operation: &'static str,
    /// The remote file, or the local one if the [kind](SftpErrorKind::Local) says so. Bytes that are no text, and
    /// control characters, are escaped: it can be shown. Empty if no file was concerned.
    pub path: String,
    /// What happened.
    #[source]
    pub kind: SftpErrorKind,
}

/// What happened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SftpErrorKind {
    /// A wrong argument; nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no channel, or the server has no such subsystem.
    #[error("no SFTP session: {0}")]
    Start(#[source] Box<CommandError>),
    /// The server refused.
    #[error("{status}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Status {
        /// What the server said.
        status: SftpStatus,
        /// Its words, cut to 256 characters, unless they repeat the status.
        message: String,
    },
    /// The server does not offer it.
    #[error("the server does not offer {extension}")]
    Unsupported {
        /// The extension that is needed.
        extension: &'static str,
    },
    /// No answer in time.
    #[error("no answer for {after:?}")]
    Timeout {
        /// The limit that was reached.
        after: Duration,
    },
    /// The server said what the protocol does not allow. If it cannot be told any more which answer belongs to which
    /// request, the session is over.
    #[error("the server does not keep to the protocol: {problem}")]
    Protocol {
        /// What is wrong.
        problem: String,
    },
    /// The session is over.
    #[error("the SFTP session is over: {reason}")]
    Ended {
        /// Why.
        reason: String,
    },
    /// What the server sent must not be followed: a name that leads out of the directory, a listing without end. Or
    /// it was not asked for: a directory without `recursive`, more than the limit.
    #[error("refused: {problem}")]
    Refused {
        /// What is wrong.
        problem: String,
    },
    /// A file that was downloaded ended before its size. What came of it is in the local file.
    #[error("it ended after {got} of {size} bytes; has it been cut meanwhile?")]
    Short {
        /// Its size when it was opened, in bytes.
        size: u64,
        /// How much came, in bytes, with what was there before.
        got: u64,
    },
    /// A local file.
    #[error("{0}")]
    Local(#[source] Arc<io::Error>),
}

/// What a server says of a request (draft-ietf-secsh-filexfer-02 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SftpStatus {
    /// There is no more (`SSH_FX_EOF`).
    #[error("end of file")]
    Eof,
    /// `SSH_FX_NO_SUCH_FILE`.
    #[error("no such file")]
    NoSuchFile,
    /// `SSH_FX_PERMISSION_DENIED`.
    #[error("permission denied")]
    PermissionDenied,
    /// Everything that has no word of its own (`SSH_FX_FAILURE`): it exists already, no space, a directory is not empty.
    #[error("failure")]
    Failure,
    /// `SSH_FX_BAD_MESSAGE`.
    #[error("the server calls the request malformed")]
    BadMessage,
    /// `SSH_FX_OP_UNSUPPORTED`.
    #[error("the server does not support it")]
    Unsupported,
    /// Any other code.
    #[error("status {0}")]
    Other(u32),
}

impl SftpStatus {
    pub(super) const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => return None,
            1 => Self::Eof,
            2 => Self::NoSuchFile,
            3 => Self::PermissionDenied,
            4 => Self::Failure,
            5 => Self::BadMessage,
            8 => Self::Unsupported,
            other => Self::Other(other),
        })
    }
}

impl SftpErrorKind {
    pub(super) fn protocol(problem: impl Into<String>) -> Self {
        Self::Protocol { problem: problem.into() }
    }

    pub(super) fn refused(problem: impl Into<String>) -> Self {
        Self::Refused { problem: problem.into() }
    }

    pub(super) fn at(self, operation: &'static str, path: &[u8]) -> SftpError {
        SftpError { operation, path: printable(path), kind: self }
    }
}

impl SftpError {
    /// What the server said, if it was it that refused.
    #[must_use]
    pub const fn status(&self) -> Option<SftpStatus> {
        match &self.kind {
            SftpErrorKind::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(super) fn local(operation: &'static str, path: &std::path::Path, error: io::Error) -> Self {
        Self {
            operation,
            path: printable(path.as_os_str().as_encoded_bytes()),
            kind: SftpErrorKind::Local(Arc::new(error)),
        }
    }
}

impl From<SftpError> for io::Error {
    fn from(error: SftpError) -> Self {
        let kind = match &error.kind {
            SftpErrorKind::Config(_) => io::ErrorKind::InvalidInput,
            SftpErrorKind::Status { status: SftpStatus::NoSuchFile, .. } => io::ErrorKind::NotFound,
            SftpErrorKind::Status { status: SftpStatus::PermissionDenied, .. } => {
                io::ErrorKind::PermissionDenied
            }
            SftpErrorKind::Status { status: SftpStatus::Eof, .. } | SftpErrorKind::Short { .. } => {
                io::ErrorKind::UnexpectedEof
            }
            SftpErrorKind::Status { status: SftpStatus::Unsupported, .. }
            | SftpErrorKind::Unsupported { .. } => io::ErrorKind::Unsupported,
            SftpErrorKind::Timeout { .. } => io::ErrorKind::TimedOut,
            SftpErrorKind::Protocol { .. } | SftpErrorKind::Refused { .. } => io::ErrorKind::InvalidData,
            SftpErrorKind::Ended { .. } => io::ErrorKind::BrokenPipe,
            SftpErrorKind::Local(error) => error.kind(),
            SftpErrorKind::Start(_) | SftpErrorKind::Status { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The longest text of a peer that is kept, in characters.
const MOST_TEXT: usize = 256;

/// Text that can be shown: control characters and what is no text are escaped, what is long is cut.
pub(super) fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut left = 16 * MOST_TEXT;
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars().take(left) {
            left -= 1;
            if char.is_control() { text.extend(char.escape_default()) } else { text.push(char) }
        }
        for byte in chunk.invalid().iter().take(left) {
            left -= 1;
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A peer's words about a status.
pub(super) fn words(message: &[u8], status: SftpStatus) -> String {
    let text: String = printable(message).chars().take(MOST_TEXT).collect();
    if text.eq_ignore_ascii_case(&status.to_string()) { String::new() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_path_and_status_and_shows_no_control_characters() {
        let kind = SftpErrorKind::Status { status: SftpStatus::PermissionDenied, message: String::new() };
        let error = kind.at("open", b"/etc/sh\x1badow\xff");
        assert_eq!(error.to_string(), "open /etc/sh\\u{1b}adow\\xff: permission denied");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_message_that_repeats_the_status_is_left_out() {
        assert_eq!(words(b"Permission denied", SftpStatus::PermissionDenied), "");
        assert_eq!(words(b"disk full", SftpStatus::Failure), "disk full");
    }
}
