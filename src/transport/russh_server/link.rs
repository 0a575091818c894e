//! The sending half of one channel of a server.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use russh::server::{Handle, Msg};

use super::replies::Replies;
use super::session::ServerTaps;
use crate::port::{Link, LinkClosed, LinkLook};
use crate::transport::russh_common::{Outlet, convert};
use crate::wire::codes::DataType;
use crate::wire::request::ChannelRequest;

/// Sends on one channel. Data, requests and answers go through one queue of russh's, so they keep their order.
pub(super) struct ServerLink {
    pub(super) outlet: Outlet<Msg>,
    pub(super) handle: Handle,
    pub(super) taps: Arc<ServerTaps>,
    pub(super) replies: Arc<Replies>,
}

impl Link for ServerLink {
    fn send_chunk<'a>(
        &'a self,
        data_type: DataType,
        data: &'a mut Bytes,
    ) -> BoxFuture<'a, Result<usize, LinkClosed>> {
        self.outlet.send_chunk(data_type, data)
    }

    fn supports(&self, request: &ChannelRequest) -> Result<(), String> {
        match request {
            ChannelRequest::ExitStatus(_)
            | ChannelRequest::ExitSignal(_)
            | ChannelRequest::XonXoff { .. } => Ok(()),
            other => Err(format!("the {} request from a server", other.name())),
        }
    }

    fn send_request(
        &self,
        request: ChannelRequest,
        _want_reply: bool,
    ) -> BoxFuture<'_, Result<(), LinkClosed>> {
        async move {
            let id = self.outlet.half.id();
            let sent = match request {
                ChannelRequest::ExitStatus(status) => self.handle.exit_status_request(id, status).await,
                ChannelRequest::ExitSignal(exit) => {
                    let signal = convert::sig(&exit.signal);
                    self.handle
                        .exit_signal_request(id, signal, exit.core_dumped, exit.message, exit.lang)
                        .await
                }
                ChannelRequest::XonXoff { client_can_do } => {
                    self.handle.xon_xoff_request(id, client_can_do).await
                }
                other => {
                    // `supports` refused it.
                    tracing::debug!(request = other.name(), "russh cannot send this request from a server");
                    Ok(())
                }
            };
            sent.map_err(|()| LinkClosed)
        }
        .boxed()
    }

    fn send_reply(&self, success: bool) -> BoxFuture<'_, Result<(), LinkClosed>> {
        async move {
            let id = self.outlet.half.id();
            let ticket = self.replies.answered(id);
            let sent = if success {
                self.handle.channel_success(id).await
            } else {
                self.handle.channel_failure(id).await
            };
            sent.map_err(|()| LinkClosed)?;
            if let Some(ticket) = ticket {
                self.handle.data(id, ticket.behind_the_answer()).await.map_err(|_| LinkClosed)?;
            }
            Ok(())
        }
        .boxed()
    }

    fn send_eof(&self) -> BoxFuture<'_, Result<(), LinkClosed>> {
        async move { Ok(self.outlet.half.eof().await?) }.boxed()
    }

    /// A server's window grows with use, as russh asks; what is left of it is not shown.
    fn look(&self) -> LinkLook {
        LinkLook {
            receive_window: None,
            send_window: self.outlet.room(),
            outbound: Some(self.outlet.credit.look()),
        }
    }

    /// russh forgets the channel with our CLOSE and does not show the peer's; a server has nothing to wait for.
    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let id = self.outlet.half.id();
            let _ = self.outlet.half.close().await;
            self.taps.forget(id);
            self.replies.forget(id);
        }
        .boxed()
    }
}
