//! Files: read, with those they include, into lines that have been checked.
//!
//! Owns what OpenSSH checks of a file before it trusts it. Asks for no host: that is `resolve`'s.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::criteria::{self, Criterion, What};
use super::error::{Place, Problem, SshConfigError};
use super::keyword::{self, Grammar, Keyword};
use super::local::Local;
use super::tokens;
use super::value::Value;
use super::words::{self, Line};

/// OpenSSH's `READCONF_MAX_DEPTH`.
const MAX_DEPTH: u32 = 16;
/// Files read in all: files that include each other twice could otherwise be read 2^16 times.
const MAX_FILES: usize = 1024;
/// Bytes of one file.
const MAX_FILE: u64 = 4 << 20;

/// What one line says.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Option { keyword: &'static Keyword, value: Value, at: Place },
    Unknown { name: String, at: Place },
    Host { patterns: Vec<String> },
    Match { criteria: Vec<Criterion>, at: Place },
    Include { files: Vec<Vec<Self>> },
}

/// Which rules a file stands under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust<'a> {
    /// Where relative includes begin.
    pub(super) dir: &'a Path,
    /// Whether `~` may be included.
    pub(super) user: bool,
    /// Whether owner and permissions are looked at. Those of included files always are.
    pub(super) check: bool,
    /// Whether the file must be there.
    pub(super) required: bool,
}

/// Reads files and collects what is wrong in them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    local: &'a Local,
    problems: Vec<Problem>,
    files: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(local: &'a Local) -> Self {
        Self { local, problems: Vec::new(), files: 0 }
    }

    /// The problems, if there were any.
    pub(super) fn finish(self) -> Result<(), SshConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(SshConfigError::Bad(self.problems)) }
    }

    /// One file and what it includes.
    pub(super) fn file(&mut self, path: &Path, trust: Trust<'_>) -> Result<Vec<Item>, SshConfigError> {
        self.file_at(path, trust, 0)
    }

    fn file_at(&mut self, path: &Path, trust: Trust<'_>, depth: u32) -> Result<Vec<Item>, SshConfigError> {
        let unreadable = |source| SshConfigError::Unreadable { file: path.to_owned(), source };
        let bytes = match read(path, trust.check)? {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !trust.required => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let name: Arc<Path> = Arc::from(path);
        let mut items = Vec::new();
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let at = Place::line(&name, number + 1);
            let comment = line.trim_ascii_start().starts_with(b"#");
            match std::str::from_utf8(line) {
                Ok(line) => items.extend(self.line(line, &at, Some((trust, depth)))?),
                Err(_) if comment => {}
                Err(_) => {
                    self.problems.push(Problem::new(&at, "", "the line is not UTF-8", "write it in UTF-8"))
                }
            }
        }
        Ok(items)
    }

    /// One line. Includes are followed if there are rules for them.
    pub(super) fn line(
        &mut self,
        line: &str,
        at: &Place,
        includes: Option<(Trust<'_>, u32)>,
    ) -> Result<Option<Item>, SshConfigError> {
        let Some(Line { keyword: name, rest }) = words::split_line(line) else { return Ok(None) };
        let Some(keyword) = keyword::find(&name) else {
            return Ok(Some(Item::Unknown { name, at: at.clone() }));
        };
        let found = match keyword.grammar {
            Grammar::Host => host(rest),
            Grammar::Match => criteria::parse(rest).map(|criteria| Item::Match { criteria, at: at.clone() }),
            Grammar::Include => match includes {
                Some((trust, depth)) => match include_paths(rest, trust, self.local) {
                    Ok(paths) => return self.include(paths, trust, depth, at).map(Some),
                    Err(wrong) => Err(wrong),
                },
                None => Err(("works in files only".to_owned(), "load a file instead".to_owned())),
            },
            _ => Value::parse(keyword, rest).map(|value| Item::Option { keyword, value, at: at.clone() }),
        };
        Ok(found.map_err(|(problem, fix)| self.problems.push(Problem::new(at, &name, problem, fix))).ok())
    }

    fn include(
        &mut self,
        paths: Vec<PathBuf>,
        trust: Trust<'_>,
        depth: u32,
        at: &Place,
    ) -> Result<Item, SshConfigError> {
        let mut files = Vec::new();
        for path in paths {
            self.files += 1;
            if depth >= MAX_DEPTH || self.files > MAX_FILES {
                let what = "too many files include each other (at most 16 deep, 1024 in all)";
                return Err(
                    Problem::new(at, "include", what, "look for files that include themselves").into()
                );
            }
            let trust = Trust { check: true, required: false, ..trust };
            files.push(self.file_at(&path, trust, depth + 1)?);
        }
        Ok(Item::Include { files })
    }
}

