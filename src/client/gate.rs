//! What a connection waits for before it is made.

use std::any::Any;
use std::sync::Arc;

use futures::future::BoxFuture;

type Pass = dyn Fn() -> BoxFuture<'static, Box<dyn Any + Send>> + Send + Sync;

/// Limits how many connections are being made: each waits here first, and holds what it got until it is up or has
/// failed.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Pass>);

impl Gate {
    pub(crate) fn new<F, T>(pass: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        Self(Arc::new(move || {
            let passing = pass();
            Box::pin(async move { Box::new(passing.await) as Box<dyn Any + Send> })
        }))
    }

    pub(super) async fn pass(&self) -> Box<dyn Any + Send> {
        (self.0)().await
    }
}
