//! The transport trait over a russh server session.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use russh::server::Handle;
use tokio::time::Instant;

use super::link::ServerLink;
use super::session::Shared;
use crate::error::ConnectionError;
use crate::observe::Used;
use crate::port::{LinkClosed, Port};
use crate::transport::pump::{PumpControl, PumpStats};
use crate::transport::russh_common::{Outlet, convert};
use crate::transport::{ListenRefused, OpenRefused, Traffic, Transport};
use crate::wire::codes::{DisconnectCode, OpenFailureReason};
use crate::wire::open::{ListenRequest, OpenRequest};

/// A russh server session and all that stands around it.
pub(super) struct ServerTransport {
    pub(super) handle: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) control: Arc<PumpControl>,
    pub(super) stats: Arc<PumpStats>,
}

impl Transport for ServerTransport {
    /// A client accepts only channels it has asked for, by forwarding. russh shows no text that comes with a refusal.
    fn open(&self, request: OpenRequest, port: Arc<Port>) -> BoxFuture<'static, Result<(), OpenRefused>> {
        let handle = self.handle.clone();
        let shared = Arc::clone(&self.shared);
        async move {
            let _expected = shared.taps.expect();
            let opened = match request {
                OpenRequest::ForwardedTcpip { address, port, originator_address, originator_port } => {
                    let (at, from) = (u32::from(port), u32::from(originator_port));
                    handle.channel_open_forwarded_tcpip(address, at, originator_address, from).await
                }
                OpenRequest::ForwardedStreamlocal { path } => {
                    handle.channel_open_forwarded_streamlocal(path).await
                }
                OpenRequest::AuthAgent => handle.channel_open_agent().await,
                OpenRequest::X11 { originator_address, originator_port } => {
                    handle.channel_open_x11(originator_address, u32::from(originator_port)).await
                }
                other => {
                    let what = format!("opening a {} channel from a server", other.channel_type());
                    return Err(OpenRefused::Unsupported(what));
                }
            };
            let channel = match opened {
                Ok(channel) => channel,
                Err(russh::Error::ChannelOpenFailure(reason)) => {
                    let reason = OpenFailureReason::from_code(reason.code());
                    return Err(OpenRefused::ByPeer { reason, description: String::new() });
                }
                Err(_) => return Err(OpenRefused::Lost),
            };
            let id = channel.id();
            let (read, half) = channel.split();
            let Some(window) = shared.taps.attach(id, &port, read) else {
                return Err(OpenRefused::Lost);
            };
            port.connect(Box::new(ServerLink {
                outlet: Outlet { half, window, credit: Arc::clone(&shared.credit) },
                handle,
                taps: Arc::clone(&shared.taps),
                replies: Arc::clone(&shared.replies),
            }));
            Ok(())
        }
        .boxed()
    }

    /// Only clients ask for that.
    fn listen(&self, _request: ListenRequest) -> BoxFuture<'static, Result<Option<u32>, ListenRefused>> {
        futures::future::ready(Err(ListenRefused::Unsupported)).boxed()
    }

    fn unlisten(&self, _request: ListenRequest) -> BoxFuture<'static, Result<(), ListenRefused>> {
        futures::future::ready(Err(ListenRefused::Unsupported)).boxed()
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
    fn rekey(&self, _asked: Arc<OnceLock<Instant>>) -> Option<BoxFuture<'static, Result<(), LinkClosed>>> {
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
