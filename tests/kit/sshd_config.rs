//! What an [`Sshd`] is started with: keys, and the text of its configuration file.
//!
//! Owns the defaults and the order of lines; knows nothing of processes.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::account::Account;
use super::keys::{KeyKind, KeyPair};
use super::sshd::Sshd;

/// Settings every kit server has, unless the test gives a line with the same keyword.
const DEFAULTS: [&str; 15] = [
    "LogLevel VERBOSE",
    "UsePAM no",
    "StrictModes no",
    "PermitRootLogin yes",
    "UseDNS no",
    "PrintMotd no",
    "PrintLastLog no",
    "AcceptEnv *",
    "MaxStartups 2000",
    "PubkeyAuthentication yes",
    "AllowTcpForwarding yes",
    "AllowStreamLocalForwarding yes",
    "AllowAgentForwarding yes",
    "PermitTTY yes",
    "Subsystem sftp internal-sftp",
];

/// Builds an [`Sshd`].
#[derive(Debug, Clone)]
pub(crate) struct SshdBuilder {
    pub(super) host_keys: Vec<KeyKind>,
    pub(super) host_certificates: bool,
    pub(super) user_key: KeyKind,
    pub(super) user_ca: bool,
    pub(super) account: Option<Account>,
    lines: Vec<String>,
}

impl SshdBuilder {
    pub(super) fn new() -> Self {
        Self {
            host_keys: vec![KeyKind::Ed25519],
            host_certificates: false,
            user_key: KeyKind::Ed25519,
            user_ca: false,
            account: None,
            lines: Vec::new(),
        }
    }

    /// The kinds of host keys, instead of one Ed25519 key.
    pub(crate) fn host_keys(mut self, kinds: &[KeyKind]) -> Self {
        self.host_keys = kinds.to_vec();
        self
    }

    /// Signs the host keys; `known_hosts` then names the authority instead of the keys.
    pub(crate) fn host_certificates(mut self) -> Self {
        self.host_certificates = true;
        self
    }

    /// The kind of the user's key, instead of Ed25519.
    pub(crate) fn user_key(mut self, kind: KeyKind) -> Self {
        self.user_key = kind;
        self
    }

    /// Makes an authority for user certificates and has the server trust it.
    pub(crate) fn trust_user_ca(mut self) -> Self {
        self.user_ca = true;
        self
    }

    /// Lets one user in who exists for this server alone, with a password (by PAM). Needs
    /// [`Peer::Account`](super::Peer::Account).
    pub(crate) fn account(mut self, name: &str, password: &str) -> Self {
        self.account = Some(Account::new(name, password));
        self.config("UsePAM yes")
    }

    /// Adds a line of `sshd_config`. It replaces the kit's own line with the same keyword; everything from
    /// a `Match` line on goes to the end of the file.
    pub(crate) fn config(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// `MaxSessions`: how many sessions one connection may have (OpenSSH's default is 10).
    pub(crate) fn max_sessions(self, sessions: u32) -> Self {
        self.config(format!("MaxSessions {sessions}"))
    }

    /// `RekeyLimit`, for example `"64K"` or `"1M 5s"`.
    pub(crate) fn rekey_limit(self, limit: &str) -> Self {
        self.config(format!("RekeyLimit {limit}"))
    }

    /// `LogLevel`, for example `"DEBUG1"`.
    pub(crate) fn log_level(self, level: &str) -> Self {
        self.config(format!("LogLevel {level}"))
    }

    /// Makes the keys, starts the server and waits until it listens.
    pub(crate) fn start(self) -> io::Result<Sshd> {
        Sshd::start(&self)
    }

    /// Whether the server writes its "listening" line.
    pub(super) fn is_verbose(&self) -> bool {
        let quiet = ["quiet", "fatal", "error"];
        !self.lines.iter().any(|line| {
            keyword(line) == "loglevel"
                && line
                    .split_whitespace()
                    .nth(1)
                    .is_some_and(|level| quiet.contains(&level.to_lowercase().as_str()))
        })
    }

    /// The configuration file. `tag` goes into the environment of what users run, and so does a home of its own: the
    /// start-up files of the one who runs the tests (bash reads them for every command) would take time and locks.
    pub(super) fn text(&self, port: u16, directory: &Path, files: &Files<'_>, tag: &str) -> String {
        let mut text = String::new();
        let tag = format!("{tag} HOME={}", directory.display());
        let mut line = |words: &str| writeln!(text, "{words}").expect("writing to a string");
        line(&format!("ListenAddress 127.0.0.1:{port}"));
        if !self.names("PidFile") {
            line(&format!("PidFile \"{}\"", directory.join("sshd.pid").display()));
        }
        if !self.names("AuthorizedKeysFile") {
            line(&format!("AuthorizedKeysFile \"{}\"", files.authorized_keys.display()));
        }
        for key in files.host_keys {
            line(&format!("HostKey \"{}\"", key.path().display()));
            if self.host_certificates {
                line(&format!("HostCertificate \"{}\"", key.certificate_path().display()));
            }
        }
        if let Some(authority) = files.user_ca {
            line(&format!("TrustedUserCAKeys \"{}\"", authority.public_path().display()));
        }
        if files.has_penalties && !self.names("PerSourcePenalties no") {
            line("PerSourcePenalties no");
        }
        DEFAULTS.iter().filter(|default| !self.names(default)).for_each(|default| line(default));
        if !self.names("SetEnv") {
            line(&format!("SetEnv {tag}"));
        }
        let matches = self.lines.iter().position(|line| keyword(line) == "match").unwrap_or(self.lines.len());
        for (position, words) in self.lines.iter().enumerate() {
            if keyword(words) == "setenv" && position < matches {
                line(&format!("{words} {tag}"));
            } else {
                line(words);
            }
        }
        text
    }

    /// Whether the test gave this keyword itself, outside of a `Match` block.
    fn names(&self, default: &str) -> bool {
        let given = self.lines.iter().take_while(|line| keyword(line) != "match");
        given.into_iter().any(|line| same_setting(line, default))
    }
}

/// The files a configuration refers to.
#[derive(Debug)]
pub(super) struct Files<'a> {
    pub(super) authorized_keys: &'a Path,
    pub(super) host_keys: &'a [KeyPair],
    pub(super) user_ca: Option<&'a KeyPair>,
    /// Whether this sshd punishes addresses with failed logins (9.8 and later): tests fail on purpose.
    pub(super) has_penalties: bool,
}

fn keyword(line: &str) -> String {
    line.split([' ', '\t', '=']).find(|word| !word.is_empty()).unwrap_or_default().to_lowercase()
}

/// Subsystems are told apart by their name, everything else by the keyword.
fn same_setting(line: &str, default: &str) -> bool {
    let second = |text: &str| text.split_whitespace().nth(1).map(str::to_owned);
    keyword(line) == keyword(default) && (keyword(line) != "subsystem" || second(line) == second(default))
}
