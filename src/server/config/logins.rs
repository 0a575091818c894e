//! Who may enter.

use std::future::Future;
use std::time::Duration;

use secrecy::SecretString;

use super::DaemonConfig;
use crate::server::login::{LoginAttempt, decider};
use crate::wire::keys::PublicKey;

/// # Who may enter
impl DaemonConfig {
    /// Lets in who has a password the callback says yes to (RFC 4252 section 8). A no takes at least a second.
    #[must_use]
    pub fn password<F>(
        mut self,
        decide: impl Fn(LoginAttempt, SecretString) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.logins.password = Some(decider(decide));
        self
    }

    /// Lets in who owns a key the callback says yes to (RFC 4252 section 7).
    ///
    /// It is asked when a key is offered, and again when the peer's signature has been verified; only then the yes
    /// counts.
    #[must_use]
    pub fn public_key<F>(
        mut self,
        decide: impl Fn(LoginAttempt, PublicKey) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.logins.public_key = Some(decider(decide));
        self
    }

    /// Lets anyone in, under any name, without any proof (the method `none`, RFC 4252 section 5.2).
    #[must_use]
    pub const fn danger_let_anyone_in(mut self) -> Self {
        self.logins.anyone = true;
        self
    }

    /// Sets a text that every client gets before it logs in (RFC 4252 section 5.4).
    #[must_use]
    pub fn banner(mut self, text: impl Into<String>) -> Self {
        self.logins.banner = Some(text.into());
        self
    }

    /// Sets how long a peer may take from the TCP connection to a successful login, whatever it sends meanwhile.
    /// Default 120 s.
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
}
