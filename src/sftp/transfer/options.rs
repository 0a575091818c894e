//! How files are transferred.

use std::fmt;
use std::sync::Arc;

use super::report::Progress;
use crate::error::ConfigError;

pub(super) type Watcher = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What is done about symbolic links within a tree. One that is named as the whole is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// They are left out, and counted.
    #[default]
    Skip,
    /// What they lead to is taken in their place. One that leads up is followed until the tree is too deep.
    Follow,
}

/// How [`SftpClient::download`](crate::sftp::SftpClient::download) and
/// [`upload`](crate::sftp::SftpClient::upload) work.
///
/// | option | default |
/// |---|---|
/// | `recursive` | no |
/// | `resume` | no: files are written anew |
/// | `preserve` | no |
/// | `sync` | no |
/// | `keep_going` | no: the first error ends it |
/// | `symlinks` | [`Symlinks::Skip`] |
/// | `files_at_once` | 8 |
/// | `in_flight` | 4 MiB |
/// | `most_entries` | 10,000,000 |
#[derive(Clone)]
pub struct Transfer {
    pub(super) recursive: bool,
    pub(super) resume: bool,
    pub(super) preserve: bool,
    pub(super) sync: bool,
    pub(super) keep_going: bool,
    pub(super) symlinks: Symlinks,
    pub(super) files_at_once: usize,
    pub(super) in_flight: usize,
    pub(super) most_entries: u64,
    pub(super) watcher: Option<Watcher>,
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("recursive", &self.recursive)
            .field("resume", &self.resume)
            .field("preserve", &self.preserve)
            .field("files_at_once", &self.files_at_once)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl Default for Transfer {
    fn default() -> Self {
        Self::new()
    }
}

impl Transfer {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            recursive: false,
            resume: false,
            preserve: false,
            sync: false,
            keep_going: false,
            symlinks: Symlinks::Skip,
            files_at_once: 8,
            in_flight: 4 << 20,
            most_entries: 10_000_000,
            watcher: None,
        }
    }

    /// Sets whether directories are taken with all that is below them.
    #[must_use]
    pub const fn recursive(mut self, yes: bool) -> Self {
        self.recursive = yes;
        self
    }

    /// Sets whether what is there already is kept: a file goes on behind it if it is not longer than the whole and its
    /// last 64 KiB are the same; otherwise it is written anew.
    #[must_use]
    pub const fn resume(mut self, yes: bool) -> Self {
        self.resume = yes;
        self
    }

    /// Sets whether permissions and times are carried over, after everything else. Set-user-id, set-group-id and sticky
    /// bits never are. Without it, new files have the permissions of the original less the umask.
    #[must_use]
    pub const fn preserve(mut self, yes: bool) -> Self {
        self.preserve = yes;
        self
    }

    /// Sets whether each file is on the disk before it counts as done (`fsync@openssh.com` for uploads).
    #[must_use]
    pub const fn sync(mut self, yes: bool) -> Self {
        self.sync = yes;
        self
    }

    /// Sets whether one file's error is noted in the report and the others go on.
    #[must_use]
    pub const fn keep_going(mut self, yes: bool) -> Self {
        self.keep_going = yes;
        self
    }

    /// Sets what is done about symbolic links in a tree.
    #[must_use]
    pub const fn symlinks(mut self, policy: Symlinks) -> Self {
        self.symlinks = policy;
        self
    }

    /// Sets how many files are at work at a time.
    #[must_use]
    pub const fn files_at_once(mut self, files: usize) -> Self {
        self.files_at_once = files;
        self
    }

    /// Sets how many bytes of all its files a transfer asks for, or has sent and not seen confirmed, at a time. That is
    /// the memory it takes. At least one request is always made. More than the windows of the channel, 2 MiB each way
    /// with OpenSSH and this crate's defaults, helps only to bridge what the disks do.
    #[must_use]
    pub const fn in_flight(mut self, bytes: usize) -> Self {
        self.in_flight = bytes;
        self
    }

    /// Sets how many names below a directory are taken before it is given up as endless.
    #[must_use]
    pub const fn most_entries(mut self, names: u64) -> Self {
        self.most_entries = names;
        self
    }

    /// Sets who is told how far it has come: for each file when it begins, whenever more of it is where it belongs
    /// (confirmed by the server, or written here), and when it is done. It is called in the transfer's own task and must
    /// not block.
    #[must_use]
    pub fn on_progress(mut self, watcher: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.watcher = Some(Arc::new(watcher));
        self
    }

    /// Looks for values that cannot be.
    ///
    /// # Errors
    /// The field, what is wrong, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.files_at_once == 0 {
            return Err(ConfigError::new("files_at_once", "no file at all", "give at least 1"));
        }
        if u32::try_from(self.in_flight).is_err() {
            return Err(ConfigError::new("in_flight", "4 GiB or more", "give less; 4 MiB are plenty"));
        }
        Ok(())
    }
}
