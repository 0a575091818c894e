//! Local files and directories. What blocks runs where blocking is allowed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Opens a file to write to, without cutting it. A link in its place is not followed.
pub(super) fn open_to_write(path: &Path, mode: Option<u32>) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => return fs::OpenOptions::new().read(true).write(true).open(path),
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
    let mut file = file;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(end - from).read_to_end(&mut bytes)?;
    Ok((from, bytes))
}

/// Fills as much as there is.
pub(super) fn fill(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let mut file = file;
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
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
