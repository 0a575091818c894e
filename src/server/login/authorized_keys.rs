//! authorized_keys files: who is on the list, and what the list says about them (sshd(8)).
//!
//! Owns the lines of one file and the looking up. Where the text comes from is in `key_files`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::certificate::{self, CertificateRefusal};
use super::decision::LoginRefusal;
use super::key_files::PathPattern;
use super::key_options::KeyOptions;
use super::merge::both;
use crate::error::ConfigError;
use crate::server::permissions::Permissions;
use crate::wire::keys::{Certificate, KeyData, PublicKey};

/// Keys that let users in, in the format of OpenSSH's authorized_keys files (sshd(8)).
///
/// ```
/// use ractor_ssh::login::AuthorizedKeys;
///
/// let keys = AuthorizedKeys::parse("restrict,command=\"backup\" ssh-ed25519 AAAA... broken\n");
/// assert_eq!(keys.problems().len(), 1);
/// let files = AuthorizedKeys::file("/etc/my-service/keys/%u").user("alice");
/// ```
///
/// # Options of a line
///
/// | option | what it does here |
/// |---|---|
/// | `from=` | addresses, networks and wildcards, `!` negates; the peer's address must match. Names are not looked up in the DNS: one matches nobody, and a negated one breaks the line. Wildcards are compared with the address as it is written in short (`2001:db8::7`). A peer without an address matches nothing |
/// | `expiry-time=` | refused after that second; without `Z` in the system's time zone |
/// | `command=`, `environment=`, `permitopen=`, `permitlisten=` | see [`Permissions`] |
/// | `restrict`, `[no-]pty`, `[no-]port-forwarding`, `[no-]agent-forwarding`, `[no-]X11-forwarding` | see [`Permissions`] |
/// | `cert-authority`, `principals=` | the key signs user certificates, for the user's name or these principals |
/// | `[no-]user-rc`, `tunnel=` | allowed, without effect: there is no such file and no such device |
/// | `no-touch-required`, `no-verify-required` | allowed, without effect: the SSH library does not show what a security key has confirmed. So a touch is never required, not even of an `sk-` key without these options, unlike OpenSSH. The opposites are refused |
///
/// A line with anything else in it, or with a broken key, lets nobody in; it is logged with its place, and in
/// [`problems`](Self::problems).
#[derive(Debug, Clone)]
pub struct AuthorizedKeys {
    pub(super) source: Source,
    pub(super) user: Option<String>,
    pub(super) strict: bool,
    pub(super) environment: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Lines(Arc<KeyLines>),
    File(PathPattern),
}

impl AuthorizedKeys {
    /// Keys given as text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::from_source(Source::Lines(Arc::new(KeyLines::parse("authorized_keys", text.as_bytes()))))
    }

    /// A file that is read anew whenever a key is asked about, off the actors, for at most 10 s and up to 1 MiB. In the
    /// path, `%u` stands for the user's name and `%%` for a percent sign. A user name that is no plain file name (`..`,
    /// or one with a slash) has no file.
    ///
    /// Without the file nobody is let in, as with one that cannot be read. On Unix, the file and every directory above it
    /// (links followed first) must belong to root or to the user this process runs as, and neither group nor others may
    /// write them, but for sticky directories as `/tmp`. So files in the home directories of other users are not used:
    /// see [`danger_any_file_mode`](Self::danger_any_file_mode).
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::from_source(Source::File(PathPattern::new(path.into())))
    }

    const fn from_source(source: Source) -> Self {
        Self { source, user: None, strict: true, environment: true }
    }

    /// Holds for this user only. Default: for any user name (with `%u` in the path, each has a file of its own).
    #[must_use]
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Takes a file whoever owns it and whoever may write it, and whoever owns or may write the directories above it:
    /// all of them can log in.
    #[must_use]
    pub const fn danger_any_file_mode(mut self) -> Self {
        self.strict = false;
        self
    }

    /// Leaves `environment=` out. Do so where users write their own files and are not to choose what their commands
    /// run with (`LD_PRELOAD`).
    #[must_use]
    pub const fn without_environment(mut self) -> Self {
        self.environment = false;
        self
    }

    /// The lines of a text that let nobody in. For a file there are none: it is not read yet; see the log.
    #[must_use]
    pub fn problems(&self) -> &[KeyLineProblem] {
        match &self.source {
            Source::Lines(lines) => &lines.problems,
            Source::File(_) => &[],
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match &self.source {
            Source::Lines(_) => Ok(()),
            Source::File(path) => path.check(),
        }
    }

    /// What is known about this key or certificate.
    pub(super) async fn look_up(&self, who: &Asking<'_>, shown: &Shown<'_>) -> Found {
        if self.user.as_deref().is_some_and(|user| user != who.user) {
            return Found::default();
        }
        let lines = match &self.source {
            Source::Lines(lines) => Some(Arc::clone(lines)),
            Source::File(path) => path.read(who.user, self.strict).await,
        };
        let mut found = lines.map(|lines| lines.look_up(who, shown)).unwrap_or_default();
        if let Some(Ok(permissions)) = &mut found.answer
            && !self.environment
        {
            permissions.environment.clear();
        }
        found
    }
}

