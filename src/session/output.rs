//! What a command has left behind when it is done.

use std::borrow::Cow;
use std::fmt;

use crate::wire::request::ExitStatus;

/// How a command ended, and what was captured of its output.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Captured standard output; empty for streams that were not captured.
    pub stdout: Vec<u8>,
    /// Captured standard error.
    pub stderr: Vec<u8>,
    /// Bytes of standard output beyond the cap, which were dropped.
    pub stdout_lost: u64,
    /// Bytes of standard error beyond the cap, which were dropped.
    pub stderr_lost: u64,
}

impl Output {
    /// Whether the command exited by itself with status 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        self.status.success()
    }

    /// Whether a cap was reached and output was dropped.
    #[must_use]
    pub const fn truncated(&self) -> bool {
        self.stdout_lost > 0 || self.stderr_lost > 0
    }

    /// Standard output as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn stdout_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Standard error as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn stderr_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

impl Default for Output {
    /// Nothing captured, no status.
    fn default() -> Self {
        Self {
            status: ExitStatus::Missing,
            stdout: Vec::new(),
            stderr: Vec::new(),
            stdout_lost: 0,
            stderr_lost: 0,
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("status", &self.status)
            .field("stdout", &format_args!("\"{}\"", self.stdout.escape_ascii()))
            .field("stderr", &format_args!("\"{}\"", self.stderr.escape_ascii()))
            .field("stdout_lost", &self.stdout_lost)
            .field("stderr_lost", &self.stderr_lost)
            .finish()
    }
}
