//! What is to get another mode or other times, held without opening it: that could wait for somebody (a FIFO) or do
//! something (a device).
//!
//! Linux has `O_PATH` and `/proc/self/fd` for it. Where they are missing, files and directories are opened in a way that
//! waits for nobody, and everything else is refused.

use std::fs::{File, FileTimes, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::time::SystemTime;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use super::failure::{Failure, Outcome};

/// A file, a directory, or on Linux anything else. What its name means later does not matter any more.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
    /// The file's name in `/proc`, if it was not opened.
    #[cfg(target_os = "linux")]
    link: Option<PathBuf>,
}

impl Held {
    /// Takes hold of what a name below the directory means.
    pub(super) fn new(dir: &Dir, path: &Path) -> Outcome<Self> {
        #[cfg(target_os = "linux")]
        if let Some(held) = Self::unopened(dir, path)? {
            return Ok(held);
        }
        Self::opened(dir, path)
    }

    /// `None` where there is no `/proc`, or something else in its place.
    #[cfg(target_os = "linux")]
    fn unopened(dir: &Dir, path: &Path) -> Outcome<Option<Self>> {
        use std::os::fd::AsRawFd;

        let file = open(dir, path, OpenOptions::new().read(true), OFlags::PATH)?;
        let link = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let held = file.metadata()?;
        let is_it = std::fs::metadata(&link)
            .is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino()));
        Ok(is_it.then_some(Self { file, link: Some(link) }))
    }

    fn opened(dir: &Dir, path: &Path) -> Outcome<Self> {
        let found = dir.metadata(path)?;
        if !found.is_file() && !found.is_dir() {
            return Err(neither());
        }
        let quietly = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match open(dir, path, OpenOptions::new().read(true), quietly) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && found.is_file() => {
                open(dir, path, OpenOptions::new().write(true), quietly)?
            }
            file => file?,
        };
        let found = file.metadata()?;
        if !found.is_file() && !found.is_dir() {
            return Err(neither());
        }
        Ok(Self {
            file,
            #[cfg(target_os = "linux")]
            link: None,
        })
    }

    pub(super) fn mode(&self) -> Outcome<u32> {
        Ok(self.file.metadata()?.mode())
    }

    pub(super) fn set_mode(&self, mode: u32) -> Outcome<()> {
        let mode = Permissions::from_mode(mode);
        #[cfg(target_os = "linux")]
        if let Some(link) = &self.link {
            return Ok(std::fs::set_permissions(link, mode)?);
        }
        Ok(self.file.set_permissions(mode)?)
    }

    /// The times in whole seconds, as the protocol has them.
    pub(super) fn set_times(&self, accessed: u32, modified: u32) -> Outcome<()> {
        #[cfg(target_os = "linux")]
        if let Some(link) = &self.link {
            use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

            let spec = |seconds: u32| Timespec { tv_sec: seconds.into(), tv_nsec: 0 };
            let times = Timestamps { last_access: spec(accessed), last_modification: spec(modified) };
            return Ok(utimensat(CWD, link, &times, AtFlags::empty()).map_err(std::io::Error::from)?);
        }
        Ok(set_file_times(&self.file, accessed, modified)?)
    }
}

/// The times of an open file, in whole seconds.
pub(super) fn set_file_times(file: &File, accessed: u32, modified: u32) -> std::io::Result<()> {
    let time = |seconds: u32| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds.into());
    file.set_times(FileTimes::new().set_accessed(time(accessed)).set_modified(time(modified)))
}

fn open(dir: &Dir, path: &Path, options: &mut OpenOptions, flags: OFlags) -> std::io::Result<File> {
    options.custom_flags(flags.bits().try_into().unwrap_or_default());
    Ok(dir.open_with(path, options)?.into_std())
}

fn neither() -> Failure {
    Failure::failed("This is neither a file nor a directory")
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use cap_std::ambient_authority;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    type Way = fn(&Dir, &Path) -> Outcome<Held>;

    fn unopened(dir: &Dir, path: &Path) -> Outcome<Held> {
        Held::unopened(dir, path).map(|held| held.expect("the system has /proc"))
    }

    const WAYS: [Way; 3] = [Held::new, unopened, Held::opened];

    fn plant() -> (tempfile::TempDir, Dir) {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("root");
        std::fs::create_dir_all(root.join("dir")).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        std::fs::write(top.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("file", root.join("link")).unwrap();
        mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let dir = Dir::open_ambient_dir(root, ambient_authority()).unwrap();
        (top, dir)
    }

    fn change(held: &Held, mode: u32, time: u32) {
        held.set_mode(mode).unwrap();
        held.set_times(time, time + 1).unwrap();
        let found = held.file.metadata().unwrap();
        assert_eq!(held.mode().unwrap() & 0o7777, mode);
        assert_eq!((found.atime(), found.mtime()), (time.into(), i64::from(time) + 1));
    }

    #[test]
    fn files_and_directories_get_mode_and_times_in_every_way() {
        let (_top, dir) = plant();
        for way in WAYS {
            for name in ["file", "link", "dir", "."] {
                change(&way(&dir, name.as_ref()).unwrap(), 0o700, 1_000_000_000);
                change(&way(&dir, name.as_ref()).unwrap(), 0o750, u32::MAX - 1);
            }
        }
    }

    #[test]
    fn its_owner_changes_what_nobody_may_open() {
        let (_top, dir) = plant();
        for mode in [0o000, 0o200, 0o400] {
            dir.set_permissions("file", cap_std::fs::Permissions::from_std(Permissions::from_mode(mode)))
                .unwrap();
            change(&Held::new(&dir, "file".as_ref()).unwrap(), mode, 5);
        }
    }

    #[test]
    fn a_fifo_is_changed_unopened_or_not_at_all() {
        let (_top, dir) = plant();
        change(&unopened(&dir, "fifo".as_ref()).unwrap(), 0o600, 7);
        assert_eq!(Held::opened(&dir, "fifo".as_ref()).unwrap_err(), neither());
    }

    #[test]
    fn nothing_is_held_that_a_link_has_outside_or_that_is_not_there() {
        let (_top, dir) = plant();
        for way in WAYS {
            assert!(way(&dir, "out".as_ref()).is_err());
            assert!(way(&dir, "../secret".as_ref()).is_err());
            assert!(way(&dir, "none".as_ref()).is_err());
        }
    }
}
