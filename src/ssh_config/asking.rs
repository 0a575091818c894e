//! Who is asked, and what is used instead of what files cannot say.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::auth::{KeyboardInteractive, Passphrase, PasswordRequest};
use crate::client::ClientConfig;
use crate::error::BoxError;
use crate::host_key::{HostKeyDecision, HostKeyInfo, HostKeyVerifier};

type AskPassword = dyn Fn(PasswordRequest) -> BoxFuture<'static, Option<SecretString>> + Send + Sync;
type Dial = dyn Fn(ClientConfig) -> ClientConfig + Send + Sync;

/// What a configuration file cannot have: people who are asked, and a way through a proxy.
#[derive(Clone, Default)]
pub struct Asking {
    pub(super) passphrase: Passphrase,
    pub(super) password: Option<Arc<AskPassword>>,
    pub(super) keyboard: Option<KeyboardInteractive>,
    pub(super) verifier: Option<Arc<dyn HostKeyVerifier>>,
    pub(super) dial: Option<Arc<Dial>>,
    pub(super) proxy_by_caller: bool,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking")
            .field("password", &self.password.is_some())
            .field("keyboard", &self.keyboard)
            .field("verifier", &self.verifier.is_some())
            .field("dial", &self.dial.is_some())
            .finish_non_exhaustive()
    }
}

impl Asking {
    /// Nobody is asked: as with `BatchMode yes`.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The passphrase of key files, or whom to ask for it.
    #[must_use]
    pub fn passphrase(mut self, passphrase: impl Into<Passphrase>) -> Self {
        self.passphrase = passphrase.into();
        self
    }

    /// Whom to ask for a password, unless `PasswordAuthentication` or `BatchMode` is against it.
    #[must_use]
    pub fn password_with<F, Fut>(mut self, ask: F) -> Self
    where
        F: Fn(PasswordRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<SecretString>> + Send + 'static,
    {
        self.password = Some(Arc::new(move |request| Box::pin(ask(request))));
        self
    }

    /// Who answers keyboard-interactive rounds, unless `KbdInteractiveAuthentication` or `BatchMode` is against it.
    #[must_use]
    pub fn keyboard_interactive(mut self, how: KeyboardInteractive) -> Self {
        self.keyboard = Some(how);
        self
    }

    /// Who is asked about the keys of new hosts (`StrictHostKeyChecking ask`, the default). Without one, they are refused.
    #[must_use]
    pub fn verifier(mut self, verifier: impl HostKeyVerifier) -> Self {
        self.verifier = Some(Arc::new(verifier));
        self
    }

    /// How the byte stream is made, as [`ClientConfig::dial_with`]: takes the place of what
    /// [`HostOptions::proxy`](super::HostOptions::proxy) says, which is an error without it or
    /// [`proxy_by_caller`](Self::proxy_by_caller).
    #[must_use]
    pub fn dial_with<F, Fut, IO>(mut self, dial: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let dial = Arc::new(dial);
        self.dial = Some(Arc::new(move |config: ClientConfig| {
            let dial = Arc::clone(&dial);
            config.dial_with(move || dial())
        }));
        self
    }

    /// The program sees to `ProxyJump` and `ProxyCommand` itself, with the configuration it gets: they are
    /// [`Left::ForCaller`](super::Left::ForCaller), and no error.
    #[must_use]
    pub const fn proxy_by_caller(mut self) -> Self {
        self.proxy_by_caller = true;
        self
    }
}

/// A verifier that several policies share.
pub(super) struct Shared(pub(super) Arc<dyn HostKeyVerifier>);

impl HostKeyVerifier for Shared {
    fn verify(&self, info: HostKeyInfo) -> BoxFuture<'_, Result<HostKeyDecision, BoxError>> {
        self.0.verify(info)
    }
}
