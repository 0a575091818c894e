//! Why a dialogue did not go on.

use std::time::Duration;

use super::found::Tail;
use crate::error::{ConfigError, RequestError, SendError};
use crate::session::CommandError;
use crate::wire::request::ExitStatus;

/// Why a step of a dialogue failed. What has come stays in the dialogue, whatever the error: the next step finds it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExpectError {
    /// A wrong argument; nothing was sent or consumed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was waited for did not come in time.
    #[error("no {waited_for} within {after:?}; {seen}")]
    Timeout {
        /// What was waited for: the patterns, or what else it was.
        waited_for: Box<str>,
        /// The deadline.
        after: Duration,
        /// The last of what came instead.
        seen: Tail,
    },
    /// The other end has closed the channel, and what was waited for did not come.
    #[error("the channel ended ({status}) before {waited_for}; {seen}")]
    Closed {
        /// What was waited for.
        waited_for: Box<str>,
        /// How the program at the other end ended, if that was told in time.
        status: ExitStatus,
        /// The last of what came.
        seen: Tail,
    },
    /// The channel was lost: with its connection, or because of something on our side.
    #[error("the channel was lost before {waited_for}: {error}; {seen}")]
    Lost {
        /// What was waited for.
        waited_for: Box<str>,
        /// What happened.
        #[source]
        error: Box<CommandError>,
        /// The last of what came.
        seen: Tail,
    },
    /// As much as the dialogue holds has come without what was waited for. Nothing is lost, and nothing more is taken
    /// from the channel: [`Dialog::take`](super::Dialog::take) makes room.
    #[error(
        "the buffer of {limit} bytes is full without {waited_for}; make room with `take`, or give a larger `buffer`; {seen}"
    )]
    BufferFull {
        /// What was waited for.
        waited_for: Box<str>,
        /// The budget, [`DialogOptions::buffer`](super::DialogOptions::buffer).
        limit: usize,
        /// The last of what came.
        seen: Tail,
    },
    /// Input could not be sent: the channel is closed.
    #[error("not sent: {0}")]
    Send(#[source] SendError),
    /// Something else could not be asked of the channel.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Two answers to an empty line were not the same, so that there is no telling the prompt.
    #[error("the prompt differs from one time to the next: \"{}\", then \"{}\"", first.escape_ascii(), second.escape_ascii())]
    NoPrompt {
        /// The last line of the first answer.
        first: Vec<u8>,
        /// The last line of the second answer.
        second: Vec<u8>,
    },
    /// The last command of the shell has not ended. [`PosixShell::finish`](super::PosixShell::finish) waits for it,
    /// [`PosixShell::interrupt`](super::PosixShell::interrupt) ends it.
    #[error("the last command has not ended; wait for it with `finish`, or end it with `interrupt`")]
    Busy,
}

impl ExpectError {
    /// Whether it was only too late.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// The last of what came and matched nothing, where that is known.
    #[must_use]
    pub const fn seen(&self) -> Option<&Tail> {
        match self {
            Self::Timeout { seen, .. }
            | Self::Closed { seen, .. }
            | Self::Lost { seen, .. }
            | Self::BufferFull { seen, .. } => Some(seen),
            _ => None,
        }
    }
}
