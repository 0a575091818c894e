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
    #[error("{0} can be written by others than its owner; take that away with `chmod go-w`")]
    Writable(String),
    #[error("{path} belongs to user {owner}, not to root or the user of this process")]
    Foreign { path: String, owner: u32 },
}

fn read(path: &Path, strict: bool) -> Result<Vec<u8>, Unusable> {
    let real = fs::canonicalize(path)?;
    // Opening a pipe would wait for somebody to write.
    if !fs::metadata(&real)?.is_file() {
        return Err(Unusable::NotAFile);
    }
    let file = File::open(&real)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(Unusable::NotAFile);
    }
    if strict {
        only_ours(&real, &facts)?;
        for directory in real.ancestors().skip(1) {
            only_ours(directory, &fs::symlink_metadata(directory)?)?;
        }
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|len| len <= MAX_FILE) { Ok(text) } else { Err(Unusable::TooLong) }
}

/// Nobody but root and the user of this process can change it.
#[cfg(unix)]
fn only_ours(path: &Path, facts: &fs::Metadata) -> Result<(), Unusable> {
    use std::os::unix::fs::MetadataExt;

    let (owner, mode, us) = (facts.uid(), facts.mode(), rustix::process::geteuid().as_raw());
    if !is_trusted(owner, us) {
        return Err(Unusable::Foreign { path: path.display().to_string(), owner });
    }
    if is_shared(mode, facts.is_dir()) {
        return Err(Unusable::Writable(path.display().to_string()));
    }
    Ok(())
}

#[cfg(unix)]
const fn is_trusted(owner: u32, us: u32) -> bool {
    owner == 0 || owner == us
}

/// Whether others can write it. What is in a sticky directory can be taken away by its owner only.
#[cfg(unix)]
const fn is_shared(mode: u32, directory: bool) -> bool {
    mode & 0o022 != 0 && !(directory && mode & 0o1000 != 0)
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "there are no such modes here")]
fn only_ours(_path: &Path, _facts: &fs::Metadata) -> Result<(), Unusable> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_read_only_if_nobody_else_can_write_it_or_any_directory_above_it() {
        let top = tempfile::tempdir().unwrap();
        let (upper, lower) = (top.path().join("a"), top.path().join("a/b"));
        fs::create_dir_all(&lower).unwrap();
        let (file, link) = (lower.join("keys"), top.path().join("link"));
        fs::write(&file, "x").unwrap();
        symlink(&file, &link).unwrap();
        for path in [&file, &lower, &upper] {
            let good = if path.is_dir() { 0o755 } else { 0o600 };
            mode(path, good);
        }
        let usable = || [&file, &link].map(|path| read(path, true).is_ok());
        assert_eq!(usable(), [true; 2]);
        for (path, good, bad) in [
            (&file, 0o644, 0o664),
            (&file, 0o644, 0o646),
            (&lower, 0o755, 0o775),
            (&upper, 0o755, 0o757),
            (&upper, 0o755, 0o777),
        ] {
            mode(path, bad);
            assert_eq!(usable(), [false; 2], "{} {bad:o}", path.display());
            assert_eq!(read(&file, false).unwrap(), b"x");
            mode(path, good);
            assert_eq!(usable(), [true; 2]);
        }
        mode(&upper, 0o1777);
        assert_eq!(usable(), [true; 2], "a sticky directory");
    }

    #[test]
    fn only_what_root_and_we_own_is_trusted() {
        assert!(is_trusted(0, 1000) && is_trusted(1000, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
        assert!(is_shared(0o1666, false), "sticky means nothing for a file");
    }

    #[test]
    fn a_file_or_a_directory_of_another_user_is_not_used() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("keys");
        fs::write(&file, "x").unwrap();
        mode(&file, 0o600);
        // Only root can give a file away.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for path in [file.as_path(), top.path()] {
            std::os::unix::fs::chown(path, Some(4321), None).unwrap();
            assert!(matches!(read(&file, true), Err(Unusable::Foreign { owner: 4321, .. })));
            assert_eq!(read(&file, false).unwrap(), b"x");
            std::os::unix::fs::chown(path, Some(0), None).unwrap();
        }
        read(&file, true).unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let top = tempfile::tempdir().unwrap();
        assert!(matches!(read(top.path(), true), Err(Unusable::NotAFile)));
    }
}
