//! Names as clients write them, made into names below the root.
//!
//! `/` is the root, a name without it starts in the start directory. `..` takes the name before it away, and at the
//! root nothing, before any file is looked at: no `..` of a client ever reaches the system. Links on the way are the
//! system's business; it keeps them below the root.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::{Failure, Outcome};
use super::tally::{Tally, count};

/// What names start from.
#[derive(Debug, Clone)]
pub(super) struct Names {
    start: Vec<String>,
    longest: usize,
    tally: Arc<Tally>,
}

impl Names {
    pub(super) fn new(start: &str, longest: usize, tally: Arc<Tally>) -> Self {
        let mut parts = Vec::new();
        walk(&mut parts, start);
        Self { start: parts, longest, tally }
    }

    /// What a client means by a name.
    pub(super) fn place(&self, name: &str) -> Outcome<Place> {
        self.check(name)?;
        let mut parts = if name.starts_with('/') { Vec::new() } else { self.start.clone() };
        walk(&mut parts, name);
        Ok(Place { parts })
    }

    /// Refuses what is no name here. The replacement character stands for bytes that were no UTF-8, and could then
    /// mean another file.
    pub(super) fn check(&self, name: &str) -> Outcome<()> {
        if name.len() > self.longest {
            count(&self.tally.refused_paths);
            return Err(Failure::failed(&format!("The name is longer than {} bytes", self.longest)));
        }
        if name.contains(['\0', char::REPLACEMENT_CHARACTER]) {
            return Err(Failure::failed("Names are UTF-8 here, without zero bytes"));
        }
        Ok(())
    }
}

fn walk(parts: &mut Vec<String>, name: &str) {
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name.to_owned()),
        }
    }
}

/// A file below the root, or the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    parts: Vec<String>,
}

impl Place {
    /// For the system, relative to the root.
    pub(super) fn path(&self) -> PathBuf {
        match self.parts.as_slice() {
            [] => PathBuf::from("."),
            parts => parts.iter().collect(),
        }
    }

    /// The same, of something that can be made, moved or removed.
    pub(super) fn entry(&self) -> Outcome<PathBuf> {
        self.split()?;
        Ok(self.path())
    }

    /// The directory and the name in it.
    pub(super) fn split(&self) -> Outcome<(Self, &Path)> {
        match self.parts.as_slice() {
            [parents @ .., name] => Ok((Self { parts: parents.to_vec() }, Path::new(name))),
            [] => Err(Failure::denied("This is the root")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(start: &str, name: &str) -> String {
        Names::new(start, 4096, Arc::default()).place(name).unwrap().path().to_str().unwrap().to_owned()
    }

    #[test]
    fn names_start_at_the_root_or_in_the_start_directory() {
        assert_eq!(path("", "/"), ".");
        assert_eq!(path("", ""), ".");
        assert_eq!(path("", "a//b/./c/"), "a/b/c");
        assert_eq!(path("/home/al", ""), "home/al");
        assert_eq!(path("home/al", "x"), "home/al/x");
        assert_eq!(path("home/al", "/x"), "x");
    }

    #[test]
    fn dots_never_lead_above_the_root() {
        assert_eq!(path("", ".."), ".");
        assert_eq!(path("", "/../../etc/passwd"), "etc/passwd");
        assert_eq!(path("", "a/../../../b"), "b");
        assert_eq!(path("home/al", "../../../.."), ".");
        assert_eq!(path("../..", "x"), "x");
        assert_eq!(path("", "..."), "...");
    }

    #[test]
    fn long_names_zero_bytes_and_what_was_no_text_are_refused() {
        let names = Names::new("", 8, Arc::default());
        assert!(names.place("12345678").is_ok());
        assert!(names.place("123456789").is_err());
        assert!(names.place("a\0b").is_err());
        assert!(names.place("a\u{fffd}").is_err());
    }

    #[test]
    fn the_root_is_no_entry() {
        let names = Names::new("", 8, Arc::default());
        assert!(names.place("a/..").unwrap().entry().is_err());
        let place = names.place("a/b").unwrap();
        let (parent, name) = place.split().unwrap();
        assert_eq!((parent.path(), name), (PathBuf::from("a"), Path::new("b")));
    }
}
