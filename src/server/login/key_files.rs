//! Reading authorized_keys files: which file, whether it can be trusted, and no longer than is good.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::authorized_keys::KeyLines;
use crate::error::ConfigError;

/// No file is read beyond this.
const MAX_FILE: u64 = 1 << 20;
/// No file system is waited for longer than this.
const DEADLINE: Duration = Duration::from_secs(10);

/// A path with `%u` for the user's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPattern(PathBuf);

impl PathPattern {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |problem: String, fix: &str| Err(ConfigError::new("authorized_keys", problem, fix));
        if self.0.as_os_str().is_empty() {
            return wrong("has an empty path".to_owned(), "give the path of a file");
        }
        match self.expand("user") {
            Ok(_) => Ok(()),
            Err(problem) => wrong(problem, "use %u for the user's name and %% for a percent sign"),
        }
    }

    /// The path for one user.
    fn expand(&self, user: &str) -> Result<PathBuf, String> {
        let Some(text) = self.0.to_str() else {
            let percent = self.0.as_os_str().as_encoded_bytes().contains(&b'%');
            let problem = || format!("{} is not UTF-8 and has a percent sign", self.0.display());
            return if percent { Err(problem()) } else { Ok(self.0.clone()) };
        };
        let mut path = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (c, if c == '%' { chars.next() } else { None }) {
                ('%', Some('%')) => path.push('%'),
                ('%', Some('u')) if is_file_name(user) => path.push_str(user),
                ('%', Some('u')) => return Err(format!("the user name {user:?} is no file name")),
                ('%', _) => return Err(format!("{text} has an unknown percent sequence")),
                (c, _) => path.push(c),
            }
        }
        Ok(path.into())
    }

    /// The lines of the user's file; nothing if it cannot be used, which is logged.
    pub(super) async fn read(&self, user: &str, strict: bool) -> Option<Arc<KeyLines>> {
        let path = match self.expand(user) {
            Ok(path) => path,
            Err(problem) => {
                tracing::debug!(problem, "no authorized keys");
                return None;
            }
        };
        let name = path.display().to_string();
        let work = tokio::task::spawn_blocking(move || {
            let text = read(&path, strict)?;
            Ok(KeyLines::parse(&path.display().to_string(), &text))
        });
        let problem = match tokio::time::timeout(DEADLINE, work).await {
            Ok(Ok(Ok(lines))) => return Some(Arc::new(lines)),
            Ok(Ok(Err(Unusable::Io(error)))) if error.kind() == ErrorKind::NotFound => {
                tracing::debug!(file = name, "no authorized keys");
                return None;
            }
            Ok(Ok(Err(problem))) => problem.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it was not read within {DEADLINE:?}"),
        };
        tracing::warn!(file = name, problem, "authorized keys are not used");
        None
    }
}

/// Whether a user's name can stand in a path without leading elsewhere.
fn is_file_name(user: &str) -> bool {
    !user.is_empty() && user != "." && user != ".." && !user.contains(['/', '\\', '\0'])
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a file")]
    NotAFile,
    #[error("it has more than {MAX_FILE} bytes")]
    TooLong,
    #[error("{what} can be written by others than its owner; take that away with `chmod go-w {path}`")]
    Writable { what: &'static str, path: String },
}

fn read(path: &Path, strict: bool) -> Result<Vec<u8>, Unusable> {
    // Opening a pipe would wait for somebody to write.
    if !fs::metadata(path)?.is_file() {
        return Err(Unusable::NotAFile);
    }
    let file = File::open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(Unusable::NotAFile);
    }
    if strict {
        owner_only("it", path, &facts)?;
        let real = fs::canonicalize(path)?;
        if let Some(directory) = real.parent() {
            owner_only("its directory", directory, &fs::metadata(directory)?)?;
        }
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|len| len <= MAX_FILE) { Ok(text) } else { Err(Unusable::TooLong) }
}

#[cfg(unix)]
fn owner_only(what: &'static str, path: &Path, facts: &fs::Metadata) -> Result<(), Unusable> {
    use std::os::unix::fs::PermissionsExt;

    if facts.permissions().mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Unusable::Writable { what, path: path.display().to_string() })
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "there are no such modes here")]
fn owner_only(_what: &'static str, _path: &Path, _facts: &fs::Metadata) -> Result<(), Unusable> {
    Ok(())
}
