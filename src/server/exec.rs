//! The answer of a command that is a function: what it has to say, all at once.

use bytes::Bytes;

/// What a command has to say: its output and its exit status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct ExecOutput {
    /// Standard output.
    pub stdout: Bytes,
    /// Standard error.
    pub stderr: Bytes,
    /// The exit status; 0 is success.
    pub status: u32,
}

impl ExecOutput {
    /// No output, and this status.
    pub const fn status(status: u32) -> Self {
        Self { stdout: Bytes::new(), stderr: Bytes::new(), status }
    }

    /// This output, and status 0.
    pub fn ok(stdout: impl Into<Bytes>) -> Self {
        Self { stdout: stdout.into(), ..Self::default() }
    }

    /// This on standard error, and this status.
    pub fn fail(status: u32, stderr: impl Into<Bytes>) -> Self {
        Self { stderr: stderr.into(), status, ..Self::default() }
    }
}
