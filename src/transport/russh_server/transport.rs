//! The transport trait over a russh server session.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use russh::server::Handle;

use super::handler::Shared;
use crate::error::ConnectionError;
use crate::observe::Used;
use crate::port::{LinkClosed, Port};
use crate::transport::pump::{PumpControl, PumpStats};
use crate::transport::russh_common::convert;
use crate::transport::{OpenRefused, Traffic, Transport};
use crate::wire::codes::DisconnectCode;
use crate::wire::open::OpenRequest;

/// A russh server session and all that stands around it.
pub(super) struct ServerTransport {
    pub(super) handle: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) control: Arc<PumpControl>,
    pub(super) stats: Arc<PumpStats>,
}

impl Transport for ServerTransport {
    /// A client accepts only channels it has asked for, by forwarding.
    fn open(&self, request: OpenRequest, _port: Arc<Port>) -> BoxFuture<'static, Result<(), OpenRefused>> {
        let what = format!("opening a {} channel from a server", request.channel_type());
        futures::future::ready(Err(OpenRefused::Unsupported(what))).boxed()
    }

    /// russh sends no question of a server's by itself. To cancel a forwarding that does not exist is a global request
    /// that every peer refuses (RFC 4254 section 4), and the refusal is the answer.
    fn ping(&self) -> BoxFuture<'static, Result<(), LinkClosed>> {
        let handle = self.handle.clone();
        let shared = Arc::clone(&self.shared);
        async move {
            let _ = handle.cancel_forward_tcpip(String::new(), 0).await;
            if shared.taps.is_down() { Err(LinkClosed) } else { Ok(()) }
        }
        .boxed()
    }

    /// russh exchanges keys by its own limits here, and offers no way to ask.
    fn rekey(&self) -> Option<BoxFuture<'static, Result<(), LinkClosed>>> {
        None
    }

    fn disconnect(&self, code: DisconnectCode, text: &'static str) -> BoxFuture<'static, ()> {
        self.shared.ending.explain(ConnectionError::Closed);
        let handle = self.handle.clone();
        let shared = Arc::clone(&self.shared);
        async move {
            let reason = convert::disconnect(code);
            if handle.disconnect(reason, text.to_owned(), String::new()).await.is_ok() {
                shared.taps.until_down().await;
            }
        }
        .boxed()
    }

    fn abort(&self, error: ConnectionError) {
        self.shared.ending.explain(error.clone());
        self.control.abort();
        self.shared.down(error);
    }

    fn traffic(&self) -> Traffic {
        Traffic { bytes_in: self.stats.bytes_in(), bytes_out: self.stats.bytes_out() }
    }

    fn outbound(&self) -> Option<Used> {
        Some(self.shared.credit.look())
    }
}

impl Drop for ServerTransport {
    fn drop(&mut self) {
        self.control.abort();
    }
}
