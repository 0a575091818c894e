//! What is told of the hosts. Plain values.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::session::CommandError;
use crate::wire::request::ExitStatus;

/// Something that happened on one host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostEvent {
    /// Which host, counted from 0 in the order in which they were given.
    pub host: usize,
    /// What it is called.
    pub label: Arc<str>,
    /// What happened.
    pub kind: HostEventKind,
}

/// What happened on a host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HostEventKind {
    /// The server has confirmed the start of the command.
    Started,
    /// A line of its output, without its end, or a piece as it came: see [`FanOut::pieces`](super::FanOut::pieces).
    Stdout(Bytes),
    /// The same of its error output.
    Stderr(Bytes),
    /// What became of it. The last event of every host, also of those that were not started.
    Finished(HostOutcome),
}

/// What became of a host's command.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HostOutcome {
    /// It ran to its end. Its status may be a failure.
    Finished(ExitStatus),
    /// It was not started, was cut off, or took longer than the deadline.
    Failed(CommandError),
    /// Another host had failed, and this one was given up: its channel was closed.
    Cancelled {
        /// Whether the server had confirmed the start.
        started: bool,
    },
    /// What ran here for it has panicked: a dialler, a credentials provider, a writer that was given to the command. Its
    /// channel was closed.
    Panicked {
        /// Whether the server had confirmed the start.
        started: bool,
        /// What the panic said.
        why: Arc<str>,
    },
    /// Another host had failed before it was this one's turn. Nothing was sent.
    NotStarted,
}

impl HostOutcome {
    /// Whether the command ran to its end with status 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        matches!(self, Self::Finished(status) if status.success())
    }
}

impl fmt::Display for HostOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished(status) => status.fmt(f),
            Self::Failed(error) => error.fmt(f),
            Self::Cancelled { started: true } => f.write_str("cancelled while it ran"),
            Self::Cancelled { started: false } => f.write_str("cancelled before it was started"),
            Self::Panicked { started: true, why } => write!(f, "panicked while the command ran: {why}"),
            Self::Panicked { started: false, why } => {
                write!(f, "panicked before the command was started: {why}")
            }
            Self::NotStarted => f.write_str("not started"),
        }
    }
}

/// What became of one host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostReport {
    /// What it is called.
    pub label: Arc<str>,
    /// What became of its command.
    pub outcome: HostOutcome,
}

impl HostReport {
    /// Whether the command ran to its end with status 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        self.outcome.success()
    }
}

/// What one host has said, and what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostOutput {
    /// What it is called.
    pub label: Arc<str>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its error output.
    pub stderr: Vec<u8>,
    /// How many bytes of both there was no room for.
    pub lost: u64,
    /// What became of its command.
    pub outcome: HostOutcome,
}
