//! The transport trait over the shared wire.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::wire::Wire;
use crate::error::ConnectionError;
use crate::observe::Used;
use crate::port::{LinkClosed, Port};
use crate::transport::{ListenRefused, OpenRefused, Traffic, Transport};
use crate::wire::codes::DisconnectCode;
use crate::wire::open::{ListenRequest, OpenRequest};

/// Our end of a [`Wire`].
pub(crate) struct MemoryTransport(Arc<Wire>);

impl MemoryTransport {
    pub(crate) const fn new(wire: Arc<Wire>) -> Self {
        Self(wire)
    }
}

impl Transport for MemoryTransport {
    fn open(&self, request: OpenRequest, port: Arc<Port>) -> BoxFuture<'static, Result<(), OpenRefused>> {
        let (answer, answered) = oneshot::channel();
        self.0.offer(request, port, answer);
        async move { answered.await.unwrap_or(Err(OpenRefused::Lost)) }.boxed()
    }

    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<Option<u32>, ListenRefused>> {
        let answered = Arc::clone(&self.0).want(request, true);
        answered.boxed()
    }

    fn unlisten(&self, request: ListenRequest) -> BoxFuture<'static, Result<(), ListenRefused>> {
        let answered = Arc::clone(&self.0).want(request, false);
        async move { answered.await.map(drop) }.boxed()
    }

    fn ping(&self) -> BoxFuture<'static, Result<(), LinkClosed>> {
        let (asked, answered) = oneshot::channel();
        self.0.ping(asked);
        async move { answered.await.map_err(|_| LinkClosed) }.boxed()
    }

    fn rekey(&self, asked: Arc<OnceLock<Instant>>) -> Option<BoxFuture<'static, Result<(), LinkClosed>>> {
        let (answer, answered) = oneshot::channel();
        self.0.rekey(answer);
        let _ = asked.set(Instant::now());
        Some(async move { answered.await.map_err(|_| LinkClosed) }.boxed())
    }

    fn disconnect(&self, code: DisconnectCode, text: &'static str) -> BoxFuture<'static, ()> {
        self.0.lock().verdict.get_or_insert(ConnectionError::Closed);
        let wire = Arc::clone(&self.0);
        async move {
            wire.until(|state| {
                if state.down.is_none() {
                    if state.deaf {
                        return None;
                    }
                    state.count_out(0);
                    state.farewell = Some((code, text.to_owned()));
                }
                Some(())
            })
            .await;
            wire.end(ConnectionError::Closed);
        }
        .boxed()
    }

    fn abort(&self, error: ConnectionError) {
        self.0.lock().verdict.get_or_insert(error.clone());
        self.0.end(error);
    }

    fn traffic(&self) -> Traffic {
        self.0.traffic()
    }

    fn outbound(&self) -> Option<Used> {
        None
    }
}
