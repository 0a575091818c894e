//! Listings of directories, page by page, with the names checked.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

use super::attributes::{Attributes, FileKind};
use super::error::{SftpError, SftpErrorKind, printable};
use super::handle::Handle;

/// The longest name that is taken, in bytes. File systems have 255, or 255 characters.
const LONGEST_NAME: usize = 1 << 10;

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name: 1 to 1,024 bytes, without `/` and NUL, never `.` or `..`. Otherwise as the server's file system has it, which
    /// need not be text.
    pub name: Bytes,
    /// What is known of it; of a link, not of what it leads to.
    pub attributes: Attributes,
}

impl DirEntry {
    /// The name as text, where it is some.
    #[must_use]
    pub fn name_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> FileKind {
        self.attributes.kind()
    }
}

/// A directory that is being read, from [`SftpClient::read_dir`](super::SftpClient::read_dir). One page of names is in
/// memory at a time. Dropping it closes it.
#[derive(Debug)]
pub struct ReadDir {
    handle: Handle,
    path: Bytes,
    page: VecDeque<DirEntry>,
    taken: usize,
    /// How often `.` and `..` came.
    own: u8,
    most: usize,
    /// Nothing more is asked for.
    end: bool,
    /// A page is on its way.
    asking: bool,
}

impl ReadDir {
    pub(super) const fn new(handle: Handle, path: Bytes, most: usize) -> Self {
        Self { handle, path, page: VecDeque::new(), taken: 0, own: 0, most, end: false, asking: false }
    }

    /// The next name, in the server's order, without `.` and `..`; `None` at the end.
    ///
    /// # Cancel safety
    /// If the future is dropped while a page is on its way, the names of that page are lost, and the next call says so.
    ///
    /// # Errors
    /// What the server said; a name that is none; more names than
    /// [`most_entries`](super::SftpOptions::most_entries). After an error there is nothing more.
    pub async fn next_entry(&mut self) -> Result<Option<DirEntry>, SftpError> {
        if std::mem::take(&mut self.asking) {
            let problem = "a page of names was given up when it was on its way; list anew";
            return Err(SftpErrorKind::refused(problem).at("list", &self.path));
        }
        while self.page.is_empty() && !self.end {
            (self.asking, self.end) = (true, true);
            let names = self.handle.names().await;
            self.asking = false;
            let names = names.map_err(|kind| kind.at("list", &self.path))?.unwrap_or_default();
            // A page without names is the end: to ask again would be to ask for ever.
            let end = names.is_empty();
            for (name, attributes) in names {
                if let Err(kind) = self.take(name, attributes) {
                    self.page.clear();
                    return Err(kind.at("list", &self.path));
                }
            }
            self.end = end;
        }
        Ok(self.page.pop_front())
    }

    fn take(&mut self, name: Bytes, attributes: Attributes) -> Result<(), SftpErrorKind> {
        let own = matches!(name.as_ref(), b"." | b"..");
        // They are there once each; more of them count, or there could be no end to them.
        if own && self.own < 2 {
            self.own += 1;
            return Ok(());
        }
        self.taken = self.taken.saturating_add(1);
        if self.taken > self.most {
            let problem = format!("more than {} names; raise `most_entries` to take them", self.most);
            return Err(SftpErrorKind::refused(problem));
        }
        if name.len() > LONGEST_NAME {
            let problem = format!("a name of {} bytes; up to {LONGEST_NAME} are taken", name.len());
            return Err(SftpErrorKind::refused(problem));
        }
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            let problem = format!("{:?} is no name within a directory", printable(&name));
            return Err(SftpErrorKind::refused(problem));
        }
        if !own {
            self.page.push_back(DirEntry { name, attributes });
        }
        Ok(())
    }
}
