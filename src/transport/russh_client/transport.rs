//! The transport trait over a russh session.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::convert;
use super::handler::Shared;
use super::link::{Barrier, Handle, RusshLink};
use super::openings::NotOpened;
use super::rekey;
use crate::error::ConnectionError;
use crate::observe::Used;
use crate::port::budget::{ConnectionBudget, OutboundCredit};
use crate::port::{LinkClosed, Port};
use crate::transport::pump::{PumpControl, PumpStats};
use crate::transport::russh_common::{Outlet, convert as common};
use crate::transport::{ListenRefused, OpenRefused, Traffic, Transport};
use crate::wire::codes::DisconnectCode;
use crate::wire::open::{ListenRequest, OpenRequest};

/// A russh client session and all that stands around it.
pub(super) struct RusshTransport {
    pub(super) handle: Arc<Handle>,
    pub(super) shared: Arc<Shared>,
    pub(super) barrier: Arc<Barrier>,
    pub(super) budget: Arc<ConnectionBudget>,
    pub(super) credit: Arc<OutboundCredit>,
    pub(super) control: Arc<PumpControl>,
    pub(super) stats: Arc<PumpStats>,
    pub(super) window: u64,
}

impl Transport for RusshTransport {
    fn open(&self, request: OpenRequest, port: Arc<Port>) -> BoxFuture<'static, Result<(), OpenRefused>> {
        let handle = Arc::clone(&self.handle);
        let shared = Arc::clone(&self.shared);
        let credit = Arc::clone(&self.credit);
        let barrier = Arc::clone(&self.barrier);
        async move {
            let open = match request {
                OpenRequest::Session => async move { handle.channel_open_session().await }.boxed(),
                OpenRequest::DirectTcpip { host, port, originator_host, originator_port } => {
                    let (to, from) = (u32::from(port), u32::from(originator_port));
                    async move { handle.channel_open_direct_tcpip(host, to, originator_host, from).await }
                        .boxed()
                }
                OpenRequest::DirectStreamlocal { path } => {
                    async move { handle.channel_open_direct_streamlocal(path).await }.boxed()
                }
                other => {
                    let what = format!("opening a {} channel from a client", other.channel_type());
                    return Err(OpenRefused::Unsupported(what));
                }
            };
            let _expected = shared.taps.expect();
            shared.drain.over().await;
            let channel = match shared.openings.open(open).await {
                Ok(channel) => channel,
                Err(NotOpened::Refused(reason, description)) => {
                    let reason = convert::open_failure(&reason);
                    return Err(OpenRefused::ByPeer { reason, description });
                }
                Err(NotOpened::Lost) => return Err(OpenRefused::Lost),
            };
            let id = channel.id();
            let (read, half) = channel.split();
            let Some(window) = shared.taps.attach(id, &port, read) else {
                return Err(OpenRefused::Lost);
            };
            let taps = Arc::clone(&shared.taps);
            let outlet = Outlet { half, window, credit };
            port.connect(Box::new(RusshLink { outlet, taps, barrier }));
            Ok(())
        }
        .boxed()
    }

    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<Option<u32>, ListenRefused>> {
        let handle = Arc::clone(&self.handle);
        async move {
            match request {
                ListenRequest::Tcpip { address, port } => {
                    // russh says 0 when the server named no port.
                    let chosen = handle.tcpip_forward(address, u32::from(port)).await?;
                    Ok((chosen != 0).then_some(chosen))
                }
                ListenRequest::Streamlocal { path } => {
                    handle.streamlocal_forward(path).await?;
                    Ok(None)
                }
            }
        }
        .boxed()
    }

    fn unlisten(&self, request: ListenRequest) -> BoxFuture<'static, Result<(), ListenRefused>> {
        let handle = Arc::clone(&self.handle);
        async move {
            match request {
                ListenRequest::Tcpip { address, port } => {
                    handle.cancel_tcpip_forward(address, u32::from(port)).await?;
                }
                ListenRequest::Streamlocal { path } => handle.cancel_streamlocal_forward(path).await?,
            }
            Ok(())
        }
        .boxed()
    }

    fn ping(&self) -> BoxFuture<'static, Result<(), LinkClosed>> {
        let handle = Arc::clone(&self.handle);
        let shared = Arc::clone(&self.shared);
        async move {
            handle.send_ping().await?;
            // russh answers Ok also when the session ended first.
            if shared.taps.is_down() { Err(LinkClosed) } else { Ok(()) }
        }
        .boxed()
    }

    fn rekey(&self, asked: Arc<OnceLock<Instant>>) -> Option<BoxFuture<'static, Result<(), LinkClosed>>> {
        let exchange = rekey::rekey(rekey::Rekey {
            asked,
            handle: Arc::clone(&self.handle),
            taps: Arc::clone(&self.shared.taps),
            drain: Arc::clone(&self.shared.drain),
            exchanges: self.shared.exchanges.subscribe(),
            budget: Arc::clone(&self.budget),
            control: Arc::clone(&self.control),
            stats: Arc::clone(&self.stats),
            window: self.window,
        });
        Some(exchange.boxed())
    }

    fn disconnect(&self, code: DisconnectCode, text: &'static str) -> BoxFuture<'static, ()> {
        self.shared.ending.explain(ConnectionError::Closed);
        self.control.set_hold(false);
        let handle = Arc::clone(&self.handle);
        let taps = Arc::clone(&self.shared.taps);
        async move {
            if handle.disconnect(common::disconnect(code), text, "").await.is_ok() {
                taps.until_down().await;
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
        Some(self.credit.look())
    }
}

impl Drop for RusshTransport {
    fn drop(&mut self) {
        self.control.abort();
    }
}

impl From<russh::Error> for ListenRefused {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::RequestDenied => Self::ByPeer,
            // The session is gone.
            _ => Self::Lost,
        }
    }
}
