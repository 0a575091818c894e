//! How a dialogue is led: choices with defaults.

use std::fmt;
use std::time::Duration;

use super::transcript::{Entry, Transcript};
use crate::error::ConfigError;

/// How a dialogue is led.
///
/// | | default |
/// |---|---|
/// | [`deadline`](Self::deadline) of a step | 30 s |
/// | [`buffer`](Self::buffer) for what matched nothing yet | 1 MiB |
/// | [`line_end`](Self::line_end) of what is sent | LF |
/// | [`strip_escapes`](Self::strip_escapes) | no |
/// | [`transcript`](Self::transcript) | none |
#[must_use]
pub struct DialogOptions {
    pub(super) deadline: Duration,
    pub(super) buffer: usize,
    pub(super) line_end: LineEnd,
    pub(super) strip_escapes: bool,
    pub(super) transcript: Transcript,
}

impl DialogOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            buffer: 1 << 20,
            line_end: LineEnd::Lf,
            strip_escapes: false,
            transcript: Transcript::default(),
        }
    }

    /// How long a step may take that is given no deadline of its own. Default 30 s.
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// How many bytes are held that have come and that no match has consumed. Default 1 MiB.
    ///
    /// When so many are there without a match, the step fails with
    /// [`BufferFull`](super::ExpectError::BufferFull). No more is taken from the channel: its receive credit is
    /// withheld, as of any reader that does not read.
    pub const fn buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes;
        self
    }

    /// What [`send_line`](super::Dialog::send_line) sends behind the line. Default LF.
    pub const fn line_end(mut self, end: LineEnd) -> Self {
        self.line_end = end;
        self
    }

    /// Whether escape sequences (colours, titles, cursor movements) are left out before anything is searched. Default
    /// no. Everything else goes through as it came. The transcript has them always.
    ///
    /// They are left out, not obeyed: what a full-screen program draws does not become lines by it. Programs send fewer
    /// to a terminal of type `dumb`: `PtyRequest::new("dumb")`.
    pub const fn strip_escapes(mut self, yes: bool) -> Self {
        self.strip_escapes = yes;
        self
    }

    /// Keeps a transcript of the last `bytes` bytes, for [`Dialog::transcript`](super::Dialog::transcript). Each entry
    /// counts 64 bytes on top; of one that is longer than all of it, the end is kept.
    pub const fn transcript(mut self, bytes: usize) -> Self {
        self.transcript.limit = bytes;
        self
    }

    /// Calls a function with each entry of the transcript, as it is made: to write it to a file, say.
    ///
    /// It is called in the middle of a step, and must not wait: what takes long is handed to somebody else, through
    /// a bounded channel for instance.
    pub fn on_transcript(mut self, tell: impl FnMut(&Entry) + Send + 'static) -> Self {
        self.transcript.tell = Some(Box::new(tell));
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.buffer == 0 {
            return Err(ConfigError::new("buffer", "is 0", "give room for the longest answer, in bytes"));
        }
        if self.deadline.is_zero() {
            return Err(ConfigError::new("deadline", "is 0", "give the time an answer may take"));
        }
        Ok(())
    }
}

impl Default for DialogOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DialogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialogOptions")
            .field("deadline", &self.deadline)
            .field("buffer", &self.buffer)
            .field("line_end", &self.line_end)
            .field("strip_escapes", &self.strip_escapes)
            .finish_non_exhaustive()
    }
}

/// What ends a line that is sent.
///
/// A terminal in line mode takes each of them for the end of a line and shows CR LF. What is received is never changed:
/// programs on a terminal answer with CR LF, those without one as they like, so that `\r?\n` is the pattern for a line's
/// end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LineEnd {
    /// `\n`: programs with and without a terminal understand it.
    #[default]
    Lf,
    /// `\r`: what the Enter key sends. Full-screen programs and some devices want it.
    Cr,
    /// `\r\n`: devices with the manners of Telnet want it.
    CrLf,
}

impl LineEnd {
    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::Cr => b"\r",
            Self::CrLf => b"\r\n",
        }
    }
}
