//! The content of known_hosts files: entries, and lines that cannot be read.
//!
//! Owns the order of lines and looking them up by name. Does not decide (see `check`), and writes
//! no file (see `append`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{KnownHostsEntry, KnownHostsLine, KnownHostsProblem, parse_line};
use super::error::HostKeyError;
use super::names::Host;

/// What one or more known_hosts files say.
///
/// Reading never fails because of a malformed line: the line is kept as a
/// [problem](Self::problems), and the others count.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    entries: Vec<KnownHostsEntry>,
    problems: Vec<KnownHostsProblem>,
}

impl KnownHosts {
    /// Reads the content of a file; `file` is its name in errors.
    #[must_use]
    pub fn parse(file: impl AsRef<Path>, content: &[u8]) -> Self {
        let mut known = Self::default();
        known.add(file.as_ref(), content);
        known
    }

    /// Reads files one after the other, on a blocking thread. A file that does not exist is empty.
    ///
    /// # Errors
    /// [`HostKeyError::Io`] if a file exists and cannot be read.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is changed.
    pub async fn load<P: Into<PathBuf>>(files: impl IntoIterator<Item = P>) -> Result<Self, HostKeyError> {
        let files: Vec<PathBuf> = files.into_iter().map(Into::into).collect();
        super::files::blocking(move || Self::load_now(&files)).await
    }

    /// As [`KnownHosts::load`], on this thread.
    pub(super) fn load_now(files: &[PathBuf]) -> Result<Self, HostKeyError> {
        let mut known = Self::default();
        for file in files {
            match std::fs::read(file) {
                Ok(content) => known.add(file, &content),
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(HostKeyError::io("read", file, e)),
            }
        }
        Ok(known)
    }

    fn add(&mut self, file: &Path, content: &[u8]) {
        let file: Arc<Path> = Arc::from(file);
        for (line, number) in content.split(|byte| *byte == b'\n').zip(1..) {
            match parse_line(KnownHostsLine { file: Arc::clone(&file), line: number }, line) {
                Ok(entry) => self.entries.extend(entry),
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    /// The readable lines, in order.
    #[must_use]
    pub fn entries(&self) -> &[KnownHostsEntry] {
        &self.entries
    }

    /// The lines that cannot be read, in order.
    #[must_use]
    pub fn problems(&self) -> &[KnownHostsProblem] {
        &self.problems
    }

    /// The lines about `name`, written `host`, or `[host]:port` if the port is not 22: what
    /// `ssh-keygen -F name` finds.
    pub fn find(&self, name: &str) -> impl Iterator<Item = &KnownHostsEntry> {
        self.entries.iter().filter(move |entry| entry.matches(name))
    }

    /// The first line that might revoke a key of the host, and cannot be read.
    pub(super) fn unreadable_revocation(&self, host: &Host) -> Option<&KnownHostsProblem> {
        let name = host.name();
        self.problems.iter().find(|problem| {
            problem.may_revoke_for(&name) || host.fallback().is_some_and(|bare| problem.may_revoke_for(bare))
        })
    }
}

fn is_absent(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
