//! Payload towards the peer, on either side: through russh's write half, never past the peer's window.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use russh::{ChannelId, ChannelMsg, ChannelWriteHalf};
use tokio::sync::Notify;

use crate::port::LinkClosed;
use crate::port::budget::OutboundCredit;
use crate::wire::codes::DataType;

impl From<russh::Error> for LinkClosed {
    /// russh's write half fails in one way only: its session is gone.
    fn from(_: russh::Error) -> Self {
        Self
    }
}

/// Where one channel's data leaves. russh's write half queues a message, in order, for the session.
pub(in crate::transport) struct Outlet<M: From<(ChannelId, ChannelMsg)>> {
    pub(in crate::transport) half: ChannelWriteHalf<M>,
    /// Told when the peer's window grows.
    pub(in crate::transport) window: Arc<Notify>,
    pub(in crate::transport) credit: Arc<OutboundCredit>,
}

impl<M: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static> Outlet<M> {
    /// What the peer takes in the next packet: its window, cut to its packet size. russh shows no more of it.
    pub(in crate::transport) fn room(&self) -> Option<u64> {
        let room = tokio::task::unconstrained(self.half.writable_packet_size()).now_or_never()?;
        u64::try_from(room).ok()
    }

    /// As [`Link::send_chunk`](crate::port::Link::send_chunk). Credit of the connection is taken only when there is
    /// window, so that a channel whose peer does not read holds none of it.
    pub(in crate::transport) fn send_chunk<'a>(
        &'a self,
        data_type: DataType,
        data: &'a mut Bytes,
    ) -> BoxFuture<'a, Result<usize, LinkClosed>> {
        async move {
            let room = loop {
                let grown = self.window.notified();
                match self.half.writable_packet_size().await {
                    0 => grown.await,
                    room => break room,
                }
            };
            let len = room.min(data.len());
            let permit = self.credit.acquire(len).await.map_err(|_| LinkClosed)?;
            let len = len.min(permit.bytes());
            let chunk = data.slice(..len);
            match data_type {
                DataType::Normal => self.half.data_bytes(chunk).await?,
                other => self.half.extended_data_bytes(other.code(), chunk).await?,
            }
            permit.spend();
            data.advance(len);
            Ok(len)
        }
        .boxed()
    }
}
