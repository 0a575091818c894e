//! [`Auth`]: what may be tried to log in, in which order, and within which limits.
//!
//! A plain description, cheap to clone and used again for every reconnect. Nothing happens here.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;

use super::agent::AgentMode;
use super::identity::Identity;
use super::identity_file::IdentityFile;
use super::keyboard::KeyboardInteractive;
use super::method::AuthMethod;
use super::plan::Slot;
use super::signer::Signer;
use crate::error::ConfigError;

/// How to log in: try all of these, in this order.
///
/// The server's answers are followed: methods that it does not offer are skipped, and after a partial
/// success (RFC 4252 section 5.1) the list is gone through again for what it wants next. So one list
/// serves plain logins and such as OpenSSH's `AuthenticationMethods publickey,password`.
///
/// A list that begins with a key tries it at once; any other begins with a `none` request, to learn what the
/// server offers before a password is sent or a person asked.
///
/// # Attempts
///
/// Servers end a login after a number of failures (OpenSSH: `MaxAuthTries`, 6), and each key that is offered
/// and refused is one. At most [`max_attempts`](Self::max_attempts) refusals are collected. Keys of
/// an agent are offered only as long as one attempt is left for each later entry of the list. A
/// key is never offered twice, wherever it comes from.
///
/// ```
/// use ractor_ssh::auth::{AgentMode, Auth, IdentityFile, KeyboardInteractive};
///
/// let auth = Auth::new()
///     .identity_file(IdentityFile::new("/etc/deploy/id_ed25519"))
///     .agent(AgentMode::IfAvailable)
///     .password("correct horse".into())
///     .keyboard_interactive(KeyboardInteractive::new().answer("*assword*", "correct horse".into()));
/// ```
#[derive(Clone)]
pub struct Auth {
    sources: Arc<Vec<Source>>,
    max_attempts: u32,
    max_asks: u32,
    allow_rsa_sha1: bool,
}

/// One entry of the list.
#[derive(Clone)]
pub(crate) enum Source {
    None,
    Password(SecretString),
    AskPassword(AskPassword),
    Identity(Identity),
    File(IdentityFile),
    Agent { mode: AgentMode, socket: Option<PathBuf>, only: Option<Arc<[PathBuf]>> },
    Signer(Arc<dyn Signer>),
    Keyboard(KeyboardInteractive),
}

type AskPassword = Arc<dyn Fn(PasswordRequest) -> BoxFuture<'static, Option<SecretString>> + Send + Sync>;

/// What a password is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordRequest {
    /// The user that is logging in.
    pub user: String,
    /// 1 the first time; one more each time the server has refused the answer before.
    pub attempt: u32,
}

impl PasswordRequest {
    pub(crate) fn new(user: &str, attempt: u32) -> Self {
        Self { user: user.to_owned(), attempt }
    }
}

impl Auth {
    /// Nothing to try yet; at most 6 attempts.
    #[must_use]
    pub fn new() -> Self {
        Self { sources: Arc::new(Vec::new()), max_attempts: 6, max_asks: 1, allow_rsa_sha1: false }
    }

    /// What OpenSSH would try: the agent of `SSH_AUTH_SOCK` if there is one, then those of `~/.ssh/id_ed25519`,
    /// `id_ecdsa` and `id_rsa` that exist. A key that needs a passphrase is passed over; add it by
    /// [`identity_file`](Self::identity_file) with a way to ask.
    #[must_use]
    pub fn usual() -> Self {
        let home = std::env::home_dir().unwrap_or_default().join(".ssh");
        ["id_ed25519", "id_ecdsa", "id_rsa"]
            .map(|name| home.join(name))
            .into_iter()
            .filter(|path| path.is_file())
            .fold(Self::new().agent(AgentMode::IfAvailable), |auth, path| {
                auth.identity_file(IdentityFile::new(path))
            })
    }

    /// Adds the `none` method (RFC 4252 section 5.2), for servers that ask for nothing.
    #[must_use]
    pub fn none(self) -> Self {
        self.add(Source::None)
    }

