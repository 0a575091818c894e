//! Who may enter: callbacks, what is required, what is held against guessing.

use std::future::Future;
use std::time::Duration;

use secrecy::SecretString;

use super::DaemonConfig;
use crate::auth::AuthMethod;
use crate::server::login::{Contact, Interview, LoginAttempt, LoginDecision, LoginRefusal, SourcePenalties};
use crate::wire::keys::PublicKey;

/// # Who may enter
///
/// Callbacks return a [`LoginDecision`], or what becomes one: `true` and `false`, or
/// [`Permissions`](crate::Permissions). They are dropped when the login grace ends; a panic in one is a refusal.
impl DaemonConfig {
    /// Lets in who has a password the callback says yes to (RFC 4252 section 8). A no takes at least the
    /// [`login_delay`](Self::login_delay). russh refuses requests to change a password itself.
    #[must_use]
    pub fn password<F, D>(
        mut self,
        decide: impl Fn(LoginAttempt, SecretString) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = D> + Send + 'static,
        D: Into<LoginDecision> + 'static,
    {
        self.logins.set_password(decide);
        self
    }

    /// Lets in who owns a key the callback says yes to (RFC 4252 section 7).
    ///
    /// It is asked when a key is offered, and again when the peer's signature has been verified; only then the yes
    /// counts. It is asked before the lists of [`authorized_keys`](Self::authorized_keys), and never about
    /// certificates.
    #[must_use]
    pub fn public_key<F, D>(
        mut self,
        decide: impl Fn(LoginAttempt, PublicKey) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = D> + Send + 'static,
        D: Into<LoginDecision> + 'static,
    {
        self.logins.set_public_key(decide);
        self
    }

    /// Lets in who answers well (keyboard-interactive, RFC 4256): the function makes an [`Interview`] for each try,
    /// which asks until it decides.
    #[must_use]
    pub fn keyboard_interactive<I: Interview>(
        mut self,
        begin: impl Fn(LoginAttempt) -> I + Send + Sync + 'static,
    ) -> Self {
        self.logins.set_interview(begin);
        self
    }

    /// Lets in without proof who the callback says yes to (the method `none`, RFC 4252 section 5.2). Clients begin
    /// with it to learn which methods there are; it is never one of those named to them, and a no is no refused login:
    /// it is not counted, and takes no time at first, later as long as a key's.
    #[must_use]
    pub fn none<F, D>(mut self, decide: impl Fn(LoginAttempt) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = D> + Send + 'static,
        D: Into<LoginDecision> + 'static,
    {
        self.logins.set_none(decide);
        self
    }

    /// Lets anyone in, under any name, without any proof (the method `none`, RFC 4252 section 5.2).
    #[must_use]
    pub fn danger_let_anyone_in(self) -> Self {
        self.none(|_| async { true })
    }

    /// Requires several steps: one of these ways, all its methods in their order, as OpenSSH's
    /// `AuthenticationMethods`. Two steps by key take two keys. Default: any one method that can be decided about.
    ///
    /// ```
    /// # use ractor_ssh::{DaemonConfig, auth::AuthMethod::{KeyboardInteractive, Password, PublicKey}};
    /// # fn example(config: DaemonConfig) -> DaemonConfig {
    /// config.require([[PublicKey, Password], [PublicKey, KeyboardInteractive]])
    /// # }
    /// ```
    #[must_use]
    pub fn require<W>(mut self, ways: impl IntoIterator<Item = W>) -> Self
    where
        W: IntoIterator<Item = AuthMethod>,
    {
        self.logins.required = Some(ways.into_iter().map(|way| way.into_iter().collect()).collect());
        self
    }

    /// Sets a text that every client gets before it logs in (RFC 4252 section 5.4).
    #[must_use]
    pub fn banner(self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.banner_fn(move |_| Some(text.clone()))
    }

    /// Sets a function that makes the text for each connection; with nothing, none is sent. It must not block.
    ///
    /// The user is not known yet: russh sends the banner with its answer to the service request, before the first
    /// login. What is meant for one user can be told in the instructions of an interview's
    /// [`Prompts`](crate::login::Prompts).
    #[must_use]
    pub fn banner_fn(mut self, banner: impl Fn(&Contact) -> Option<String> + Send + Sync + 'static) -> Self {
        self.logins.set_banner(banner);
        self
    }

    /// Sets how long a peer may take from the TCP connection to a successful login, whatever it sends meanwhile.
    /// Default 120 s.
    ///
    /// The time from the key exchange to the login has a limit of its own, [`Timeouts::auth`](crate::config::Timeouts), 120 s
    /// by default: for a longer grace, raise that, too, with [`timeouts`](Self::timeouts).
    #[must_use]
    pub const fn login_grace(mut self, limit: Duration) -> Self {
        self.login_grace = limit;
        self
    }

    /// Sets how many logins may be refused on a connection before it is ended. Default 6.
    #[must_use]
    pub const fn max_auth_attempts(mut self, limit: usize) -> Self {
        self.max_auth_attempts = limit;
        self
    }

    /// Sets how long a refusal takes at least; for a key, a twentieth of it. If deciding took longer, the refusal comes
    /// after twice, four times, ... the delay. Default 1 s, at most a day.
    ///
    /// An interview that the peer leaves before its end is a refusal: what it turns to instead waits for the delay.
    #[must_use]
    pub const fn login_delay(mut self, delay: Duration) -> Self {
        self.logins.delay = delay;
        self
    }

    /// Sets what refused logins cost their source address.
    #[must_use]
    pub const fn source_penalties(mut self, penalties: SourcePenalties) -> Self {
        self.logins.penalties = penalties;
        self
    }

    /// Sets a function that is told of every refused login, keys that were only offered included: who, by which method,
    /// and why. It runs in the connection's own task and must not block. It is not told of what
    /// [russh refuses itself](crate::login#what-russh-refuses-itself).
    #[must_use]
    pub fn on_login_failed(
        mut self,
        hook: impl Fn(&LoginAttempt, AuthMethod, &LoginRefusal) + Send + Sync + 'static,
    ) -> Self {
        self.logins.set_on_failed(hook);
        self
    }
}
