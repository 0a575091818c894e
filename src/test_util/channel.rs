//! One channel, as the scripted peer has it.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Sent;
use super::peer::Script;
use crate::port::event::ChannelMsg;
use crate::transport::memory::{Inbound, Tape};
use crate::wire::codes::DataType;
use crate::wire::request::{ChannelRequest, ExitSignal};

/// The peer's end of a channel. Dropping it sends nothing: the channel stays open on its side.
///
/// The `expect_` functions look at our messages one by one; what comes in the wrong order makes them panic.
pub struct ScriptedChannel {
    script: Script,
    id: u32,
    tape: Arc<Tape>,
    /// Data that was looked at and is more than [`expect_bytes`](Self::expect_bytes) asked for.
    rest: Bytes,
}

impl fmt::Debug for ScriptedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedChannel").field("id", &self.id).finish_non_exhaustive()
    }
}

/// # What the peer sends
///
/// All of these return at once.
impl ScriptedChannel {
    pub(super) const fn new(script: Script, id: u32, tape: Arc<Tape>) -> Self {
        Self { script, id, tape, rest: Bytes::new() }
    }

    /// Sends ordinary data in one packet, whatever its size and our window (SSH_MSG_CHANNEL_DATA, RFC 4254
    /// section 5.2).
    pub fn data(&self, data: impl Into<Bytes>) {
        self.data_typed(DataType::Normal, data);
    }

    /// Sends stderr data (SSH_MSG_CHANNEL_EXTENDED_DATA, RFC 4254 section 5.2).
    pub fn stderr(&self, data: impl Into<Bytes>) {
        self.data_typed(DataType::Stderr, data);
    }

    /// Sends data of any type.
    pub fn data_typed(&self, data_type: DataType, data: impl Into<Bytes>) {
        self.event(ChannelMsg::Data { data_type, data: data.into() });
    }

    /// Sends SSH_MSG_CHANNEL_EOF (RFC 4254 section 5.3).
    pub fn eof(&self) {
        self.event(ChannelMsg::Eof);
    }

    /// Sends the request `exit-status` (RFC 4254 section 6.10).
    pub fn exit_status(&self, status: u32) {
        self.event(ChannelMsg::ExitStatus { status });
    }

    /// Sends the request `exit-signal` (RFC 4254 section 6.10).
    pub fn exit_signal(&self, signal: ExitSignal) {
        self.event(ChannelMsg::ExitSignal(signal));
    }

    /// Answers our oldest request that waits (SSH_MSG_CHANNEL_SUCCESS or _FAILURE, RFC 4254 section 5.4); or sends
    /// an answer nobody waits for.
    pub fn reply(&self, success: bool) {
        self.script.wire.arrive(Inbound::Reply { id: self.id, success });
    }

    /// Lets us send `bytes` more (SSH_MSG_CHANNEL_WINDOW_ADJUST, RFC 4254 section 5.2).
    pub fn adjust_window(&self, bytes: u32) {
        self.script.wire.arrive(Inbound::Window { id: self.id, bytes });
    }

    /// Sends SSH_MSG_CHANNEL_CLOSE (RFC 4254 section 5.3).
    pub fn close(&self) {
        self.script.wire.arrive(Inbound::Closed { id: self.id });
    }

    fn event(&self, msg: ChannelMsg) {
        self.script.wire.arrive(Inbound::Event { id: self.id, msg });
    }
}

/// # What we send
#[allow(clippy::panic, reason = "an expectation that is not met fails the test")]
impl ScriptedChannel {
    /// Our next message.
    ///
    /// # Panics
    /// None comes in time.
    pub async fn next(&mut self) -> Sent {
        if !self.rest.is_empty() {
            let data = std::mem::take(&mut self.rest);
            return Sent::Data { data_type: DataType::Normal, data };
        }
        self.script.expect("a message on the channel", self.tape.next()).await
    }

    /// Our next message, if it is here already.
    pub fn try_next(&mut self) -> Option<Sent> {
        if !self.rest.is_empty() {
            let data = std::mem::take(&mut self.rest);
            return Some(Sent::Data { data_type: DataType::Normal, data });
        }
        self.tape.take()
    }

    /// Every message of ours since the open, in order, looked at or not.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.tape.all()
    }

    /// Our next message, which is a request of that name; and whether it waits for an answer.
    ///
    /// # Panics
    /// Something else comes, or nothing in time.
    pub async fn expect_request(&mut self, name: &str) -> (ChannelRequest, bool) {
        match self.next().await {
            Sent::Request { request, want_reply } if request.name() == name => (request, want_reply),
            other => panic!("expected the request {name}, got {other:?}"),
        }
    }

    /// Our next message, which is one packet of ordinary data.
    ///
    /// # Panics
    /// Something else comes, or nothing in time.
    pub async fn expect_data(&mut self) -> Bytes {
        match self.next().await {
            Sent::Data { data_type: DataType::Normal, data } => data,
            other => panic!("expected data, got {other:?}"),
        }
    }

    /// The next `len` bytes of ordinary data, in however many packets.
    ///
    /// # Panics
    /// Something else comes, or nothing in time.
    pub async fn expect_bytes(&mut self, len: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            let mut data = self.expect_data().await;
            if bytes.len() + data.len() > len {
                self.rest = data.split_off(len - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        bytes.freeze()
    }

    /// Our next message, which is SSH_MSG_CHANNEL_EOF.
    ///
    /// # Panics
    /// Something else comes, or nothing in time.
    pub async fn expect_eof(&mut self) {
        match self.next().await {
            Sent::Eof => {}
            other => panic!("expected eof, got {other:?}"),
        }
    }

    /// Our next message, which is SSH_MSG_CHANNEL_CLOSE, and the only one.
    ///
    /// # Panics
    /// Something else comes, or nothing in time; or more than one CLOSE was sent.
    pub async fn expect_close(&mut self) {
        match self.next().await {
            Sent::Close => {}
            other => panic!("expected close, got {other:?}"),
        }
        let closes = self.sent().iter().filter(|sent| matches!(sent, Sent::Close)).count();
        assert_eq!(closes, 1, "more than one CLOSE");
    }
}
