//! Where the passphrase of an encrypted key file comes from.
//!
//! Knows nothing of files or formats: it only holds a secret, or whom to ask for one.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;

type Ask = Arc<dyn Fn(PassphraseRequest) -> BoxFuture<'static, Option<SecretString>> + Send + Sync>;

/// The passphrase of a key file, or how to get it. The default is none at all.
#[derive(Clone, Default)]
pub struct Passphrase(Kind);

#[derive(Clone, Default)]
enum Kind {
    #[default]
    None,
    Known(SecretString),
    Ask(Ask),
}

/// What a passphrase is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassphraseRequest {
    /// The key file's path, or a description when the key was given as bytes.
    pub key: String,
    /// 1 the first time; one more each time the answer before was wrong.
    pub attempt: u32,
}

impl Passphrase {
    /// How often a wrong answer is asked again, as OpenSSH does.
    pub(crate) const MAX_ASKS: u32 = 3;

    /// No passphrase: encrypted files are refused.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Asks when, and only when, a file is encrypted; up to three times while the answer is wrong.
    /// `None` as an answer means "no passphrase": the file is then refused.
    ///
    /// The future may be dropped at any await point.
    pub fn ask<F, Fut>(ask: F) -> Self
    where
        F: Fn(PassphraseRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<SecretString>> + Send + 'static,
    {
        Self(Kind::Ask(Arc::new(move |request| Box::pin(ask(request)))))
    }

    /// The passphrase for one more attempt, or `None` when there is nothing (more) to try.
    pub(crate) async fn get(&self, key: &str, attempt: u32) -> Option<SecretString> {
        match &self.0 {
            Kind::None => None,
            Kind::Known(secret) => (attempt == 1).then(|| secret.clone()),
            Kind::Ask(_) if attempt > Self::MAX_ASKS => None,
            Kind::Ask(ask) => ask(PassphraseRequest { key: key.to_owned(), attempt }).await,
        }
    }
}

impl From<SecretString> for Passphrase {
    fn from(secret: SecretString) -> Self {
        Self(Kind::Known(secret))
    }
}

impl From<Option<SecretString>> for Passphrase {
    fn from(secret: Option<SecretString>) -> Self {
        secret.map_or_else(Self::none, Self::from)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::None => "Passphrase(none)",
            Kind::Known(_) => "Passphrase(known)",
            Kind::Ask(_) => "Passphrase(asked for)",
        })
    }
}
