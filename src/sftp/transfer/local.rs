//! Local files and directories. What blocks runs where blocking is allowed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, IoSlice, Write as _};
#[cfg(not(unix))]
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{MODES, TAIL};
use crate::sftp::attributes::Attributes;
use crate::sftp::error::{SftpError, SftpErrorKind, printable};

/// Does something that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    path: &Path,
    action: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SftpError> {
    let done = tokio::task::spawn_blocking(action).await;
    let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| SftpError::local(operation, path, error))
}

/// The local name for a remote one, if there is one that stays within its directory.
pub(super) fn name(remote: &[u8]) -> Result<PathBuf, SftpErrorKind> {
    let no = |problem| SftpErrorKind::refused(format!("{:?} {problem}", printable(remote)));
    let name = from_bytes(remote).ok_or_else(|| no("is no file name here"))?;
    // What is `/` to the other side was looked for when it was listed; this is about what is `/` here.
    let mut parts = name.components();
    match (parts.next(), parts.next()) {
        (Some(std::path::Component::Normal(part)), None) if part == name.as_os_str() => Ok(name),
        _ => Err(no("leads out of its directory")),
    }
}

#[cfg(unix)]
fn from_bytes(name: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(OsStr::from_bytes(name).into())
}

#[cfg(not(unix))]
fn from_bytes(name: &[u8]) -> Option<PathBuf> {
    let name = std::str::from_utf8(name).ok()?;
    // Drives and streams.
    (!name.contains(':')).then(|| name.into())
}

/// The remote name for a local one.
pub(super) fn to_bytes(name: &OsStr) -> Option<&[u8]> {
    if cfg!(unix) { Some(name.as_encoded_bytes()) } else { name.to_str().map(str::as_bytes) }
}

/// What a local file's attributes are in the protocol's words.
pub(super) fn attributes(metadata: &fs::Metadata) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.permissions = mode(metadata).map(|mode| mode & MODES);
    if let (Ok(accessed), Ok(modified)) = (metadata.accessed(), metadata.modified()) {
        attributes = attributes.times(accessed, modified);
    }
    attributes
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(metadata.permissions().mode())
}

#[cfg(not(unix))]
fn mode(_metadata: &fs::Metadata) -> Option<u32> {
    None
}

/// Links are not followed, and nobody waits for the other end of a pipe.
#[cfg(unix)]
fn flags(options: &mut fs::OpenOptions, follow: bool, more: rustix::fs::OFlags) {
    use rustix::fs::OFlags;

    let link = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = (more | link | OFlags::NONBLOCK).bits();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, i32::try_from(flags).unwrap_or(0));
}

/// Opens a regular file to read.
pub(super) fn open_to_read(path: &Path, follow: bool) -> io::Result<(File, fs::Metadata)> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    flags(&mut options, follow, rustix::fs::OFlags::empty());
    #[cfg(not(unix))]
    let _ = follow;
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::Error::other("it is no regular file")) }
}

/// Opens a directory that was made or found, to set what is to be known of it.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    flags(&mut options, true, rustix::fs::OFlags::DIRECTORY);
    options.open(path)
}

/// Opens a file to write to, without cutting it. A link in its place is not followed.
pub(super) fn open_to_write(path: &Path, mode: Option<u32>) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(true);
            // It may have become a link or a pipe since.
            #[cfg(unix)]
            flags(&mut options, false, rustix::fs::OFlags::empty());
            return options.open(path);
        }
        Ok(there) => {
            let what = if there.is_symlink() { "a symbolic link" } else { "no regular file" };
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("there is {what} of this name, which is not written to"),
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    if let Some(mode) = mode {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode & MODES | 0o600);
    }
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

/// Makes a directory, or finds it. A link in its place is not followed, unless it is the top.
pub(super) fn make_directory(path: &Path, mode: Option<u32>, top: bool) -> io::Result<()> {
    #[cfg_attr(not(unix), allow(unused_mut, reason = "there are no modes"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    if let Some(mode) = mode {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode & MODES | 0o700);
    }
    #[cfg(not(unix))]
    let _ = mode;
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = if top { fs::metadata(path)? } else { fs::symlink_metadata(path)? };
            if there.is_dir() {
                return Ok(());
            }
            let what = if there.is_symlink() { "a symbolic link" } else { "no directory" };
            Err(io::Error::new(error.kind(), format!("there is {what} of this name, which is not gone into")))
        }
        done => done,
    }
}

/// Sets permissions and times.
pub(super) fn preserve(file: &File, attributes: &Attributes) -> io::Result<()> {
    if let (Some(accessed), Some(modified)) = (attributes.accessed(), attributes.modified()) {
        file.set_times(fs::FileTimes::new().set_accessed(accessed).set_modified(modified))?;
    }
    #[cfg(unix)]
    if let Some(mode) = attributes.permissions {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode & MODES);
        file.set_permissions(mode)?;
    }
    Ok(())
}

/// Up to [`TAIL`] bytes before `end`, and where they begin.
pub(super) fn tail(file: &File, end: u64) -> io::Result<(u64, Vec<u8>)> {
    let from = end.saturating_sub(u64::try_from(TAIL).unwrap_or(0));
    let mut bytes = Vec::new();
    read_at(file, from, usize::try_from(end - from).unwrap_or(TAIL), &mut bytes)?;
    Ok((from, bytes))
}

/// Writes all of it, with as few calls as can be.
pub(super) fn write_all(file: &File, chunks: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut left = slices.as_mut_slice();
    let mut file = file;
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads up to `most` bytes from `offset` on, fewer only at the end, behind what is there.
#[cfg(unix)]
pub(super) fn read_at(file: &File, offset: u64, most: usize, into: &mut Vec<u8>) -> io::Result<usize> {
    let before = into.len();
    into.reserve_exact(most);
    let mut count = 0;
    while count < most {
        // Memory that nobody has to clear first.
        let room = rustix::buffer::spare_capacity(into);
        match rustix::io::pread(file, room, offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX))) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // An allocation may be longer than it has to.
        into.truncate(before.saturating_add(most));
        count = into.len().saturating_sub(before);
    }
    Ok(count)
}

/// Reads up to `most` bytes from `offset` on, fewer only at the end, behind what is there.
#[cfg(not(unix))]
pub(super) fn read_at(file: &File, offset: u64, most: usize, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut file = file;
    file.seek(SeekFrom::Start(offset))?;
    file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(into)
}

/// A local file that is at work in several places.
pub(super) type Shared = Arc<File>;

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_its_directory_is_refused() {
        for bad in ["", ".", "..", "/", "/etc", "a/b", "../a", "a/..", "a/"] {
            assert!(name(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in ["a", "...", "a b", "-rf", "\u{e4}"] {
            assert_eq!(name(good.as_bytes()).unwrap(), Path::new(good));
        }
        assert!(name(b"\xff\xfe").is_ok());
    }

    #[test]
    fn links_are_neither_written_to_nor_gone_into() {
        let directory = std::env::temp_dir().join(format!("sftp-links-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let link = directory.join("link");
        std::os::unix::fs::symlink(directory.join("nowhere"), &link).unwrap();
        assert!(open_to_write(&link, None).is_err());
        assert!(make_directory(&link, None, false).is_err());
        assert!(!directory.join("nowhere").exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
