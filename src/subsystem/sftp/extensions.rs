//! OpenSSH's extensions of the protocol (the file PROTOCOL of its sources, section 4).

use bytes::Bytes;
use russh_sftp::de::from_bytes;
use russh_sftp::extensions::{FsyncExtension, HardlinkExtension, LimitsExtension, Statvfs, StatvfsExtension};
use russh_sftp::protocol::{ExtendedReply, Packet, StatusCode};
use russh_sftp::ser::to_bytes;
use rustix::fs::{StatVfs, StatVfsMountFlags, fstatvfs};
use serde::{Deserialize, Serialize};

use super::failure::{Failure, Malformed, Outcome};
use super::open_files::Open;
use super::session::{Session, done};

/// What is offered in SSH_FXP_VERSION, with versions.
pub(super) const EXTENSIONS: [(&str, &str); 6] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("limits@openssh.com", "1"),
];

impl Session {
    pub(super) fn extended(&self, id: u32, request: &str, data: Bytes) -> Result<Outcome<Packet>, Malformed> {
        Ok(match request {
            "posix-rename@openssh.com" => {
                let ask: HardlinkExtension = read(data)?;
                self.rename_over(&ask.oldpath, &ask.newpath).map(done(id))
            }
            "hardlink@openssh.com" => {
                let ask: HardlinkExtension = read(data)?;
                self.make_hard_link(&ask.oldpath, &ask.newpath).map(done(id))
            }
            "fsync@openssh.com" => {
                let ask: FsyncExtension = read(data)?;
                self.fsync(&ask.handle).map(done(id))
            }
            "statvfs@openssh.com" => {
                let ask: StatvfsExtension = read(data)?;
                self.statvfs(&ask.path).and_then(|found| self.file_system(id, &found))
            }
            "fstatvfs@openssh.com" => {
                let ask: FsyncExtension = read(data)?;
                self.fstatvfs(&ask.handle).and_then(|found| self.file_system(id, &found))
            }
            "limits@openssh.com" => self.limits(id),
            _ => Err(Failure::new(StatusCode::OpUnsupported, "No such extension")),
        })
    }

    fn fsync(&self, handle: &str) -> Outcome<()> {
        Ok(self.files.file(handle)?.sync_all()?)
    }

    fn statvfs(&self, name: &str) -> Outcome<StatVfs> {
        let place = self.place(name)?;
        let is_dir = self.root.metadata(place.path())?.is_dir();
        let place = if is_dir { place } else { place.split()?.0 };
        Ok(fstatvfs(self.root.open_dir(place.path())?).map_err(std::io::Error::from)?)
    }

    fn fstatvfs(&self, handle: &str) -> Outcome<StatVfs> {
        let found = match self.files.get(handle)? {
            Open::File(file) => fstatvfs(file),
            Open::Directory { dir, .. } => fstatvfs(dir),
        };
        Ok(found.map_err(std::io::Error::from)?)
    }

    fn file_system(&self, id: u32, found: &StatVfs) -> Outcome<Packet> {
        let has = |flag| u64::from(found.f_flag.contains(flag));
        let read_only = has(StatVfsMountFlags::RDONLY) | u64::from(self.settings.read_only);
        reply(
            id,
            &Statvfs {
                block_size: found.f_bsize,
                fragment_size: found.f_frsize,
                blocks: found.f_blocks,
                blocks_free: found.f_bfree,
                blocks_avail: found.f_bavail,
                inodes: found.f_files,
                inodes_free: found.f_ffree,
                inodes_avail: found.f_favail,
                fs_id: found.f_fsid,
                flags: read_only | has(StatVfsMountFlags::NOSUID) << 1,
                name_max: found.f_namemax,
            },
        )
    }

    fn limits(&self, id: u32) -> Outcome<Packet> {
        let data = self.settings.max_data().into();
        reply(
            id,
            &LimitsExtension {
                max_packet_len: self.settings.max_packet.into(),
                max_read_len: data,
                max_write_len: data,
                max_open_handles: self.settings.max_handles as u64,
            },
        )
    }
}

fn read<T: for<'a> Deserialize<'a>>(mut data: Bytes) -> Result<T, Malformed> {
    from_bytes(&mut data).map_err(|error| Malformed::Unreadable { kind: 200, problem: error.to_string() })
}

fn reply(id: u32, value: &impl Serialize) -> Outcome<Packet> {
    let data = to_bytes(value).map_err(|error| Failure::failed(&error.to_string()))?;
    Ok(Packet::ExtendedReply(ExtendedReply { id, data: data.into() }))
}
