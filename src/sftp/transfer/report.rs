//! How far a transfer has come, and what has become of it.

use std::sync::Arc;

use crate::sftp::error::SftpError;

/// How far a transfer has come; see [`Transfer::on_progress`](super::Transfer::on_progress).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// The remote file that this is about, as text that can be shown.
    pub path: Arc<str>,
    /// How many of its bytes are where they belong, with those that were there before.
    pub at: u64,
    /// Its size, as far as known; 0 if not.
    pub size: u64,
    /// It is done.
    pub finished: bool,
    /// The bytes of all files that were moved so far.
    pub all_bytes: u64,
    /// How many files are done.
    pub all_files: u64,
}

/// What has become of a transfer.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TransferReport {
    /// Files that are done.
    pub files: u64,
    /// Directories that were made or found.
    pub directories: u64,
    /// Bytes that were moved.
    pub bytes: u64,
    /// Bytes that were there already and kept.
    pub resumed: u64,
    /// How many names were left out: links, devices and the like.
    pub skipped: u64,
    /// The first 1,000 of them, as text that can be shown.
    pub skipped_names: Vec<String>,
    /// How much failed, where it [kept going](super::Transfer::keep_going).
    pub failed: u64,
    /// The first 1,000 errors.
    pub errors: Vec<SftpError>,
}

/// How many names and errors are kept.
const LISTED: usize = 1000;

impl TransferReport {
    pub(super) fn skip(&mut self, name: String) {
        self.skipped += 1;
        if self.skipped_names.len() < LISTED {
            self.skipped_names.push(name);
        }
    }

    pub(super) fn fail(&mut self, error: SftpError) {
        self.failed += 1;
        if self.errors.len() < LISTED {
            self.errors.push(error);
        }
    }
}