/// A line that lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: the line {problem}")]
#[non_exhaustive]
pub struct KeyLineProblem {
    /// File and line, as `path:7`.
    pub place: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) user: &'a str,
    pub(super) ip: Option<IpAddr>,
    /// In seconds of Unix time.
    pub(super) now: u64,
}

/// What the peer shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shown<'a> {
    Key(&'a KeyData),
    Certificate(&'a Certificate),
}

/// What the lines say.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What the first line says that lets it in; else why the last one that names it does not.
    pub(super) answer: Option<Result<Permissions, LoginRefusal>>,
    /// There is an authority: a key that is not on the list may come with a certificate.
    pub(super) authorities: bool,
}

/// The lines of one file.
#[derive(Debug)]
pub(super) struct KeyLines {
    name: String,
    lines: Vec<KeyLine>,
    pub(super) problems: Vec<KeyLineProblem>,
}

#[derive(Debug)]
struct KeyLine {
    number: usize,
    options: KeyOptions,
    key: KeyData,
}

impl KeyLines {
    pub(super) fn parse(name: &str, text: &[u8]) -> Self {
        let mut read = Self { name: name.to_owned(), lines: Vec::new(), problems: Vec::new() };
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_matches([' ', '\t', '\r']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse_line(line) {
                Ok((options, key)) => read.lines.push(KeyLine { number: at + 1, options, key }),
                Err(problem) => {
                    let problem = KeyLineProblem { place: format!("{name}:{}", at + 1), problem };
                    tracing::warn!(%problem, "a line of authorized keys is not used");
                    read.problems.push(problem);
                }
            }
        }
        read
    }

    pub(super) fn look_up(&self, who: &Asking<'_>, shown: &Shown<'_>) -> Found {
        let mut found = Found { answer: None, authorities: false };
        for line in &self.lines {
            found.authorities |= line.options.cert_authority;
            if matches!(found.answer, Some(Ok(_))) {
                continue;
            }
            if let Some(answer) = line.answer(who, shown) {
                found.answer = Some(answer.map_err(|problem| match problem {
                    Against::Line(problem) => {
                        LoginRefusal::Line { place: format!("{}:{}", self.name, line.number), problem }
                    }
                    Against::Certificate(problem) => LoginRefusal::Certificate(problem),
                    Against::Other(problem) => problem,
                }));
            }
        }
        found
    }
}

/// What stands against a login whose key a line names.
enum Against {
    Line(String),
    Certificate(CertificateRefusal),
    Other(LoginRefusal),
}

impl KeyLine {
    /// Nothing, if the line is about another key.
    fn answer(&self, who: &Asking<'_>, shown: &Shown<'_>) -> Option<Result<Permissions, Against>> {
        match *shown {
            Shown::Key(key) => {
                let named = !self.options.cert_authority && self.key == *key;
                named.then(|| self.permit(who))
            }
            Shown::Certificate(certificate) => {
                let named = self.options.cert_authority && self.key == *certificate.signature_key();
                named.then(|| self.certified(who, certificate))
            }
        }
    }

    fn permit(&self, who: &Asking<'_>) -> Result<Permissions, Against> {
        if let Some(from) = &self.options.from
            && !who.ip.is_some_and(|ip| from.matches(ip))
        {
            return Err(Against::Line("not from this address".to_owned()));
        }
        if self.options.expires.is_some_and(|at| at < who.now) {
            return Err(Against::Line("its time is over".to_owned()));
        }
        Ok(self.options.permissions.clone())
    }

    fn certified(&self, who: &Asking<'_>, certificate: &Certificate) -> Result<Permissions, Against> {
        let own = self.permit(who)?;
        let user = [who.user.to_owned()];
        let principals = self.options.principals.as_deref().unwrap_or(&user);
        let certified =
            certificate::check(certificate, principals, who.ip, who.now).map_err(Against::Certificate)?;
        both(own, certified).map_err(Against::Other)
    }
}

/// Reads a line; the error says what is wrong with it.
fn parse_line(line: &str) -> Result<(KeyOptions, KeyData), String> {
    let (first, _) = word(line);
    if ["ssh-", "ecdsa-", "sk-"].iter().any(|start| first.starts_with(start)) {
        return Ok((KeyOptions::default(), parse_key(line)?));
    }
    let (options, rest) = KeyOptions::parse(line)?;
    let written = line.get(..line.len() - rest.len()).unwrap_or_default();
    if written.contains(char::REPLACEMENT_CHARACTER) {
        return Err("has options that are not UTF-8".to_owned());
    }
    Ok((options, parse_key(rest)?))
}

fn parse_key(text: &str) -> Result<KeyData, String> {
    let (kind, rest) = word(text);
    let (body, _) = word(rest);
    if kind.is_empty() || body.is_empty() {
        return Err("has no key".to_owned());
    }
    let key = PublicKey::from_openssh(&format!("{kind} {body}"));
    key.map(|key| key.key_data().clone()).map_err(|error| format!("has a key that cannot be read: {error}"))
}

/// The first word, and what comes behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    text.split_once([' ', '\t']).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests;
