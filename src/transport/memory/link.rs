//! The sending half of one channel.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::tape::Sent;
use super::wire::{Channel, State, Wire};
use crate::port::{Link, LinkClosed, LinkLook};
use crate::wire::codes::DataType;
use crate::wire::request::ChannelRequest;

pub(super) struct MemoryLink {
    wire: Arc<Wire>,
    id: u32,
}

impl MemoryLink {
    pub(super) const fn new(wire: Arc<Wire>, id: u32) -> Self {
        Self { wire, id }
    }

    async fn send(&self, sent: Sent) -> Result<(), LinkClosed> {
        let mut sent = Some(sent);
        self.wire
            .until(|state| {
                if state.down.is_some() {
                    return Some(Err(LinkClosed));
                }
                if state.deaf {
                    return None;
                }
                state.count_out(0);
                // A channel that is closed already swallows it.
                if let (Some(channel), Some(sent)) = (state.channels.get(&self.id), sent.take()) {
                    channel.tape.add(sent);
                }
                Some(Ok(()))
            })
            .await
    }
}

impl Link for MemoryLink {
    fn send_chunk<'a>(
        &'a self,
        data_type: DataType,
        data: &'a mut Bytes,
    ) -> BoxFuture<'a, Result<usize, LinkClosed>> {
        async move {
            self.wire
                .until(|state| match take_window(state, self.id, data.len()) {
                    Ok(0) => None,
                    Ok(len) => {
                        let data = data.split_to(len);
                        state.count_out(len as u64);
                        if let Some(channel) = state.channels.get(&self.id) {
                            channel.tape.add(Sent::Data { data_type, data });
                        }
                        Some(Ok(len))
                    }
                    Err(closed) => Some(Err(closed)),
                })
                .await
        }
        .boxed()
    }

    fn supports(&self, _request: &ChannelRequest) -> Result<(), String> {
        Ok(())
    }

    fn send_request(
        &self,
        request: ChannelRequest,
        want_reply: bool,
    ) -> BoxFuture<'_, Result<(), LinkClosed>> {
        self.send(Sent::Request { request, want_reply }).boxed()
    }

    fn send_reply(&self, success: bool) -> BoxFuture<'_, Result<(), LinkClosed>> {
        self.send(Sent::Reply { success }).boxed()
    }

    fn send_eof(&self) -> BoxFuture<'_, Result<(), LinkClosed>> {
        self.send(Sent::Eof).boxed()
    }

    /// A scripted peer sends what it likes, whatever our window.
    fn look(&self) -> LinkLook {
        let state = self.wire.lock();
        let room = |channel: &Channel| channel.window.min(u64::from(channel.max_packet));
        LinkLook { send_window: state.channels.get(&self.id).map(room), ..LinkLook::default() }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let sent = self
                .wire
                .until(|state| match (&state.down, state.deaf) {
                    (Some(_), _) => Some(false),
                    (None, true) => None,
                    (None, false) => Some(state.close(self.id)),
                })
                .await;
            if sent {
                let over = |state: &mut State| {
                    (state.down.is_some() || !state.channels.contains_key(&self.id)).then_some(())
                };
                self.wire.until(over).await;
            }
        }
        .boxed()
    }
}

/// How much of `len` may go now; takes it from the window.
fn take_window(state: &mut State, id: u32, len: usize) -> Result<usize, LinkClosed> {
    if state.down.is_some() {
        return Err(LinkClosed);
    }
    if state.deaf {
        return Ok(0);
    }
    let Some(channel) = state.channels.get_mut(&id) else { return Ok(0) };
    let room = channel.window.min(u64::from(channel.max_packet));
    let len = usize::try_from(room).map_or(len, |room| room.min(len));
    channel.window -= len as u64;
    Ok(len)
}
