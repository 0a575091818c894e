//! What is asked of a configuration: what stands on the command line of `ssh`.

use std::time::Duration;

use super::local::Local;

/// What becomes of `Match exec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MatchExec {
    /// Looking up a host that it matters for is an error.
    #[default]
    Refuse,
    /// It does not match, and [`HostOptions::remarks`](super::HostOptions::remarks) tells so.
    Skip,
    /// The command runs in the user's shell (`$SHELL -c`, else `/bin/sh`), for at most this long each, and matches when
    /// its exit status is 0. Takes [`SshConfig::resolve_running`](super::SshConfig::resolve_running).
    Run(Duration),
}

/// A host that is looked up, and what is said along with it. What is said here comes before all files.
///
/// ```
/// use ractor_ssh::ssh_config::Asked;
///
/// // ssh -l ci -p 2222 -o ConnectTimeout=5 build
/// let asked = Asked::host("build").user("ci").port(2222).option("ConnectTimeout=5");
/// # drop(asked);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub(super) host: String,
    pub(super) lines: Vec<String>,
    pub(super) tag: Option<String>,
    pub(super) exec: MatchExec,
    pub(super) local: Option<Local>,
    pub(super) allow_unknown: bool,
}

impl Asked {
    /// Looks this host up: a name as `Host` lines have it, or an address.
    #[must_use]
    pub fn host(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            lines: Vec::new(),
            tag: None,
            exec: MatchExec::default(),
            local: None,
            allow_unknown: false,
        }
    }

    /// The user to log in as (`ssh -l`).
    #[must_use]
    pub fn user(self, user: impl AsRef<str>) -> Self {
        let user = user.as_ref().replace('\\', "\\\\").replace('"', "\\\"");
        self.option(format!("User=\"{user}\""))
    }

    /// The port (`ssh -p`).
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.option(format!("Port={port}"))
    }

    /// An option as a file would have it (`ssh -o`): `Keyword=value` or `Keyword value`.
    #[must_use]
    pub fn option(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// What `Match tagged` looks at (`ssh -P`).
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// What becomes of `Match exec`. Default: [`MatchExec::Refuse`].
    #[must_use]
    pub const fn match_exec(mut self, exec: MatchExec) -> Self {
        self.exec = exec;
        self
    }

    /// Who and where we are. Default: [`Local::current`].
    #[must_use]
    pub fn local(mut self, local: Local) -> Self {
        self.local = Some(local);
        self
    }

    /// Keywords that nobody knows become remarks instead of errors. Files can say so themselves: `IgnoreUnknown`.
    #[must_use]
    pub const fn allow_unknown(mut self) -> Self {
        self.allow_unknown = true;
        self
    }
}
