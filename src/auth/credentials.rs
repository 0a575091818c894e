//! Where the credentials of a login come from: given once, or asked for each time.
//!
//! Owns the asking. What is then tried, and in which order, is in [`Auth`].

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::config::Auth;
use super::error::AuthError;
use crate::error::{BoxError, ConfigError};

type Ask = Arc<dyn Fn() -> BoxFuture<'static, Result<Auth, BoxError>> + Send + Sync>;

/// What a login is tried with.
#[derive(Clone)]
pub(crate) enum Credentials {
    Given(Auth),
    /// Asked for at each login.
    Asked(Ask),
}

impl Credentials {
    pub(crate) fn asked<F, Fut>(ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Auth, BoxError>> + Send + 'static,
    {
        Self::Asked(Arc::new(move || Box::pin(ask())))
    }

    /// For one login. What a provider gives is looked at by the login itself.
    pub(crate) async fn get(&self) -> Result<Auth, AuthError> {
        match self {
            Self::Given(auth) => Ok(auth.clone()),
            Self::Asked(ask) => {
                ask().await.map_err(|error| AuthError::Provider { problem: error.to_string().into() })
            }
        }
    }

    /// As far as it can be looked at before a login.
    pub(crate) fn check(&self, user: &str) -> Result<(), ConfigError> {
        match self {
            Self::Given(auth) => auth.check(user),
            Self::Asked(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(auth) => auth.fmt(f),
            Self::Asked(_) => f.write_str("Asked"),
        }
    }
}
