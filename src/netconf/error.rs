//! Why bytes are no NETCONF message, and why a session did not go on.

use std::io;
use std::time::Duration;

use crate::error::ConfigError;
use crate::session::CommandError;

/// Why bytes are no message, or a message cannot be framed (RFC 6242 section 4). The stream is of no use after an error
/// in what was received: RFC 6242 section 4.2 has the session ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// The message has no end within the limit.
    #[error("a message of more than {limit} bytes; raise `max_message`, or ask for less")]
    MessageTooLong {
        /// [`NetconfCodec::max_message`](super::NetconfCodec::max_message).
        limit: usize,
    },
    /// A chunk says it is larger than the limit.
    #[error("a chunk of {size} bytes, the limit is {limit}; raise `max_chunk`")]
    ChunkTooLong {
        /// What it says.
        size: u32,
        /// [`NetconfCodec::max_chunk`](super::NetconfCodec::max_chunk).
        limit: u32,
    },
    /// Something else than LF `#` size LF, or LF `##` LF.
    #[error("no chunk header: {found:?} at byte {at} of it")]
    Header {
        /// The byte, as text.
        found: String,
        /// How many bytes of the header were right.
        at: usize,
    },
    /// The size of a chunk is 0, begins with 0, or is more than 4294967295.
    #[error("a chunk size is 1 to 4294967295 without a leading zero, not `{digits}`")]
    Size {
        /// The digits.
        digits: String,
    },
    /// The stream ended within a message.
    #[error("the stream ended within a message, after {bytes} bytes of it")]
    Truncated {
        /// How many bytes were there.
        bytes: usize,
    },
    /// A message to be sent has `]]>]]>` in it, which ends messages of NETCONF 1.0.
    #[error("the message has `]]>]]>` in it at byte {at}; write `&gt;` for `>`, or use chunked framing")]
    EndInMessage {
        /// Where.
        at: usize,
    },
    /// A message to be sent has no bytes, which chunks cannot say.
    #[error("the message is empty")]
    Empty,
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a session did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetconfError {
    /// A wrong argument; nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The subsystem could not be started.
    #[error("no NETCONF subsystem: {0}")]
    Start(#[source] CommandError),
    /// What came is no NETCONF, a message is too long, or the stream failed.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The peer has ended the session.
    #[error("the session ended before {waited_for}")]
    Ended {
        /// What was waited for.
        waited_for: &'static str,
    },
    /// The peer did not answer in time.
    #[error("no {waited_for} within {after:?}")]
    Timeout {
        /// What was waited for.
        waited_for: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The peer's first message is no hello, or has no base capability that we share.
    #[error("the peer's hello {problem}: {}", String::from_utf8_lossy(hello.get(..hello.len().min(200)).unwrap_or_default()))]
    Hello {
        /// What is wrong.
        problem: &'static str,
        /// The message.
        hello: bytes::Bytes,
    },
    /// More notifications came than are kept while a reply is waited for. Take them with
    /// [`notification`](super::NetconfSession::notification).
    #[error("{kept} notifications wait to be taken; take them with `notification`")]
    Notifications {
        /// How many are kept now, the last one included.
        kept: usize,
    },
}
