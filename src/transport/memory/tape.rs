//! What we have sent on one channel, as the peer sees it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::wire::codes::DataType;
use crate::wire::request::ChannelRequest;

/// One message of ours on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sent {
    /// SSH_MSG_CHANNEL_DATA or SSH_MSG_CHANNEL_EXTENDED_DATA: one packet.
    Data {
        /// The stream it belongs to.
        data_type: DataType,
        /// The bytes.
        data: Bytes,
    },
    /// SSH_MSG_CHANNEL_REQUEST.
    Request {
        /// What was asked for.
        request: ChannelRequest,
        /// Whether an answer is expected.
        want_reply: bool,
    },
    /// SSH_MSG_CHANNEL_SUCCESS or SSH_MSG_CHANNEL_FAILURE.
    Reply {
        /// Which of the two.
        success: bool,
    },
    /// SSH_MSG_CHANNEL_EOF.
    Eof,
    /// SSH_MSG_CHANNEL_CLOSE.
    Close,
}

#[derive(Debug, Default)]
struct State {
    unseen: VecDeque<Sent>,
    all: Vec<Sent>,
}

/// Everything sent on one channel, in order.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    state: Mutex<State>,
    added: Notify,
}

impl Tape {
    pub(super) fn add(&self, sent: Sent) {
        let mut state = self.lock();
        state.unseen.push_back(sent.clone());
        state.all.push(sent);
        drop(state);
        self.added.notify_waiters();
    }

    /// The oldest message that was not taken yet.
    pub(crate) fn take(&self) -> Option<Sent> {
        self.lock().unseen.pop_front()
    }

    /// As [`Self::take`], and waits for one.
    pub(crate) async fn next(&self) -> Sent {
        loop {
            let added = self.added.notified();
            if let Some(sent) = self.take() {
                return sent;
            }
            added.await;
        }
    }

    /// Every message since the open, taken or not.
    pub(crate) fn all(&self) -> Vec<Sent> {
        self.lock().all.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
