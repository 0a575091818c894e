//! One listing of a directory, as it goes on from request to request.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, Metadata};
use russh_sftp::protocol::{File, FileAttributes};

use super::attributes::{attributes, long_name};
use super::failure::{Failure, Outcome};

/// The most names in one answer: about 80 KiB with the longest there can be.
const NAMES_AT_ONCE: usize = 128;

/// What is left to list.
#[derive(Debug)]
pub(super) struct Listing<I = rustix::fs::Dir> {
    entries: I,
    /// Why no more entries could be read; told when the ones before have been.
    failed: Option<io::Error>,
}

impl Listing {
    /// Begins to list a directory that is open for reading. Its names can be had by whoever may read it, other than with
    /// [`Dir::entries`], which must be allowed to look at them as well.
    pub(super) fn of(dir: &Dir) -> io::Result<Self> {
        Ok(Self::new(rustix::fs::Dir::new(dir.try_clone()?.into_std_file())?))
    }

    /// The next names in this directory, without `.` and `..`. What went away meanwhile is left out.
    pub(super) fn next_names(&mut self, dir: &Dir) -> Outcome<Vec<File>> {
        self.next_with(|entry: rustix::fs::DirEntry| {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                return None;
            }
            describe(name.to_string_lossy().into_owned(), dir.symlink_metadata(Path::new(name)))
        })
    }
}

impl<E, X: Into<io::Error>, I: Iterator<Item = Result<E, X>>> Listing<I> {
    const fn new(entries: I) -> Self {
        Self { entries, failed: None }
    }

    fn next_with(&mut self, describe: impl Fn(E) -> Option<File>) -> Outcome<Vec<File>> {
        let mut files = Vec::new();
        while files.len() < NAMES_AT_ONCE && self.failed.is_none() {
            match self.entries.next() {
                Some(Ok(entry)) => files.extend(describe(entry)),
                Some(Err(error)) => self.failed = Some(error.into()),
                None => break,
            }
        }
        if !files.is_empty() {
            return Ok(files);
        }
        Err(self.failed.take().map_or_else(Failure::eof, Failure::from))
    }
}

/// What a client is told of an entry: only the name, if it cannot be looked at.
fn describe(filename: String, found: io::Result<Metadata>) -> Option<File> {
    let (longname, attrs) = match found {
        Ok(found) => (long_name(&filename, &found), attributes(&found)),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(_) => {
            let line = format!("?????????? {0:>4} {0:<8} {0:<8} {0:>8} {0:<12} {filename}", '?');
            (line, FileAttributes::default())
        }
    };
    Some(File { filename, longname, attrs })
}

#[cfg(test)]
mod tests {
    use russh_sftp::protocol::StatusCode;

    use super::*;

    fn broken() -> io::Error {
        io::Error::from_raw_os_error(5)
    }

    fn named(name: &str) -> Option<File> {
        describe(name.to_owned(), Err(broken()))
    }

    fn names(outcome: Outcome<Vec<File>>) -> Vec<String> {
        outcome.unwrap().into_iter().map(|file| file.filename).collect()
    }

    fn code(outcome: Outcome<Vec<File>>) -> Failure {
        outcome.map(|files| files.len()).unwrap_err()
    }

    #[test]
    fn what_cannot_be_looked_at_is_listed_by_its_name() {
        for error in [ErrorKind::PermissionDenied.into(), broken()] {
            let file = describe("secret".to_owned(), Err(error)).unwrap();
            assert_eq!(file.filename, "secret");
            assert!(file.longname.starts_with("?????????? ") && file.longname.ends_with(" secret"));
            let told = file.attrs;
            assert!(told.size.is_none() && told.uid.is_none() && told.permissions.is_none());
            assert!(told.atime.is_none() && told.mtime.is_none());
        }
        assert!(describe("gone".to_owned(), Err(ErrorKind::NotFound.into())).is_none());
    }

    #[test]
    fn names_before_an_error_are_told_and_then_the_error_and_then_the_end() {
        let entries = [Ok("a"), Ok("gone"), Ok("b"), Err(broken())];
        let mut listing = Listing::new(entries.into_iter());
        let mut next = || listing.next_with(|name| (name != "gone").then(|| named(name)).flatten());
        assert_eq!(names(next()), ["a", "b"]);
        assert_eq!(code(next()), Failure::from(broken()));
        assert_eq!(code(next()), Failure::eof());
    }

    #[test]
    fn an_error_at_the_beginning_is_told_at_once() {
        let mut listing = Listing::new([Err(io::Error::from(ErrorKind::PermissionDenied))].into_iter());
        let failure = code(listing.next_with(|name: &str| named(name)));
        assert_eq!(failure, Failure::new(StatusCode::PermissionDenied, "permission denied"));
        assert_eq!(code(listing.next_with(named)), Failure::eof());
    }

    #[test]
    fn a_batch_has_so_many_names_and_an_error_behind_it_waits_for_the_next() {
        let entries = (0..NAMES_AT_ONCE).map(|_| Ok("x")).chain([Err(broken())]);
        let mut listing = Listing::new(entries);
        assert_eq!(listing.next_with(named).unwrap().len(), NAMES_AT_ONCE);
        assert_eq!(code(listing.next_with(named)), Failure::from(broken()));
    }
}
