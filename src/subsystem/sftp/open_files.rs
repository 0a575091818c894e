//! Handles and what is behind them: open, close, read, write.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use rustix::fs::OFlags;

use super::attributes::NEW_FILE_BITS;
use super::failure::{Failure, Outcome};
use super::listing::Listing;
use super::place::Place;
use super::session::Session;

/// One open file or directory.
pub(super) enum Open {
    File(File),
    /// Open for reading, unlike the root.
    Directory {
        dir: Dir,
        listing: Listing,
    },
}

/// The handles of one session. A handle is a number that is never used twice; those of other sessions mean nothing.
pub(super) struct OpenFiles {
    table: HashMap<String, Open>,
    next: u64,
    limit: usize,
}

impl OpenFiles {
    pub(super) fn new(limit: usize) -> Self {
        Self { table: HashMap::new(), next: 0, limit }
    }

    /// Whether there may be no more.
    pub(super) fn is_full(&self) -> bool {
        self.table.len() >= self.limit
    }

    pub(super) fn insert(&mut self, open: Open) -> String {
        let handle = self.next.to_string();
        self.next += 1;
        self.table.insert(handle.clone(), open);
        handle
    }

    pub(super) fn get(&self, handle: &str) -> Outcome<&Open> {
        self.table.get(handle).ok_or_else(no_handle)
    }

    pub(super) fn listing(&mut self, handle: &str) -> Outcome<(&Dir, &mut Listing)> {
        match self.table.get_mut(handle) {
            Some(Open::Directory { dir, listing }) => Ok((dir, listing)),
            Some(Open::File(_)) => Err(Failure::failed("The handle is of a file")),
            None => Err(no_handle()),
        }
    }

    pub(super) fn file(&self, handle: &str) -> Outcome<&File> {
        match self.get(handle)? {
            Open::File(file) => Ok(file),
            Open::Directory { .. } => Err(Failure::failed("The handle is of a directory")),
        }
    }

    pub(super) fn close(&mut self, handle: &str) -> Outcome<()> {
        self.table.remove(handle).map(drop).ok_or_else(no_handle)
    }
}

fn no_handle() -> Failure {
    Failure::failed("There is no such handle")
}

impl Session {
    pub(super) fn open_file(
        &mut self,
        name: &str,
        flags: OpenFlags,
        attrs: &FileAttributes,
    ) -> Outcome<String> {
        self.check_room()?;
        let place = self.place(name)?;
        if flags.contains(OpenFlags::EXCLUDE) && !flags.contains(OpenFlags::CREATE) {
            return Err(Failure::failed("Exclusive is what is created"));
        }
        if !flags.difference(OpenFlags::READ).is_empty() {
            self.may_change()?;
        }
        let mut options = OpenOptions::new();
        options
            .read(flags.contains(OpenFlags::READ))
            .write(flags.contains(OpenFlags::WRITE))
            .append(flags.contains(OpenFlags::APPEND))
            .truncate(flags.contains(OpenFlags::TRUNCATE))
            .create(flags.contains(OpenFlags::CREATE))
            .create_new(flags.contains(OpenFlags::EXCLUDE))
            .mode(attrs.permissions.unwrap_or(0o666) & NEW_FILE_BITS);
        let file = self.open_regular(&place, &mut options)?;
        Ok(self.files.insert(Open::File(file)))
    }

    /// Opens a regular file, and nothing that could make us wait or do something when opened.
    pub(super) fn open_regular(&self, place: &Place, options: &mut OpenOptions) -> Outcome<File> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().try_into().unwrap_or_default());
        let file = self.root.open_with(place.path(), options)?.into_std();
        if !file.metadata()?.is_file() {
            return Err(Failure::failed("This is no regular file"));
        }
        Ok(file)
    }

    pub(super) fn read(&self, handle: &str, offset: u64, len: u32) -> Outcome<Vec<u8>> {
        let file = self.files.file(handle)?;
        let len = len.min(self.settings.max_data());
        let mut data = vec![0; usize::try_from(len).unwrap_or_default()];
        let count = loop {
            match file.read_at(&mut data, offset) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                count => break count?,
            }
        };
        if count == 0 {
            return Err(Failure::eof());
        }
        data.truncate(count);
        Ok(data)
    }

    pub(super) fn write(&self, handle: &str, offset: u64, data: &[u8]) -> Outcome<()> {
        self.may_change()?;
        Ok(self.files.file(handle)?.write_all_at(data, offset)?)
    }
}
