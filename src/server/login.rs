//! Who may enter: the callbacks of the configuration, and one connection's view of them.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::transport::door::{Gatekeeper, LoginMethods};
use crate::wire::keys::PublicKey;

/// Who tries to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginAttempt {
    /// The name given.
    pub user: String,
    /// Where from, if the byte stream tells.
    pub peer: Option<SocketAddr>,
}

/// Decides about one kind of proof.
type Decide<T> = Arc<dyn Fn(LoginAttempt, T) -> BoxFuture<'static, bool> + Send + Sync>;

/// The callbacks. What has none is refused.
#[derive(Clone, Default)]
pub(super) struct Logins {
    pub(super) password: Option<Decide<SecretString>>,
    pub(super) public_key: Option<Decide<PublicKey>>,
    pub(super) anyone: bool,
    pub(super) banner: Option<String>,
}

impl Logins {
    pub(super) fn methods(&self) -> LoginMethods {
        LoginMethods {
            none: self.anyone,
            password: self.password.is_some(),
            public_key: self.public_key.is_some(),
        }
    }
}

/// Forgets the type of a callback.
pub(super) fn decider<T, F>(decide: impl Fn(LoginAttempt, T) -> F + Send + Sync + 'static) -> Decide<T>
where
    F: Future<Output = bool> + Send + 'static,
{
    Arc::new(move |attempt, proof| decide(attempt, proof).boxed())
}

/// The callbacks, for one connection.
pub(super) struct Gate {
    pub(super) logins: Logins,
    pub(super) peer: Option<SocketAddr>,
}

impl Gate {
    fn ask<T: Send + 'static>(
        &self,
        decide: Option<&Decide<T>>,
        user: &str,
        proof: T,
    ) -> BoxFuture<'static, bool> {
        let Some(decide) = decide.cloned() else { return futures::future::ready(false).boxed() };
        let attempt = LoginAttempt { user: user.to_owned(), peer: self.peer };
        let decision = async move { decide(attempt, proof).await };
        async move {
            AssertUnwindSafe(decision).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("a login callback panicked; the login is refused");
                false
            })
        }
        .boxed()
    }
}

impl Gatekeeper for Gate {
    fn banner(&self) -> Option<String> {
        self.logins.banner.clone()
    }

    fn password(&self, user: &str, password: SecretString) -> BoxFuture<'static, bool> {
        self.ask(self.logins.password.as_ref(), user, password)
    }

    fn public_key(&self, user: &str, key: PublicKey) -> BoxFuture<'static, bool> {
        self.ask(self.logins.public_key.as_ref(), user, key)
    }
}
