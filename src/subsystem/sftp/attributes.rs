//! Attributes of files, both ways (draft section 5), and the line `ls -l` shows.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions};
use jiff::Timestamp;
use russh_sftp::protocol::FileAttributes;

use super::failure::{Failure, Outcome};
use super::held::{Held, set_file_times};
use super::open_files::Open;
use super::session::Session;

/// What a client decides of the mode of a new file or directory; the umask takes from it.
pub(super) const NEW_FILE_BITS: u32 = 0o777;
/// What it decides of one that is there.
const MODE_BITS: u32 = 0o1777;
/// Set-user-ID and set-group-ID: can be taken away, never added.
const SET_ID_BITS: u32 = 0o6000;

const HALF_A_YEAR: i64 = 182 * 24 * 3600;

impl Session {
    pub(super) fn lstat(&self, name: &str) -> Outcome<FileAttributes> {
        Ok(attributes(&self.root.symlink_metadata(self.place(name)?.path())?))
    }

    pub(super) fn stat(&self, name: &str) -> Outcome<FileAttributes> {
        Ok(attributes(&self.root.metadata(self.place(name)?.path())?))
    }

    pub(super) fn fstat(&self, handle: &str) -> Outcome<FileAttributes> {
        Ok(attributes(&match self.files.get(handle)? {
            Open::File(file) => Metadata::from_file(file)?,
            Open::Directory { dir, .. } => dir.dir_metadata()?,
        }))
    }

    pub(super) fn set_stat(&self, name: &str, attrs: &FileAttributes) -> Outcome<()> {
        self.may_change()?;
        let place = self.place(name)?;
        refuse_owner(attrs)?;
        if let Some(size) = attrs.size {
            self.open_regular(&place, OpenOptions::new().write(true))?.set_len(size)?;
        }
        set_mode_and_times(&self.root, &place.path(), attrs)
    }

    pub(super) fn set_fstat(&self, handle: &str, attrs: &FileAttributes) -> Outcome<()> {
        self.may_change()?;
        refuse_owner(attrs)?;
        let file = match self.files.get(handle)? {
            Open::File(file) => file,
            Open::Directory { .. } if attrs.size.is_some() => {
                return Err(Failure::failed("A directory cannot be cut"));
            }
            Open::Directory { dir, .. } => return set_mode_and_times(dir, ".".as_ref(), attrs),
        };
        if let Some(size) = attrs.size {
            file.set_len(size)?;
        }
        if let Some(mode) = attrs.permissions {
            let mode = allowed(mode, file.metadata()?.permissions().mode());
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        if let (Some(accessed), Some(modified)) = (attrs.atime, attrs.mtime) {
            set_file_times(file, accessed, modified)?;
        }
        Ok(())
    }
}

fn set_mode_and_times(dir: &Dir, path: &Path, attrs: &FileAttributes) -> Outcome<()> {
    let times = attrs.atime.zip(attrs.mtime);
    if attrs.permissions.is_none() && times.is_none() {
        return Ok(());
    }
    let held = Held::new(dir, path)?;
    if let Some(mode) = attrs.permissions {
        held.set_mode(allowed(mode, held.mode()?))?;
    }
    if let Some((accessed, modified)) = times {
        held.set_times(accessed, modified)?;
    }
    Ok(())
}

fn refuse_owner(attrs: &FileAttributes) -> Outcome<()> {
    if attrs.uid.is_some() || attrs.gid.is_some() {
        return Err(Failure::denied("Owner and group cannot be changed here"));
    }
    Ok(())
}

const fn allowed(asked: u32, current: u32) -> u32 {
    (asked & MODE_BITS) | (asked & current & SET_ID_BITS)
}

/// What a client is told of a file. The protocol's times end in 2106.
pub(super) fn attributes(found: &Metadata) -> FileAttributes {
    FileAttributes {
        size: Some(found.len()),
        uid: Some(found.uid()),
        gid: Some(found.gid()),
        permissions: Some(found.mode()),
        atime: Some(seconds(found.atime())),
        mtime: Some(seconds(found.mtime())),
        ..FileAttributes::default()
    }
}

fn seconds(time: i64) -> u32 {
    u32::try_from(time.max(0)).unwrap_or(u32::MAX)
}

/// A line as `ls -l` writes it, with numbers for owner and group, and times in UTC.
pub(super) fn long_name(name: &str, found: &Metadata) -> String {
    let (mode, links, size) = (mode_text(found.mode()), found.nlink(), found.len());
    let (uid, gid, date) = (found.uid(), found.gid(), date_text(found.mtime(), Timestamp::now()));
    format!("{mode} {links:>4} {uid:<8} {gid:<8} {size:>8} {date} {name}")
}

fn date_text(seconds: i64, now: Timestamp) -> String {
    let Ok(date) = Timestamp::from_second(seconds) else { return "?".to_owned() };
    let age = now.as_second().saturating_sub(seconds);
    let recent = (0..HALF_A_YEAR).contains(&age);
    date.strftime(if recent { "%b %e %H:%M" } else { "%b %e  %Y" }).to_string()
}

fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o060_000 => 'b',
        0o020_000 => 'c',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let has = |bit: u32| mode & bit != 0;
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        text.push(if has(0o4 << shift) { 'r' } else { '-' });
        text.push(if has(0o2 << shift) { 'w' } else { '-' });
        text.push(match (has(0o1 << shift), has(special)) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_writes_them() {
        for (mode, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o104_711, "-rws--x--x"),
            (0o042_645, "drw-r-Sr-x"),
            (0o041_777, "drwxrwxrwt"),
        ] {
            assert_eq!(mode_text(mode), text);
        }
    }

    #[test]
    fn recent_files_show_the_time_and_others_the_year() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(date_text(1_699_999_000, now), "Nov 14 21:56");
        assert_eq!(date_text(1_600_000_000, now), "Sep 13  2020");
        assert_eq!(date_text(1_700_100_000, now), "Nov 16  2023");
        assert_eq!(date_text(i64::MAX, now), "?");
    }

    #[test]
    fn set_id_bits_are_never_added() {
        assert_eq!(allowed(0o104_755, 0o100_644), 0o755);
        assert_eq!(allowed(0o2755, 0o2700), 0o2755);
        assert_eq!(allowed(0o755, 0o6700), 0o755);
        assert_eq!(allowed(0o1777, 0), 0o1777);
    }

    #[test]
    fn times_outside_of_the_protocol_become_its_ends() {
        assert_eq!((seconds(-5), seconds(7), seconds(1 << 40)), (0, 7, u32::MAX));
    }
}
