//! Who the daemon is: the user its processes run as.

use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

const FALLBACK_SHELL: &str = "/bin/sh";

/// The user behind this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) home: PathBuf,
    pub(super) shell: PathBuf,
}

impl Account {
    /// Asks the environment for shell and home, the user database for the name and for what is missing. May block: the
    /// database may be elsewhere.
    pub(super) fn look_up() -> Self {
        let uid = Uid::effective();
        let entry = User::from_uid(uid).unwrap_or_else(|error| {
            tracing::warn!(%error, %uid, "cannot ask the user database");
            None
        });
        Self::from_sources(entry, |name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_sources(entry: Option<User>, var: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let absolute = |path: &PathBuf| path.is_absolute();
        let (name, home, shell) = match entry {
            Some(user) => (Some(user.name), Some(user.dir), Some(user.shell)),
            None => (None, None, None),
        };
        let named = || var("USER").or_else(|| var("LOGNAME"));
        let name = name.or_else(|| named().map(|name| name.to_string_lossy().into_owned()));
        let either = |from_env: &str, from_entry: Option<PathBuf>, fallback: &str| {
            let known = var(from_env).filter(absolute).or_else(|| from_entry.filter(absolute));
            known.unwrap_or_else(|| Path::new(fallback).to_owned())
        };
        Self {
            name: name.unwrap_or_else(|| Uid::effective().to_string()),
            home: either("HOME", home, "/"),
            shell: either("SHELL", shell, FALLBACK_SHELL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_environment_and_entry_there_is_still_a_shell() {
        let account = Account::from_sources(None, |_| None);
        assert_eq!(account.shell, Path::new("/bin/sh"));
        assert_eq!(account.home, Path::new("/"));
        assert!(!account.name.is_empty());
    }

    #[test]
    fn the_environment_names_shell_and_home_if_absolute() {
        let account = Account::from_sources(None, |name| match name {
            "SHELL" => Some("/opt/fish".into()),
            "HOME" => Some("relative".into()),
            "USER" => Some("alice".into()),
            _ => None,
        });
        let expected = Account { name: "alice".into(), home: "/".into(), shell: "/opt/fish".into() };
        assert_eq!(account, expected);
    }

    #[test]
    fn this_program_has_a_user() {
        let account = Account::look_up();
        assert!(account.shell.is_absolute() && account.home.is_absolute() && !account.name.is_empty());
    }
}
