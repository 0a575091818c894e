//! What a user can choose.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::channel::SftpChannel;
use super::tally::{SftpCounters, Tally};
use crate::ServerChannel;
use crate::error::ConfigError;

/// A packet every client may send: 32 KiB of data, and what goes around it.
const LEAST_PACKET: u32 = 34_000;
const MOST_PACKET: u32 = 1 << 20;

/// The subsystem `sftp`, served from one directory (version 3 of the protocol, as OpenSSH speaks it).
///
/// ```no_run
/// use ractor_ssh::{Router, Sftp};
///
/// let everybody = Router::new().sftp(Sftp::new("/srv/files"));
///
/// // A directory for each user, to write into; the counters are those of all together.
/// let sftp = Sftp::new("/srv/guests").read_only(false);
/// let watched = sftp.clone();
/// let each = Router::new().subsystem("sftp", move |request| {
///     let name = if request.user == "alice" { "alice" } else { "guests" };
///     sftp.clone().with_root(format!("/srv/{name}")).channel()
/// });
/// println!("{:?}", watched.counters());
/// ```
///
/// # What clients see
///
/// The directory is their `/`. Without a `/` in front a name starts in the [start directory](Self::start_directory).
/// `..` in a name takes away the name before it, whatever that is, and nothing at the root. Names are UTF-8; what is
/// none is listed with replacement characters, and cannot be opened.
///
/// Done are all requests of version 3, and OpenSSH's extensions `posix-rename`, `hardlink` (of regular files), `fsync`,
/// `statvfs`, `fstatvfs` and `limits`. `rename` replaces nothing; where the system cannot promise that in one step, it
/// is looked at before. Not done: owners and groups (refused), extended attributes (passed over), and further
/// extensions (`lsetstat`, `expand-path`, `copy-data`, ...; answered with `SSH_FX_OP_UNSUPPORTED`). Everything belongs
/// to the user the daemon runs as. Set-user-ID and set-group-ID bits are never added to a file. Only regular files and
/// directories can be opened, so that a FIFO holds nobody up.
///
/// `scp` of OpenSSH 9 and later works, as it speaks SFTP; the older protocol (`scp -O`) is a command, not this.
///
/// # The walls
///
/// Every name is resolved by the system below the directory, which is held open (`openat2` with `RESOLVE_BENEATH` on
/// Linux; elsewhere each part by itself): a link, also one that is put in place at the very moment, never leads out.
/// Links to absolute names, and to names above the directory, are not followed, not read and not made. A link that
/// comes to point outside because its directory was moved is not followed either; for other programs it leads there.
/// What is mounted below the directory, or hard-linked into it, belongs to it.
///
/// # Limits
///
/// A session never holds more than [`max_handles`](Self::max_handles) files open. What a client sends is held up, as
/// on any channel, until it has been served; what it does not read is bounded by the channel's outbound mark
/// (1 MiB by default) and 1.5 MiB. Requests are served one after another, in order, in tokio's pool for blocking
/// calls; an idle session has no thread. A packet above the cap, or one that cannot be read, ends the channel. What the limits
/// refuse is [counted](Self::counters); clones count together.
#[derive(Debug, Clone)]
#[must_use]
pub struct Sftp {
    settings: Arc<Settings>,
}

/// The values.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) root: PathBuf,
    pub(super) start: String,
    pub(super) read_only: bool,
    pub(super) max_handles: usize,
    pub(super) max_path: usize,
    pub(super) max_packet: u32,
    pub(super) tally: Arc<Tally>,
}

