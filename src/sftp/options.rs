//! How a session is kept.

use std::time::Duration;

use crate::error::ConfigError;

/// How an [`SftpClient`](super::SftpClient) works.
///
/// | option | default |
/// |---|---|
/// | `subsystem` | `sftp` |
/// | `timeout` | 30 s |
/// | `read_ahead` | 2 MiB |
/// | `write_behind` | 2 MiB |
/// | `packet_data` | 255 KiB, or less if the server says so |
/// | `most_entries` | 1,000,000 |
#[derive(Debug, Clone)]
pub struct SftpOptions {
    pub(super) subsystem: String,
    pub(super) timeout: Duration,
    pub(super) read_ahead: usize,
    pub(super) write_behind: usize,
    pub(super) packet_data: usize,
    pub(super) most_entries: usize,
}

impl Default for SftpOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SftpOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            subsystem: "sftp".to_owned(),
            timeout: Duration::from_secs(30),
            read_ahead: 2 << 20,
            write_behind: 2 << 20,
            packet_data: 255 << 10,
            most_entries: 1_000_000,
        }
    }

    /// Sets the name of the subsystem.
    #[must_use]
    pub fn subsystem(mut self, name: impl Into<String>) -> Self {
        self.subsystem = name.into();
        self
    }

    /// Sets how long the server may leave a request unanswered without answering any that was made before it. It bounds
    /// the hello and the end of the session, too.
    #[must_use]
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Sets how many bytes a [`RemoteFile`](super::RemoteFile) that is read from the front asks for ahead of its reader,
    /// at most: it begins with one request and asks for more as it is read on.
    #[must_use]
    pub const fn read_ahead(mut self, bytes: usize) -> Self {
        self.read_ahead = bytes;
        self
    }

    /// Sets how many bytes may be written to a [`RemoteFile`](super::RemoteFile) before the server has confirmed them.
    #[must_use]
    pub const fn write_behind(mut self, bytes: usize) -> Self {
        self.write_behind = bytes;
        self
    }

    /// Sets how many bytes one request reads or writes at most, 1 byte to 255 KiB. Servers that do not offer
    /// `limits@openssh.com` get 32 KiB, which all must take.
    #[must_use]
    pub const fn packet_data(mut self, bytes: usize) -> Self {
        self.packet_data = bytes;
        self
    }

    /// Sets how many names are taken from one directory before its listing is given up as endless.
    #[must_use]
    pub const fn most_entries(mut self, names: usize) -> Self {
        self.most_entries = names;
        self
    }

    /// Looks for values that cannot be.
    ///
    /// # Errors
    /// The field, what is wrong, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.packet_data == 0 || self.packet_data > 255 << 10 {
            let problem = format!("{} bytes", self.packet_data);
            return Err(ConfigError::new("packet_data", problem, "give 1 to 261120 (255 KiB)"));
        }
        if self.timeout.is_zero() {
            return Err(ConfigError::new("timeout", "no time at all", "give more than zero"));
        }
        if self.subsystem.is_empty() {
            return Err(ConfigError::new("subsystem", "no name", "give one, usually `sftp`"));
        }
        if self.most_entries == 0 {
            return Err(ConfigError::new("most_entries", "no names at all", "give at least 1"));
        }
        Ok(())
    }
}
