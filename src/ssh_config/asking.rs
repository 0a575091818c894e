//! Who is asked.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::auth::{KeyboardInteractive, Passphrase, PasswordRequest};
use crate::error::BoxError;
use crate::host_key::{HostKeyDecision, HostKeyInfo, HostKeyVerifier};

type AskPassword = dyn Fn(PasswordRequest) -> BoxFuture<'static, Option<SecretString>> + Send + Sync;

/// What a configuration file cannot have: people who are asked. For jump hosts they are the same.
#[derive(Clone, Default)]
pub struct Asking {
    pub(super) passphrase: Passphrase,
    pub(super) password: Option<Arc<AskPassword>>,
    pub(super) keyboard: Option<KeyboardInteractive>,
    pub(super) verifier: Option<Arc<dyn HostKeyVerifier>>,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking")
            .field("password", &self.password.is_some())
            .field("keyboard", &self.keyboard)
            .field("verifier", &self.verifier.is_some())
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
}

/// A verifier that several policies share.
pub(super) struct Shared(pub(super) Arc<dyn HostKeyVerifier>);

impl HostKeyVerifier for Shared {
    fn verify(&self, info: HostKeyInfo) -> BoxFuture<'_, Result<HostKeyDecision, BoxError>> {
        self.0.verify(info)
    }
}
