//! The two framings of RFC 6242, as a codec.
//!
//! Owns where in a frame the stream is. XML is bytes here.

use std::fmt::Write as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use memchr::memmem;
use tokio_util::codec::{Decoder, Encoder};

use super::error::FramingError;

/// What ends a message of NETCONF 1.0.
pub(super) const END: &[u8] = b"]]>]]>";

/// The most bytes we put into one chunk: what fits many packets, and what every peer takes.
const OUR_CHUNK: usize = 64 << 10;

/// How messages are told apart on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Framing {
    /// `]]>]]>` behind each message: NETCONF 1.0, and every session's hello (RFC 6242 section 4.3).
    #[default]
    EndOfMessage,
    /// Chunks with their sizes: NETCONF 1.1, when both hellos say `:base:1.1` (RFC 6242 section 4.2).
    Chunked,
}

/// A codec for NETCONF messages over SSH (RFC 6242): bytes of XML in, frames out, and back.
///
/// Begins with [`Framing::EndOfMessage`], as every session does. When both sides' hellos say `:base:1.1`,
/// [`set_framing`](Self::set_framing) switches; what has been received behind the hello is read by the new framing then.
/// Reads what comes in pieces of any size, and looks at each byte once.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use ractor_ssh::netconf::{Framing, NetconfCodec};
/// use tokio_util::codec::{Decoder as _, Encoder as _};
///
/// let mut codec = NetconfCodec::new();
/// let mut stream = BytesMut::from("<hello/>]]>]]>\n#4\n<rpc\n#2\n/>\n##\n");
/// assert_eq!(codec.decode(&mut stream)?.as_deref(), Some(&b"<hello/>"[..]));
/// codec.set_framing(Framing::Chunked);
/// assert_eq!(codec.decode(&mut stream)?.as_deref(), Some(&b"<rpc/>"[..]));
///
/// let mut out = BytesMut::new();
/// codec.encode(Bytes::from("<ok/>"), &mut out)?;
/// assert_eq!(out, "\n#5\n<ok/>\n##\n");
/// # Ok::<(), ractor_ssh::netconf::FramingError>(())
/// ```
///
/// With a channel: `conn.subsystem("netconf").stream().await?.framed(NetconfCodec::new())`.
#[derive(Debug, Clone)]
pub struct NetconfCodec {
    framing: Framing,
    max_message: usize,
    max_chunk: u32,
    /// How many bytes of the input hold no end of a message (of NETCONF 1.0).
    scanned: usize,
    /// The chunks of a message that is not whole yet.
    message: BytesMut,
    at: At,
}

/// Where in a chunked message the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In front of a chunk or the end.
    Header,
    /// Within a chunk: so many bytes are missing.
    Chunk(usize),
}

/// A whole header of a chunk.
enum Header {
    Size(u32),
    EndOfChunks,
}

impl NetconfCodec {
    /// End-of-message framing, messages of at most 64 MiB, chunks of any size up to that.
    #[must_use]
    pub fn new() -> Self {
        Self {
            framing: Framing::EndOfMessage,
            max_message: 64 << 20,
            max_chunk: u32::MAX,
            scanned: 0,
            message: BytesMut::new(),
            at: At::Header,
        }
    }

    /// Sets the longest message that is accepted, in bytes. Default 64 MiB. A message is in memory as a whole.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets the largest chunk that is accepted, in bytes. Default 4294967295, the most RFC 6242 allows; the limit of the
    /// message holds in any case.
    #[must_use]
    pub fn max_chunk(mut self, bytes: u32) -> Self {
        self.max_chunk = bytes;
        self
    }

