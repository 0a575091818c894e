//! A user's own way to a byte stream.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connected byte stream of any kind.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for IO {}

type Dial = dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> + Send + Sync;

/// Makes byte streams to one target.
#[derive(Clone)]
pub(crate) struct Dialer(Arc<Dial>);

impl Dialer {
    pub(crate) fn new<F, Fut, IO>(dial: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self(Arc::new(move || {
            let dialing = dial();
            Box::pin(async move { Ok(Box::new(dialing.await?) as Box<dyn ByteStream>) })
        }))
    }

    /// Whether both are clones of one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) async fn dial(&self) -> io::Result<Box<dyn ByteStream>> {
        (self.0)().await
    }
}
