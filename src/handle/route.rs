//! Where a one-off command gets its connection: one that is there, or one that is waited for.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::connection_ref::ConnectionRef;
use crate::error::OpenError;

type Find = dyn Fn() -> BoxFuture<'static, Result<ConnectionRef, OpenError>> + Send + Sync;

/// A way to a connection.
#[derive(Clone)]
pub(crate) enum Route {
    Here(ConnectionRef),
    Found(Arc<Find>),
}

impl Route {
    /// The connection is looked for when the command is started.
    pub(crate) fn found<F>(find: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<ConnectionRef, OpenError>> + Send + 'static,
    {
        Self::Found(Arc::new(move || Box::pin(find())))
    }

    pub(crate) async fn connection(self) -> Result<ConnectionRef, OpenError> {
        match self {
            Self::Here(connection) => Ok(connection),
            Self::Found(find) => find().await,
        }
    }
}

impl From<&ConnectionRef> for Route {
    fn from(connection: &ConnectionRef) -> Self {
        Self::Here(connection.clone())
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(connection) => connection.fmt(f),
            Self::Found(_) => f.write_str("Found"),
        }
    }
}
