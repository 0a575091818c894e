//! What is asked of a configuration: what stands on the command line of `ssh`.

use std::time::Duration;

use super::error::{Place, Problem};
use super::file::Item;
use super::local::Local;
use super::value::Value;

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
    /// its exit status is 0. It leads a process group of its own, which is killed if it takes longer or the future is
    /// dropped: it has no terminal to ask at. Takes [`SshConfig::resolve_running`](super::SshConfig::resolve_running).
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
    pub(super) default_port: u16,
    pub(super) lines: Vec<String>,
    /// Those of the lines that are for the jump hosts too.
    everywhere: Vec<String>,
    pub(super) tag: Option<String>,
    pub(super) exec: MatchExec,
    pub(super) local: Option<Local>,
    pub(super) allow_unknown: bool,
}

impl Asked {
    /// Looks this host up: a name as `Host` lines have it, or an address. For `user@host:port` as people write it, see
    /// [`JumpHost::asked`](super::JumpHost::asked).
    #[must_use]
    pub fn host(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            default_port: 22,
            lines: Vec::new(),
            everywhere: Vec::new(),
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

    /// The port if neither what is asked nor a file says one: that of NETCONF is 830. For this host alone, not for those on
    /// the way to it; `%p` stands for it, too. Default: 22.
    #[must_use]
    pub const fn default_port(mut self, port: u16) -> Self {
        self.default_port = port;
        self
    }

    /// An option as a file would have it (`ssh -o`): `Keyword=value` or `Keyword value`.
    #[must_use]
    pub fn option(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// The same, for the jump hosts on the way as well ([`SshConfig::client`](super::SshConfig::client)): OpenSSH has
    /// nothing like it.
    #[must_use]
    pub fn option_everywhere(mut self, line: impl Into<String>) -> Self {
        let line = line.into();
        self.everywhere.push(line.clone());
        self.option(line)
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

    /// A jump host on the way to it.
    pub(super) fn for_jump(&self, jump: &super::JumpHost) -> Self {
        let mut asked = jump.asked();
        asked.exec = self.exec;
        asked.local.clone_from(&self.local);
        asked.allow_unknown = self.allow_unknown;
        asked.everywhere.clone_from(&self.everywhere);
        asked.lines.extend(self.everywhere.iter().cloned());
        asked
    }

    /// Keywords that nobody knows become remarks instead of errors. Files can say so themselves: `IgnoreUnknown`.
    #[must_use]
    pub const fn allow_unknown(mut self) -> Self {
        self.allow_unknown = true;
        self
    }
}

/// Names that come from elsewhere end in commands by `%h` and `%r`. So, as OpenSSH since 9.6, what is asked may not have what
/// means something to a shell; files may.
pub(super) fn check_names(host: &str, given: &[Item]) -> Result<(), Problem> {
    let refuse = |keyword: &str, name: &str| {
        let what = format!("`{name}` has characters that mean something to a shell");
        Err(Problem::new(&Place::Asked, keyword, what, "give a plain name; put others into a file"))
    };
    if !is_plain_host(host) {
        return refuse("host", host);
    }
    for item in given {
        let Item::Option { keyword, value: Value::Text(name), .. } = item else { continue };
        match keyword.name {
            "user" if !is_plain_user(name) => return refuse("user", name),
            "hostname" if !is_plain_host(name) => return refuse("hostname", name),
            _ => {}
        }
    }
    Ok(())
}

/// OpenSSH's `valid_hostname`; and not empty.
pub(super) fn is_plain_host(name: &str) -> bool {
    let special = |c: char| "'`\"$\\;&<>|(){}".contains(c) || c.is_whitespace() || c.is_control();
    !name.is_empty() && !name.starts_with('-') && !name.contains(special)
}

/// OpenSSH's `valid_ruser`.
fn is_plain_user(name: &str) -> bool {
    let special = |c: char| "'`\";&<>|(){}".contains(c) || c.is_control();
    let option = name.split(char::is_whitespace).any(|word| word.starts_with('-'));
    !option && !name.ends_with('\\') && !name.contains(special)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_to_a_shell_are_none() {
        for host in ["a", "::1", "fe80::1%eth0", "a.b-c_d", "xn--bcher-kva", "bücher"] {
            assert!(is_plain_host(host), "{host}");
        }
        for host in
            ["", "-oProxyCommand=x", "a;b", "$(a)", "`a`", "a b", "a\nb", "a|b", "a\\", "a'", "{a}", "a>b"]
        {
            assert!(!is_plain_host(host), "{host}");
        }
        for user in ["a", "DOM\\user", "a b", "a@b", "a$"] {
            assert!(is_plain_user(user), "{user}");
        }
        for user in ["-l", "a -b", "a\\", "`a`", "a;b", "a\nb", "$(a)", "a\"b"] {
            assert!(!is_plain_user(user), "{user}");
        }
    }
}
