//! Listings of directories, page by page, with the names checked.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

use super::attributes::{Attributes, FileKind};
use super::error::{SftpError, SftpErrorKind, printable};
use super::handle::Handle;

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name: not empty, without `/` and NUL, never `.` or `..`. Otherwise as the server's file system has it, which
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
    most: usize,
    end: bool,
}

impl ReadDir {
    pub(super) const fn new(handle: Handle, path: Bytes, most: usize) -> Self {
        Self { handle, path, page: VecDeque::new(), taken: 0, most, end: false }
    }

    /// The next name, in the server's order, without `.` and `..`; `None` at the end.
    ///
    /// # Cancel safety
    /// If the future is dropped while a page is on its way, the names of that page are lost: drop the listing, too.
    ///
    /// # Errors
    /// What the server said; a name that is none; more names than
    /// [`most_entries`](super::SftpOptions::most_entries). After an error there is nothing more.
    pub async fn next_entry(&mut self) -> Result<Option<DirEntry>, SftpError> {
        while self.page.is_empty() && !self.end {
            // Stands unless a good page comes.
            self.end = true;
            let at = |kind: SftpErrorKind| kind.at("list", &self.path);
            let Some(names) = self.handle.names().await.map_err(at)? else { break };
            // A page without names is the end: to ask again would be to ask for ever.
            self.end = names.is_empty();
            self.taken = self.taken.saturating_add(names.len());
            if self.taken > self.most {
                self.end = true;
                let problem = format!("more than {} names; raise `most_entries` to take them", self.most);
                return Err(SftpErrorKind::refused(problem).at("list", &self.path));
            }
            for (name, attributes) in names {
                if matches!(name.as_ref(), b"." | b"..") {
                    continue;
                }
                if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                    self.end = true;
                    self.page.clear();
                    let problem = format!("{:?} is no name within a directory", printable(&name));
                    return Err(SftpErrorKind::refused(problem).at("list", &self.path));
                }
                self.page.push_back(DirEntry { name, attributes });
            }
        }
        Ok(self.page.pop_front())
    }
}
