//! Which known_hosts files are read, and how.
//!
//! Owns paths and options. Knows nothing of the files' content.

use std::path::{Path, PathBuf};

use super::error::HostKeyError;

/// OpenSSH's files for all users.
const GLOBAL: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
/// OpenSSH's files of one user, below the home directory.
const USER: [&str; 2] = [".ssh/known_hosts", ".ssh/known_hosts2"];

/// Which known_hosts files are read, in order, and how.
///
/// The default is OpenSSH's: `~/.ssh/known_hosts`, `~/.ssh/known_hosts2`,
/// `/etc/ssh/ssh_known_hosts` and `/etc/ssh/ssh_known_hosts2`. Files that do not exist are empty.
#[derive(Debug, Clone)]
pub struct KnownHostsFiles {
    paths: Vec<PathBuf>,
    pub(super) hash_names: bool,
    pub(super) refuse_malformed: bool,
}

impl Default for KnownHostsFiles {
    fn default() -> Self {
        let home = std::env::home_dir();
        let user = home.iter().flat_map(|home| USER.iter().map(move |file| home.join(file)));
        Self::new(user.chain(GLOBAL.iter().map(PathBuf::from)))
    }
}

impl KnownHostsFiles {
    /// These files only. The first is the one that new keys are written to.
    pub fn new<P: Into<PathBuf>>(files: impl IntoIterator<Item = P>) -> Self {
        Self {
            paths: files.into_iter().map(Into::into).collect(),
            hash_names: false,
            refuse_malformed: false,
        }
    }

    /// Hashes the names of new hosts, as `HashKnownHosts yes` does. Without it they are hashed if
    /// the file has a hashed name already.
    #[must_use]
    pub const fn hash_names(mut self, hash: bool) -> Self {
        self.hash_names = hash;
        self
    }

    /// Fails if any line of any file is malformed, instead of warning and going on.
    #[must_use]
    pub const fn refuse_malformed(mut self, refuse: bool) -> Self {
        self.refuse_malformed = refuse;
        self
    }

    /// The files, in order.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The file that new keys are written to.
    pub(super) fn writable(&self) -> Option<&Path> {
        self.paths.first().map(PathBuf::as_path)
    }
}

/// Runs file access on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostKeyError> + Send + 'static,
) -> Result<T, HostKeyError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The runtime is shutting down.
        Err(e) => Err(HostKeyError::io("access", Path::new("known_hosts"), std::io::Error::other(e))),
    }
}
