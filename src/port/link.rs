//! What a port needs of the transport to send on one channel.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::observe::Used;
use crate::wire::codes::DataType;
use crate::wire::request::ChannelRequest;

/// The transport is gone, or has forgotten the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkClosed;

/// What the transport shows of one channel's windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LinkLook {
    /// What the peer may still send, in bytes.
    pub(crate) receive_window: Option<u64>,
    /// What the peer lets us send in the next packet, in bytes.
    pub(crate) send_window: Option<u64>,
    /// What the whole connection has handed on and not written yet.
    pub(crate) outbound: Option<Used>,
}

/// The sending half of one open channel, as the transport provides it.
///
/// One caller at a time: the outbox's driver. Every future resolves when the transport took the
/// message, and ends with [`LinkClosed`] when the connection does.
pub(crate) trait Link: Send + Sync + 'static {
    /// Waits for window, sends one packet's worth from the front of `data`, removes it there and
    /// says how much it was. Dropping the future sends nothing.
    fn send_chunk<'a>(
        &'a self,
        data_type: DataType,
        data: &'a mut Bytes,
    ) -> BoxFuture<'a, Result<usize, LinkClosed>>;

    /// Whether the transport can send this request at all; else what it is that it cannot do.
    fn supports(&self, request: &ChannelRequest) -> Result<(), String>;

    /// Sends SSH_MSG_CHANNEL_REQUEST.
    fn send_request(
        &self,
        request: ChannelRequest,
        want_reply: bool,
    ) -> BoxFuture<'_, Result<(), LinkClosed>>;

    /// Sends SSH_MSG_CHANNEL_SUCCESS or SSH_MSG_CHANNEL_FAILURE.
    fn send_reply(&self, success: bool) -> BoxFuture<'_, Result<(), LinkClosed>>;

    /// Sends SSH_MSG_CHANNEL_EOF.
    fn send_eof(&self) -> BoxFuture<'_, Result<(), LinkClosed>>;

    /// What is to be seen of the windows at this moment. Never waits.
    fn look(&self) -> LinkLook;

    /// Sends SSH_MSG_CHANNEL_CLOSE and resolves when the peer has closed too, as far as the
    /// transport can see that.
    fn close(&self) -> BoxFuture<'_, ()>;
}