fn host(rest: &str) -> Result<Item, (String, String)> {
    match words::split_words(rest) {
        None => Err(("has a quote that is not closed".to_owned(), "close it".to_owned())),
        Some(patterns) if patterns.is_empty() || patterns.iter().any(String::is_empty) => {
            Err(("has no pattern, or an empty one".to_owned(), "give a pattern, as *.example.org".to_owned()))
        }
        Some(patterns) => Ok(Item::Host { patterns }),
    }
}

/// What the patterns of an include lead to, in the order OpenSSH reads it.
fn include_paths(rest: &str, trust: Trust<'_>, local: &Local) -> Result<Vec<PathBuf>, (String, String)> {
    let fail = |problem: String, fix: &str| Err((problem, fix.to_owned()));
    let words = words::split_words(rest).unwrap_or_default();
    if words.is_empty() || words.iter().any(String::is_empty) {
        return fail(
            "has no path, or an open quote".to_owned(),
            "give paths, with quotes around those with spaces",
        );
    }
    let mut paths = Vec::new();
    for word in words {
        if word.contains('%') {
            return fail(format!("`{word}` has a token"), "tokens are not put in here: name the files");
        }
        if word.starts_with('~') && !trust.user {
            return fail(
                format!("`{word}` is in somebody's home"),
                "give a path that is the same for all users",
            );
        }
        let word = tokens::expand(&word, None, true)
            .map_err(|problem| (problem, "set it, or name the file".to_owned()))?;
        let pattern = if word.starts_with('~') {
            let (user, path) = word.split_once('/').unwrap_or((&word, ""));
            let home =
                tokens::tilde(user, local).map_err(|problem| (problem, "name the directory".to_owned()))?;
            format!("{}{path}", glob::Pattern::escape(&home))
        } else if Path::new(&word).is_absolute() {
            word
        } else {
            format!("{}/{word}", glob::Pattern::escape(&trust.dir.display().to_string()))
        };
        // `**` is nothing special to glob(7).
        let mut pattern = pattern;
        while pattern.contains("**") {
            pattern = pattern.replace("**", "*");
        }
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        match glob::glob_with(&pattern, options) {
            // What cannot be looked into is passed over, as glob(3) does.
            Ok(found) => paths.extend(found.filter_map(Result::ok)),
            Err(error) => return fail(format!("`{pattern}`: {error}"), "write a pattern of glob(7)"),
        }
    }
    Ok(paths)
}

/// The file's content. The inner error is the file's, the outer one ours about it.
fn read(path: &Path, check: bool) -> Result<io::Result<Vec<u8>>, SshConfigError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    if check {
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(what) = distrust(&metadata) {
            return Err(SshConfigError::Unsafe { file: path.to_owned(), what });
        }
    }
    let mut bytes = Vec::new();
    Ok(match file.take(MAX_FILE + 1).read_to_end(&mut bytes) {
        Err(error) => Err(error),
        Ok(read) if u64::try_from(read).unwrap_or(u64::MAX) > MAX_FILE => {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, "is longer than 4 MiB"))
        }
        Ok(_) => Ok(bytes),
    })
}

/// What OpenSSH refuses of a file.
#[cfg(unix)]
fn distrust(metadata: &std::fs::Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;

    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o777);
    if owner != 0 && owner != nix::unistd::getuid().as_raw() {
        return Some(format!("belongs to user {owner}"));
    }
    (mode & 0o022 != 0).then(|| format!("has mode {mode:03o}"))
}

#[cfg(not(unix))]
fn distrust(_metadata: &std::fs::Metadata) -> Option<String> {
    None
}

/// Whether anything asks for a second pass.
pub(super) fn wants_final(items: &[Item]) -> bool {
    items.iter().any(|item| match item {
        Item::Match { criteria, .. } => {
            criteria.iter().any(|criterion| criterion.what == What::Final { asks_for_it: true })
        }
        Item::Include { files } => files.iter().any(|file| wants_final(file)),
        _ => false,
    })
}

#[cfg(test)]
mod tests;