    /// The framing.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    pub(super) const fn longest(&self) -> usize {
        self.max_message
    }

    /// Changes the framing, for both directions, from the next message on. To be called between messages: right behind
    /// the hello.
    pub const fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
        self.scanned = 0;
    }

    fn decode_to_the_end(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        let from = self.scanned.saturating_sub(END.len() - 1);
        let found = memmem::find(src.get(from..).unwrap_or_default(), END).map(|at| from + at);
        let too_long = FramingError::MessageTooLong { limit: self.max_message };
        let Some(at) = found else {
            self.scanned = src.len();
            // The last bytes may be the beginning of the end.
            let certain = src.len().saturating_sub(END.len() - 1);
            return if certain > self.max_message { Err(too_long) } else { Ok(None) };
        };
        if at > self.max_message {
            return Err(too_long);
        }
        self.scanned = 0;
        let message = src.split_to(at).freeze();
        src.advance(END.len());
        Ok(Some(message))
    }

    fn decode_chunks(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        loop {
            if let At::Chunk(missing) = self.at {
                let take = missing.min(src.len());
                self.message.extend_from_slice(&src.split_to(take));
                if take < missing {
                    self.at = At::Chunk(missing - take);
                    return Ok(None);
                }
                self.at = At::Header;
            }
            let Some((header, len)) = parse_header(src)? else { return Ok(None) };
            match header {
                Header::EndOfChunks if self.message.is_empty() => {
                    return Err(FramingError::Header { found: "#".to_owned(), at: 2 });
                }
                Header::EndOfChunks => {
                    src.advance(len);
                    return Ok(Some(self.message.split().freeze()));
                }
                Header::Size(size) => {
                    if size > self.max_chunk {
                        return Err(FramingError::ChunkTooLong { size, limit: self.max_chunk });
                    }
                    let bytes = usize::try_from(size).unwrap_or(usize::MAX);
                    if bytes > self.max_message - self.message.len().min(self.max_message) {
                        return Err(FramingError::MessageTooLong { limit: self.max_message });
                    }
                    src.advance(len);
                    self.at = At::Chunk(bytes);
                }
            }
        }
    }
}

impl Default for NetconfCodec {
    fn default() -> Self {
        Self::new()
    }
}

/// The header in front of the input and its length; `None` when it is not all there. At most 13 bytes are looked at.
fn parse_header(src: &[u8]) -> Result<Option<(Header, usize)>, FramingError> {
    let wrong = |at: usize, byte: u8| FramingError::Header {
        found: char::from(byte).escape_default().to_string(),
        at,
    };
    for (at, expected) in [b'\n', b'#'].into_iter().enumerate() {
        match src.get(at) {
            None => return Ok(None),
            Some(byte) if *byte != expected => return Err(wrong(at, *byte)),
            Some(_) => {}
        }
    }
    if src.get(2) == Some(&b'#') {
        return match src.get(3) {
            None => Ok(None),
            Some(b'\n') => Ok(Some((Header::EndOfChunks, 4))),
            Some(byte) => Err(wrong(3, *byte)),
        };
    }
    let mut size = 0_u32;
    for (at, byte) in src.iter().enumerate().skip(2) {
        match byte {
            b'\n' if at > 2 => return Ok(Some((Header::Size(size), at + 1))),
            b'0'..=b'9' => {
                let digits = || FramingError::Size {
                    digits: src.get(2..=at).unwrap_or_default().escape_ascii().to_string(),
                };
                if at == 2 && *byte == b'0' {
                    return Err(digits());
                }
                let next = size.checked_mul(10).and_then(|size| size.checked_add(u32::from(byte - b'0')));
                size = next.ok_or_else(digits)?;
            }
            byte => return Err(wrong(at, *byte)),
        }
    }
    Ok(None)
}

impl Decoder for NetconfCodec {
    type Item = Bytes;
    type Error = FramingError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        match self.framing {
            Framing::EndOfMessage => self.decode_to_the_end(src),
            Framing::Chunked => self.decode_chunks(src),
        }
    }

    /// White space behind the last message is no message.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        if let Some(message) = self.decode(src)? {
            return Ok(Some(message));
        }
        if self.at == At::Header && self.message.is_empty() && src.trim_ascii().is_empty() {
            src.clear();
            return Ok(None);
        }
        Err(FramingError::Truncated { bytes: self.message.len() + src.len() })
    }
}

impl<M: AsRef<[u8]>> Encoder<M> for NetconfCodec {
    type Error = FramingError;

    fn encode(&mut self, message: M, out: &mut BytesMut) -> Result<(), FramingError> {
        let message = message.as_ref();
        if message.is_empty() {
            return Err(FramingError::Empty);
        }
        match self.framing {
            Framing::EndOfMessage => {
                let start = out.len();
                out.reserve(message.len() + END.len());
                out.put_slice(message);
                out.put_slice(END);
                // Also where the end of the message and its mark make one together: `]]>` + `]]>]]>`.
                let found = memmem::find(out.get(start..).unwrap_or_default(), END);
                if let Some(at) = found.filter(|at| *at < message.len()) {
                    out.truncate(start);
                    return Err(FramingError::EndInMessage { at });
                }
            }
            Framing::Chunked => {
                out.reserve(message.len() + 16 * (message.len() / OUR_CHUNK + 2));
                for chunk in message.chunks(OUR_CHUNK) {
                    // Writing to memory does not fail.
                    let _ = write!(out, "\n#{}\n", chunk.len());
                    out.put_slice(chunk);
                }
                out.put_slice(b"\n##\n");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
