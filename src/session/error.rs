//! Why a command did not end as it should.
//!
//! One enum for all ready-made channels; knows nothing of how they run.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::output::Output;
use crate::error::{CloseReason, ConfigError, OpenError, Origin, RequestError};
use crate::x11::X11Error;

/// Why a command could not be started, or did not come to its end.
///
/// A command that ran and returned something else than 0 is no error: look at its
/// [`ExitStatus`](crate::wire::request::ExitStatus).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// A wrong argument; nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The display cannot be forwarded; nothing was sent.
    #[error("X11 forwarding: {0}")]
    X11(#[source] X11Error),
    /// The channel could not be opened.
    #[error("no channel for the command: {0}")]
    Open(#[source] OpenError),
    /// An environment variable that was required could not be set; the command was not started.
    #[error(
        "environment variable {name}: {error}; have the server accept it (`AcceptEnv` in sshd_config), set it in \
         the command line, or ask for it with `EnvPolicy::BestEffort`"
    )]
    Env {
        /// Its name.
        name: String,
        /// What the server said.
        error: RequestError,
    },
    /// The terminal, the agent, X11, or the start itself, was refused or not answered. The command was not started, unless an
    /// answer to the start is all that was missing.
    #[error("the command was not started: {0}")]
    Request(#[source] RequestError),
    /// The deadline passed. What happened to the remote command is what
    /// [`on_cancel`](super::Command::on_cancel) says; one that the server had not confirmed was hung up.
    #[error("not done after {after:?}")]
    Deadline {
        /// The limit that was reached.
        after: Duration,
        /// What was captured until then.
        partial: Box<Output>,
    },
    /// The channel ended before the command's status and all of its output were here.
    #[error("the channel ended before the command did: {reason}")]
    Interrupted {
        /// Why it ended.
        reason: CloseReason,
        /// What was captured until then.
        partial: Box<Output>,
    },
    /// The reader given as stdin failed. The channel was closed without eof, so that the command cannot take what
    /// came for all there is.
    #[error("reading what should go to stdin failed: {0}")]
    Stdin(#[source] Arc<io::Error>),
    /// Inherited output could not be written to this process's own. The channel was closed.
    #[error("writing the command's {stream} to our own failed: {error}")]
    Inherit {
        /// `stdout` or `stderr`.
        stream: &'static str,
        /// What the write said.
        #[source]
        error: Arc<io::Error>,
    },
}

impl CommandError {
    /// Who caused it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Config(_)
            | Self::X11(_)
            | Self::Stdin(_)
            | Self::Inherit { .. }
            | Self::Deadline { .. } => Origin::Local,
            Self::Open(error) => error.origin(),
            Self::Env { error, .. } | Self::Request(error) => error.origin(),
            Self::Interrupted { reason, .. } => reason.origin(),
        }
    }

    /// Whether the command was certainly not started and starting it again on the same connection may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Open(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether the command may have run, or may still be running: it must not be started again without a look at what
    /// it has done. Nothing in this crate ever starts a command twice.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::Config(_) | Self::X11(_) | Self::Env { .. } => false,
            // `init` sends the request to start, and may have been killed while it waited for the answer.
            Self::Open(error) => matches!(error, OpenError::Init(_)),
            Self::Request(error) => matches!(error, RequestError::Timeout { .. } | RequestError::Closed(_)),
            Self::Deadline { .. } | Self::Interrupted { .. } | Self::Stdin(_) | Self::Inherit { .. } => true,
        }
    }

    /// What was captured before the command was cut off.
    #[must_use]
    pub fn partial(&self) -> Option<&Output> {
        match self {
            Self::Deadline { partial, .. } | Self::Interrupted { partial, .. } => Some(partial),
            _ => None,
        }
    }
}

impl From<CommandError> for io::Error {
    fn from(error: CommandError) -> Self {
        let kind = match &error {
            CommandError::Config(_) => io::ErrorKind::InvalidInput,
            CommandError::Deadline { .. } => io::ErrorKind::TimedOut,
            CommandError::Interrupted { reason, .. } => Self::from(reason.clone()).kind(),
            CommandError::Stdin(source) | CommandError::Inherit { error: source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
