//! Who and where we are: what tokens and `Match localuser` mean.

use std::path::{Path, PathBuf};

use super::error::SshConfigError;

/// The local user and machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Local {
    /// The user's name: `%u`.
    pub user: String,
    /// The user's number: `%i`.
    pub uid: u32,
    /// The user's home directory: `%d`, and what `~` means.
    pub home: PathBuf,
    /// The machine's name, with its domain if it has one: `%l`.
    pub hostname: String,
}

impl Local {
    /// Names all of it.
    #[must_use]
    pub fn new(
        user: impl Into<String>,
        uid: u32,
        home: impl Into<PathBuf>,
        hostname: impl Into<String>,
    ) -> Self {
        Self { user: user.into(), uid, home: home.into(), hostname: hostname.into() }
    }

    /// What the system says of the user that this process runs as. As in OpenSSH, it is not `$HOME` and `$USER`.
    ///
    /// # Errors
    /// [`SshConfigError::Local`] if the system does not know that user.
    #[cfg(unix)]
    pub fn current() -> Result<Self, SshConfigError> {
        use nix::unistd::{User, getuid};

        let uid = getuid();
        let unknown = |why: String| SshConfigError::Local(format!("user {uid}: {why}"));
        let user = User::from_uid(uid)
            .map_err(|error| unknown(error.to_string()))?
            .ok_or_else(|| unknown("is in no user database".to_owned()))?;
        let hostname = nix::unistd::gethostname().map_err(|error| unknown(error.to_string()))?;
        Ok(Self::new(user.name, uid.as_raw(), user.dir, hostname.to_string_lossy()))
    }

    /// What the environment says: `USERNAME`, `COMPUTERNAME` and the home directory.
    ///
    /// # Errors
    /// [`SshConfigError::Local`] if one of them is missing.
    #[cfg(not(unix))]
    pub fn current() -> Result<Self, SshConfigError> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|error| SshConfigError::Local(format!("{name}: {error}")))
        };
        let home =
            std::env::home_dir().ok_or_else(|| SshConfigError::Local("there is no home".to_owned()))?;
        Ok(Self::new(variable("USERNAME")?, 0, home, variable("COMPUTERNAME")?))
    }

    /// The machine's name without its domain: `%L`.
    pub(super) fn short_hostname(&self) -> &str {
        self.hostname.split('.').next().unwrap_or(&self.hostname)
    }

    /// The home of this user, or of another one.
    pub(super) fn home_of(&self, user: &str) -> Option<PathBuf> {
        if user.is_empty() || user == self.user { Some(self.home.clone()) } else { others_home(user) }
    }

    pub(super) fn ssh_dir(&self) -> PathBuf {
        self.home.join(".ssh")
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }
}

#[cfg(unix)]
fn others_home(user: &str) -> Option<PathBuf> {
    nix::unistd::User::from_name(user).ok().flatten().map(|user| user.dir)
}

#[cfg(not(unix))]
fn others_home(_user: &str) -> Option<PathBuf> {
    None
}
