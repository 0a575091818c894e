//! Where a command's input comes from and where its output goes: choices only, nothing happens here.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use tokio::io::AsyncRead;

/// What [`Command::output`](super::Command::output) keeps of each stream unless told otherwise: 16 MiB.
pub(super) const DEFAULT_CAPTURE: usize = 16 << 20;

/// What a piped stream keeps while nobody reads it and something else must not wait for it: 1 MiB.
pub(super) const DEFAULT_UNREAD: usize = 1 << 20;

/// Where a command's standard input comes from.
#[derive(Debug)]
pub struct Stdin(pub(super) Input);

pub(super) enum Input {
    Null,
    Bytes(Bytes),
    Reader(Pin<Box<dyn AsyncRead + Send>>),
    Piped,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bytes(_) => "Bytes",
            Self::Reader(_) => "Reader",
            Self::Piped => "Piped",
        })
    }
}

impl Stdin {
    /// None: the command sees the end of its input at once.
    #[must_use]
    pub const fn null() -> Self {
        Self(Input::Null)
    }

    /// These bytes, then the end.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Input::Bytes(bytes.into()))
    }

    /// Everything this reader gives, then the end. Read in a task of its own, as fast as the command takes it.
    ///
    /// If reading fails, the channel is closed without an end of input, and the command's result is
    /// [`CommandError::Stdin`](super::CommandError::Stdin). When the command ends first, the reader is dropped.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self(Input::Reader(Box::pin(reader)))
    }

    /// What is written to [`Child::stdin`](super::Child::stdin).
    #[must_use]
    pub const fn piped() -> Self {
        Self(Input::Piped)
    }
}

/// Where one of a command's output streams goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stdio(pub(super) Target);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Piped,
    Captured { cap: usize },
    Null,
    Inherit,
}

impl Stdio {
    /// To a half of the [`Child`](super::Child), to be read while the command runs.
    #[must_use]
    pub const fn piped() -> Self {
        Self(Target::Piped)
    }

    /// Into memory, for [`Output`](super::Output). What comes after the first `cap` bytes is counted and dropped:
    /// the command never waits.
    #[must_use]
    pub const fn captured(cap: usize) -> Self {
        Self(Target::Captured { cap })
    }

    /// Nowhere: received and dropped, so that the command never waits.
    #[must_use]
    pub const fn null() -> Self {
        Self(Target::Null)
    }

    /// To the same stream of this process. The command waits when that one does.
    #[must_use]
    pub const fn inherit() -> Self {
        Self(Target::Inherit)
    }
}
