//! Directories and the names in them: list, make, remove, rename, resolve.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};
use russh_sftp::protocol::{File, FileAttributes};
use rustix::fs::OFlags;

use super::attributes::NEW_FILE_BITS;
use super::failure::{Failure, Outcome};
use super::listing::Listing;
use super::open_files::Open;
use super::place::Place;
use super::session::Session;

impl Session {
    pub(super) fn open_directory(&mut self, name: &str) -> Outcome<String> {
        self.check_room()?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECTORY.bits().try_into().unwrap_or_default());
        let dir = Dir::from_std_file(self.root.open_with(self.place(name)?.path(), &options)?.into_std());
        let listing = Listing::of(&dir)?;
        Ok(self.files.insert(Open::Directory { dir, listing }))
    }

    pub(super) fn read_directory(&mut self, handle: &str) -> Outcome<Vec<File>> {
        let (dir, listing) = self.files.listing(handle)?;
        listing.next_names(dir)
    }

    pub(super) fn make_directory(&self, name: &str, attrs: &FileAttributes) -> Outcome<()> {
        self.may_change()?;
        let mut builder = DirBuilder::new();
        builder.mode(attrs.permissions.unwrap_or(0o777) & NEW_FILE_BITS);
        Ok(self.root.create_dir_with(self.place(name)?.entry()?, &builder)?)
    }

    pub(super) fn remove_directory(&self, name: &str) -> Outcome<()> {
        self.may_change()?;
        Ok(self.root.remove_dir(self.place(name)?.entry()?)?)
    }

    pub(super) fn remove(&self, name: &str) -> Outcome<()> {
        self.may_change()?;
        Ok(self.root.remove_file(self.place(name)?.entry()?)?)
    }

    /// Renames and replaces nothing (draft section 6.5).
    pub(super) fn rename(&self, old: &str, new: &str) -> Outcome<()> {
        self.may_change()?;
        let (old, new) = (self.place(old)?, self.place(new)?);
        let (old_parent, old_name) = old.split()?;
        let (new_parent, new_name) = new.split()?;
        let from = self.root.open_dir(old_parent.path())?;
        let to = self.root.open_dir(new_parent.path())?;
        if rename_in_one_step(&from, old_name, &to, new_name)? {
            return Ok(());
        }
        match to.symlink_metadata(new_name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(Failure::failed("The new name is taken")),
        }
        Ok(from.rename(old_name, &to, new_name)?)
    }

    /// Renames and replaces (`posix-rename@openssh.com`).
    pub(super) fn rename_over(&self, old: &str, new: &str) -> Outcome<()> {
        self.may_change()?;
        let (old, new) = (self.place(old)?.entry()?, self.place(new)?.entry()?);
        Ok(self.root.rename(old, &self.root, new)?)
    }

    /// The name without links (SSH_FXP_REALPATH). The last part need not exist.
    pub(super) fn real_path(&self, name: &str) -> Outcome<String> {
        let place = self.place(name)?;
        let found = match self.root.canonicalize(place.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (parent, last) = place.split()?;
                self.canonical(&parent)?.join(last)
            }
            found => found?,
        };
        let parts: Vec<_> = names_in(&found).map(|name| name.to_string_lossy()).collect();
        Ok(format!("/{}", parts.join("/")))
    }

    /// Where something is, relative to the root, without links.
    pub(super) fn canonical(&self, place: &Place) -> Outcome<PathBuf> {
        Ok(self.root.canonicalize(place.path())?)
    }
}

/// The names a path is made of; `.` is none.
pub(super) fn names_in(path: &Path) -> impl Iterator<Item = &std::ffi::OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

/// Whether it was done; false where the file system cannot.
#[cfg(target_os = "linux")]
fn rename_in_one_step(from: &Dir, old: &Path, to: &Dir, new: &Path) -> Outcome<bool> {
    use rustix::fs::{RenameFlags, renameat_with};
    use rustix::io::Errno;

    match renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_in_one_step(_from: &Dir, _old: &Path, _to: &Dir, _new: &Path) -> Outcome<bool> {
    Ok(false)
}