    /// Adds a key that is loaded already.
    #[must_use]
    pub fn identity(self, identity: Identity) -> Self {
        self.add(Source::Identity(identity))
    }

    /// Adds a key file that is read when its turn comes. If it cannot be used, the next entry is tried.
    #[must_use]
    pub fn identity_file(self, file: IdentityFile) -> Self {
        self.add(Source::File(file))
    }

    /// Adds the keys and certificates of the ssh-agent that the environment variable `SSH_AUTH_SOCK` names.
    #[must_use]
    pub fn agent(self, mode: AgentMode) -> Self {
        self.add_agent(mode, None, None)
    }

    /// The same for the agent at a Unix socket.
    #[must_use]
    pub fn agent_at(self, mode: AgentMode, socket: impl Into<PathBuf>) -> Self {
        self.add_agent(mode, Some(socket.into()), None)
    }

    /// The same, with those keys and certificates only whose public key is in one of these files, as OpenSSH does with
    /// `IdentitiesOnly`: in the file itself, a public or a private key, or in `FILE.pub` beside it. Files without a
    /// public key that can be read are passed over. Without a socket, the agent of `SSH_AUTH_SOCK`.
    #[must_use]
    pub fn agent_keys_of<P: Into<PathBuf>>(
        self,
        mode: AgentMode,
        socket: Option<PathBuf>,
        files: impl IntoIterator<Item = P>,
    ) -> Self {
        self.add_agent(mode, socket, Some(files.into_iter().map(Into::into).collect()))
    }

    fn add_agent(self, mode: AgentMode, socket: Option<PathBuf>, only: Option<Arc<[PathBuf]>>) -> Self {
        if mode == AgentMode::Off { self } else { self.add(Source::Agent { mode, socket, only }) }
    }

    /// Adds a key that lives elsewhere.
    #[must_use]
    pub fn signer(self, signer: impl Signer + 'static) -> Self {
        self.add(Source::Signer(Arc::new(signer)))
    }

    /// Adds a password (RFC 4252 section 8). It is sent at most once per login.
    ///
    /// A server that answers with a request to change the password is not understood: the login then
    /// ends at its deadline.
    #[must_use]
    pub fn password(self, password: SecretString) -> Self {
        self.add(Source::Password(password))
    }

