//! What is known of a file: size, owner, permissions, times (draft-ietf-secsh-filexfer-02 section 5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BufMut;

use super::error::SftpErrorKind;
use super::wire::Fields;

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Something else: a device, a pipe, a socket.
    Other,
    /// The server did not say.
    Unknown,
}

/// Attributes of a file: what a server tells of one, or what is to be changed. A value that is absent was not told, and
/// is left as it is.
///
/// ```
/// use ractor_ssh::sftp::Attributes;
///
/// let private = Attributes::new().permissions(0o600);
/// assert_eq!(private.permissions, Some(0o600));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// Size in bytes.
    pub size: Option<u64>,
    /// Number of the owner and of the group.
    pub owner: Option<(u32, u32)>,
    /// Unix mode: the permissions, and what [`kind`](Self::kind) reads.
    pub permissions: Option<u32>,
    /// When it was last read, and when last changed, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

impl Attributes {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: None, owner: None, permissions: None, times: None }
    }

    /// Sets the size; shorter cuts, longer fills with zeros.
    #[must_use]
    pub const fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Sets the numbers of owner and group.
    #[must_use]
    pub const fn owner(mut self, user: u32, group: u32) -> Self {
        self.owner = Some((user, group));
        self
    }

    /// Sets the permissions, as of `chmod`.
    #[must_use]
    pub const fn permissions(mut self, mode: u32) -> Self {
        self.permissions = Some(mode);
        self
    }

    /// Sets when it was last read and last changed. What lies before 1970 or after 2106 becomes the nearest time that
    /// the protocol can say.
    #[must_use]
    pub fn times(mut self, accessed: SystemTime, modified: SystemTime) -> Self {
        self.times = Some((seconds(accessed), seconds(modified)));
        self
    }

    /// When it was last read.
    #[must_use]
    pub fn accessed(&self) -> Option<SystemTime> {
        self.times.map(|(accessed, _)| UNIX_EPOCH + Duration::from_secs(accessed.into()))
    }

    /// When it was last changed.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.times.map(|(_, modified)| UNIX_EPOCH + Duration::from_secs(modified.into()))
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> FileKind {
        match self.permissions {
            None => FileKind::Unknown,
            Some(mode) => match mode & 0o170_000 {
                0 => FileKind::Unknown,
                0o100_000 => FileKind::File,
                0o040_000 => FileKind::Directory,
                0o120_000 => FileKind::Symlink,
                _ => FileKind::Other,
            },
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub const fn is_dir(&self) -> bool {
        matches!(self.kind(), FileKind::Directory)
    }

    pub(super) fn put(&self, to: &mut impl BufMut) {
        let flag = |known: bool, flag| if known { flag } else { 0 };
        to.put_u32(
            flag(self.size.is_some(), SIZE)
                | flag(self.owner.is_some(), OWNER)
                | flag(self.permissions.is_some(), PERMISSIONS)
                | flag(self.times.is_some(), TIMES),
        );
        if let Some(size) = self.size {
            to.put_u64(size);
        }
        for (one, other) in self.owner.into_iter() {
            to.put_u32(one);
            to.put_u32(other);
        }
        if let Some(mode) = self.permissions {
            to.put_u32(mode);
        }
        for (one, other) in self.times.into_iter() {
            to.put_u32(one);
            to.put_u32(other);
        }
    }

    pub(super) fn take(from: &mut Fields) -> Result<Self, SftpErrorKind> {
        let flags = from.u32()?;
        let mut attributes = Self::new();
        if flags & SIZE != 0 {
            attributes.size = Some(from.u64()?);
        }
        if flags & OWNER != 0 {
            attributes.owner = Some((from.u32()?, from.u32()?));
        }
        if flags & PERMISSIONS != 0 {
            attributes.permissions = Some(from.u32()?);
        }
        if flags & TIMES != 0 {
            attributes.times = Some((from.u32()?, from.u32()?));
        }
        if flags & EXTENDED != 0 {
            // Each pair takes bytes of the packet: what the count claims does not matter.
            for _ in 0..from.u32()? {
                let _ = (from.string()?, from.string()?);
            }
        }
        Ok(attributes)
    }
}

fn seconds(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let all = Attributes::new().size(1 << 40).owner(1, 2).permissions(0o100_644).times(time, time);
        for attributes in [Attributes::new(), Attributes::new().permissions(0o755), all] {
            let mut bytes = Vec::new();
            attributes.put(&mut bytes);
            let mut fields = Fields(bytes.into());
            assert_eq!(Attributes::take(&mut fields).unwrap(), attributes);
            assert!(fields.is_empty());
        }
        assert_eq!(all.kind(), FileKind::File);
    }

    #[test]
    fn a_count_of_extended_pairs_is_not_believed() {
        let mut bytes = Vec::new();
        bytes.put_u32(EXTENDED);
        bytes.put_u32(u32::MAX);
        assert!(Attributes::take(&mut Fields(bytes.into())).is_err());
    }
}