impl Sftp {
    /// Serves what is in this directory and below. It is opened anew for each session; a relative name is relative to
    /// the working directory of the process.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let settings = Settings {
            root: root.into(),
            start: String::new(),
            read_only: true,
            max_handles: 128,
            max_path: 4096,
            max_packet: 256 << 10,
            tally: Arc::default(),
        };
        Self { settings: Arc::new(settings) }
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    /// Serves another directory, with everything else as it was and the same counters.
    pub fn with_root(self, root: impl Into<PathBuf>) -> Self {
        self.set(|settings| settings.root = root.into())
    }

    /// Whether everything that changes a file or directory is refused (`SSH_FX_PERMISSION_DENIED`). Default: yes.
    pub fn read_only(self, yes: bool) -> Self {
        self.set(|settings| settings.read_only = yes)
    }

    /// Sets where names without a `/` in front start, as a name below the root. It need not exist. Default: the root.
    pub fn start_directory(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.start = name.into())
    }

    /// Sets how many files and directories a session may have open; further opens fail. Default 128.
    pub fn max_handles(self, limit: usize) -> Self {
        self.set(|settings| settings.max_handles = limit)
    }

    /// Sets how long a name may be, in bytes; requests with a longer one fail. Default 4,096.
    pub fn max_path(self, bytes: usize) -> Self {
        self.set(|settings| settings.max_path = bytes)
    }

    /// Sets how long a packet of the client may be, in bytes without its length field; a longer one ends the channel.
    /// Reads give up to 1,024 bytes less. Default 256 KiB.
    ///
    /// A packet counts against the receive budget of its channel until it has been served, so it should be a fraction
    /// of that.
    pub fn max_packet(self, bytes: u32) -> Self {
        self.set(|settings| settings.max_packet = bytes)
    }

    /// The directory served.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.settings.root
    }

    /// What the limits refused so far in the sessions of this one and of its clones, with other values too.
    #[must_use]
    pub fn counters(&self) -> SftpCounters {
        self.settings.tally.counters()
    }

    /// Looks at every value, and at the directory; a daemon with [`Router::sftp`](crate::Router::sftp) does so when it
    /// starts. For a session with values that cannot work, the channel is closed and the reason is logged.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.settings.check_values()?;
        let root = &self.settings.root;
        let problem = match std::fs::metadata(root) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => format!("{} is no directory", root.display()),
            Err(error) => format!("{} cannot be looked at: {error}", root.display()),
        };
        Err(ConfigError::new("root", problem, "give a directory that exists and can be read"))
    }

    /// The behaviour for one channel: what a route of [`Router::subsystem`](crate::Router::subsystem) returns. Touches
    /// no file; the directory is opened when the channel starts.
    #[must_use]
    pub fn channel(&self) -> impl ServerChannel + use<> {
        SftpChannel::new(Arc::clone(&self.settings))
    }
}

impl Settings {
    pub(super) fn check_values(&self) -> Result<(), ConfigError> {
        if self.max_handles == 0 {
            return Err(ConfigError::new("max_handles", "is 0: nothing could be opened", "give at least 1"));
        }
        if self.max_path == 0 {
            return Err(ConfigError::new("max_path", "is 0: no name would do", "give at least 1"));
        }
        if !(LEAST_PACKET..=MOST_PACKET).contains(&self.max_packet) {
            return Err(ConfigError::new(
                "max_packet",
                format!("is {}", self.max_packet),
                "give 34,000, which clients may rely on, to 1,048,576 bytes",
            ));
        }
        Ok(())
    }

    /// How much one read gives, and one write may bring.
    pub(super) const fn max_data(&self) -> u32 {
        self.max_packet.saturating_sub(1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(sftp: &Sftp) -> String {
        sftp.check().unwrap_err().field
    }

    #[test]
    fn the_first_wrong_value_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let sftp = Sftp::new(directory.path());
        assert!(sftp.check().is_ok());
        assert_eq!(field(&sftp.clone().max_handles(0)), "max_handles");
        assert_eq!(field(&sftp.clone().max_path(0)), "max_path");
        assert_eq!(field(&sftp.clone().max_packet(33_999)), "max_packet");
        assert_eq!(field(&sftp.max_packet(u32::MAX)), "max_packet");
        assert_eq!(field(&Sftp::new(directory.path().join("none"))), "root");
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(field(&Sftp::new(file)), "root");
    }
}