    /// Adds a password that is asked for when its turn comes, up to [`max_asks`](Self::max_asks) times.
    /// `None` as an answer moves on to the next entry.
    #[must_use]
    pub fn password_with<F, Fut>(self, ask: F) -> Self
    where
        F: Fn(PasswordRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<SecretString>> + Send + 'static,
    {
        self.add(Source::AskPassword(Arc::new(move |request| Box::pin(ask(request)))))
    }

    /// Adds keyboard-interactive (RFC 4256).
    #[must_use]
    pub fn keyboard_interactive(self, how: KeyboardInteractive) -> Self {
        self.add(Source::Keyboard(how))
    }

    /// How many refusals to collect at most. Default: 6, OpenSSH's `MaxAuthTries`.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// How often somebody is asked again after a refusal, for each password provider and prompter.
    /// Default: 1. OpenSSH's client asks 3 times.
    #[must_use]
    pub fn max_asks(mut self, asks: u32) -> Self {
        self.max_asks = asks;
        self
    }

    /// Lets RSA keys sign with SHA-1 (`ssh-rsa`) where the server offers nothing better.
    ///
    /// SHA-1 signatures can be forged with some effort; OpenSSH has refused them since 8.8. Servers that
    /// need it are older than 2016.
    #[must_use]
    pub fn danger_allow_rsa_sha1(mut self) -> Self {
        self.allow_rsa_sha1 = true;
        self
    }

    fn add(mut self, source: Source) -> Self {
        Arc::make_mut(&mut self.sources).push(source);
        self
    }

    /// Whether a login can be tried at all with this list and user name.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty user name, an empty list or a limit of 0.
    pub fn check(&self, user: &str) -> Result<(), ConfigError> {
        let wrong = |field, problem, fix| Err(ConfigError::new(field, problem, fix));
        if user.is_empty() {
            return wrong("user", "the user name is empty", "give the name to log in as");
        }
        if self.sources.is_empty() {
            return wrong("auth", "there is nothing to try", "add a key, an agent, a password or `none()`");
        }
        if self.max_attempts == 0 {
            return wrong("max_attempts", "0 attempts allow no login", "give at least 1");
        }
        if self.max_asks == 0 {
            return wrong(
                "max_asks",
                "0 times means nobody is asked",
                "give at least 1, or leave the entry out",
            );
        }
        let problem = self.sources.iter().find_map(|source| match source {
            Source::Keyboard(how) => how.problem(),
            _ => None,
        });
        problem.map_or(Ok(()), |(field, problem, fix)| wrong(field, problem, fix))
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(crate) fn limit(&self) -> u32 {
        self.max_attempts
    }

    pub(crate) fn allows_rsa_sha1(&self) -> bool {
        self.allow_rsa_sha1
    }

    /// The list as the plan sees it, one slot per entry.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.sources.iter().map(|source| source.slot(self.max_asks)).collect()
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self::new()
    }
}

impl Source {
    fn slot(&self, max_asks: u32) -> Slot {
        match self {
            Self::None => Slot::once(AuthMethod::None),
            Self::Password(_) => Slot::once(AuthMethod::Password),
            Self::AskPassword(_) => Slot::asks(AuthMethod::Password, max_asks),
            // The automatic answers alone would fail the same way again.
            Self::Keyboard(how) if !how.has_prompter() => Slot::asks(AuthMethod::KeyboardInteractive, 1),
            Self::Keyboard(_) => Slot::asks(AuthMethod::KeyboardInteractive, max_asks),
            Self::Agent { .. } => Slot::found_keys(),
            Self::Identity(_) | Self::File(_) | Self::Signer(_) => Slot::named_keys(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password(_) => f.write_str("Password"),
            Self::AskPassword(_) => f.write_str("Password(asked for)"),
            Self::Identity(identity) => identity.fmt(f),
            Self::File(file) => file.fmt(f),
            Self::Agent { mode, socket, only } => {
                f.debug_tuple("Agent").field(mode).field(socket).field(only).finish()
            }
            Self::Signer(_) => f.write_str("Signer"),
            Self::Keyboard(how) => how.fmt(f),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("sources", &self.sources)
            .field("max_attempts", &self.max_attempts)
            .field("max_asks", &self.max_asks)
            .field("allow_rsa_sha1", &self.allow_rsa_sha1)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_secret() {
        let auth = Auth::new()
            .password("hunter2".into())
            .password_with(|_| async { Some("hunter2".into()) })
            .keyboard_interactive(KeyboardInteractive::new().answer("*assword*", "hunter2".into()))
            .identity_file(IdentityFile::new("/k").passphrase(SecretString::from("hunter2")));
        let printed = format!("{auth:?} {auth:#?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("*assword*") && printed.contains("/k"));
    }

    #[test]
    fn wrong_arguments_name_the_field_and_the_way_out() {
        let good = Auth::new().none();
        for (auth, user, field) in [
            (good.clone(), "", "user"),
            (Auth::new(), "a", "auth"),
            (Auth::new().agent(AgentMode::Off), "a", "auth"),
            (good.clone().max_attempts(0), "a", "max_attempts"),
            (good.clone().max_asks(0), "a", "max_asks"),
            (Auth::new().keyboard_interactive(KeyboardInteractive::new()), "a", "keyboard_interactive"),
            (Auth::new().keyboard_interactive(KeyboardInteractive::new().max_rounds(0)), "a", "max_rounds"),
        ] {
            let error = auth.check(user).unwrap_err();
            assert_eq!(error.field, field);
            assert!(!error.fix.is_empty());
        }
        assert_eq!(good.check("a"), Ok(()));
    }
}
