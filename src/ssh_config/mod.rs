//! OpenSSH's client configuration, `ssh_config(5)`: read, looked up for one host, and applied.
//!
//! Three steps, each with its own errors:
//!
//! 1. [`SshConfig::load`] reads the files that `ssh` reads (or one, or a text) and checks every line.
//! 2. [`SshConfig::resolve`] gives the [`HostOptions`] that hold for one host: what `ssh -G host` shows, typed.
//! 3. [`HostOptions::client_config`] makes a [`ClientConfig`](crate::ClientConfig) of them, and lists what it could not put
//!    into it. Nothing is passed over in silence.
//!
//! [`SshConfig::client`] does the last two, for the host and all jump hosts before it.
//!
//! ```no_run
//! use ractor_ssh::Client;
//! use ractor_ssh::ssh_config::{Asked, Asking, SshConfig};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = SshConfig::load().await?;
//! let applied = config.client(&Asked::host("build"), &Asking::nobody()).await?;
//! for note in applied.notes() {
//!     eprintln!("{note}");
//! }
//! let connection = Client::new(applied.config).connect().await?;
//! # drop(connection);
//! # Ok(())
//! # }
//! ```
//!
//! # How near it is to OpenSSH
//!
//! The tests compare the options of a collection of files, key by key, with `ssh -G -F file host`. Known differences:
//!
//! - `Match localnetwork`, `command`, `sessiontype` and `version`, and tokens in `Include`, are errors.
//! - `Match exec` is an error until it is said what to do about it: [`Asked::match_exec`].
//! - `CanonicalizeHostname` asks no name server, and is reported as not honoured; the second pass that it brings is done.
//! - Ports are numbers: names of services are errors. Addresses in short forms, as `127.1`, stay as they are written.
//! - `%C` has the jump host in it (`%j`), and `User` takes tokens, as in newer releases; 9.2 knows neither.
//! - `SendEnv` keeps each name once.
//! - Algorithms are names until they are applied, against the lists of this crate.
//! - An `IdentityFile` whose variable is not set is a [remark](HostOptions::remarks), and not used; OpenSSH logs it. A
//!   `ControlPath` or `RevokedHostKeys` that cannot be expanded is one too.
//! - Lines must be UTF-8, except for comments.
//! - Hosts and users that are asked for may not have what means something to a shell, as in OpenSSH since 9.6.
//!
//! # Why it is our own
//!
//! The crate `ssh2-config` 0.9.0 was compared with `ssh -G` on the same files. Of 17 it refused 4 that `ssh` takes: times with
//! units, `none` for a time, quotes inside of a line. In 8 others it came to other options: what stands in a `Match` block was
//! taken for the `Host` block before it (another user, another port), there is no second pass for `Match final`, wildcards
//! after `-` and duplicates in lists of algorithms stay, `ProxyJump` is taken although `ProxyCommand` came first, `none` is a
//! host, tokens and `${}` stay, addresses are not put in their usual form. It does not look at who may write to a file.

mod algorithms;
mod apply;
mod asked;
mod asking;
mod criteria;
mod error;
mod exec;
mod expand;
mod file;
mod forward;
mod jump;
mod keyword;
mod kinds;
mod local;
mod options;
mod pattern;
mod permit;
mod resolve;
mod tokens;
mod units;
mod value;
mod way;
mod words;

use std::path::{Path, PathBuf};

pub use algorithms::{AlgorithmList, Change};
pub use apply::{Applied, Left, LeftOver};
pub use asked::{Asked, MatchExec};
pub use asking::Asking;
pub use error::{Place, Problem, SshConfigError};
pub use forward::{Endpoint, Forward};
pub use jump::JumpHost;
pub use kinds::{
    AddressFamily, AgentForwarding, IdentityAgent, Proxy, RequestTty, SessionType, StrictHostKeys,
};
pub use local::Local;
pub use options::{HostOptions, Setting};

use error::Place as At;
use file::{Item, Reader, Trust};
use resolve::{Outcome, Outcomes};

/// OpenSSH's directory for all users.
const SYSTEM_DIR: &str = "/etc/ssh";

/// The lines of all files, checked. Cheap to look up hosts in; reads nothing more.
#[derive(Debug, Clone, Default)]
pub struct SshConfig {
    files: Vec<Vec<Item>>,
}

impl SshConfig {
    /// Reads what `ssh` reads: `~/.ssh/config`, then `/etc/ssh/ssh_config`, and what they include. Files that do not exist
    /// are empty.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is changed.
    ///
    /// # Errors
    /// [`SshConfigError::Bad`] with all lines that cannot be used; [`SshConfigError::Unsafe`] for a file that others may
    /// write to; a file that cannot be read; [`SshConfigError::Local`].
    pub async fn load() -> Result<Self, SshConfigError> {
        let local = Local::current()?;
        let user = local.ssh_dir().join("config");
        Self::read(
            local,
            vec![(user, true, true, false), (Path::new(SYSTEM_DIR).join("ssh_config"), false, false, false)],
        )
        .await
    }

    /// Reads this file only, as `ssh -F`. It must exist; who may write to it is not looked at, but it is for the files
    /// it includes. Relative includes begin at `~/.ssh`.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is changed.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn load_file(path: impl Into<PathBuf>) -> Result<Self, SshConfigError> {
        Self::read(Local::current()?, vec![(path.into(), true, false, true)]).await
    }

    /// Takes the text of a file, which can include none.
    ///
    /// # Errors
    /// [`SshConfigError::Bad`] with all lines that cannot be used.
    pub fn parse(text: &str) -> Result<Self, SshConfigError> {
        let name = std::sync::Arc::from(Path::new("text"));
        let local = Local::new("", 0, "", "");
        let mut reader = Reader::new(&local);
        let mut items = Vec::new();
        for (number, line) in text.split('\n').enumerate() {
            items.extend(reader.line(line, &At::line(&name, number + 1), None)?);
        }
        reader.finish()?;
        Ok(Self { files: vec![items] })
    }

    /// Path, whether it is a user's, whether it is checked, whether it must exist.
    async fn read(local: Local, paths: Vec<(PathBuf, bool, bool, bool)>) -> Result<Self, SshConfigError> {
        let name = paths.first().map(|(path, ..)| path.clone()).unwrap_or_default();
        let work = move || {
            let mut reader = Reader::new(&local);
            let mut files = Vec::new();
            for (path, user, check, required) in paths {
                let dir = if user { local.ssh_dir() } else { PathBuf::from(SYSTEM_DIR) };
                files.push(reader.file(&path, Trust { dir: &dir, user, check, required })?);
            }
            reader.finish()?;
            Ok(Self { files })
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(config) => config,
            // The runtime is shutting down.
            Err(error) => {
                Err(SshConfigError::Unreadable { file: name, source: std::io::Error::other(error) })
            }
        }
    }

    /// The options that hold for a host. No command is run: see [`resolve_running`](Self::resolve_running).
    ///
    /// # Errors
    /// [`SshConfigError::Bad`] for keywords that are not known, options given along that cannot be used, and values whose
    /// tokens or variables mean nothing; [`SshConfigError::ExecRefused`]; [`SshConfigError::Local`].
    pub fn resolve(&self, asked: &Asked) -> Result<HostOptions, SshConfigError> {
        let local = asked.local.clone().map_or_else(Local::current, Ok)?;
        match self.look(asked, &local, &Outcomes::new())? {
            Outcome::Done(resolved) => expand::finish(*resolved, asked, &local),
            Outcome::Run { command, at } => Err(SshConfigError::ExecRefused { at, command }),
        }
    }

    /// As [`resolve`](Self::resolve), and runs the commands of `Match exec` if [`MatchExec::Run`] allows it; each once.
    ///
    /// # Cancel safety
    /// Cancel safe: a command under way is killed.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); [`SshConfigError::Exec`] if a command could not be run or took too long.
    pub async fn resolve_running(&self, asked: &Asked) -> Result<HostOptions, SshConfigError> {
        let local = asked.local.clone().map_or_else(Local::current, Ok)?;
        let mut outcomes = Outcomes::new();
        loop {
            match self.look(asked, &local, &outcomes)? {
                Outcome::Done(resolved) => return expand::finish(*resolved, asked, &local),
                Outcome::Run { command, at } => {
                    let limit = match asked.exec {
                        MatchExec::Run(limit) => limit,
                        MatchExec::Refuse | MatchExec::Skip => {
                            return Err(SshConfigError::ExecRefused { at, command });
                        }
                    };
                    let outcome = exec::run(&command, limit)
                        .await
                        .map_err(|source| SshConfigError::Exec { at, command: command.clone(), source })?;
                    outcomes.insert(command, outcome);
                }
            }
        }
    }

    fn look(&self, asked: &Asked, local: &Local, outcomes: &Outcomes) -> Result<Outcome, SshConfigError> {
        let mut reader = Reader::new(local);
        let mut given = Vec::new();
        for line in &asked.lines {
            match reader.line(line, &At::Asked, None)? {
                Some(Item::Host { .. } | Item::Match { .. } | Item::Include { .. }) => {
                    let fix = "give options only; blocks and includes stand in files";
                    return Err(Problem::new(&At::Asked, line, "is no option", fix).into());
                }
                item => given.extend(item),
            }
        }
        reader.finish()?;
        asked::check_names(&asked.host, &given)?;
        resolve::resolve(asked, given, &self.files, local, outcomes)
    }
}
