//! Keeps requests and their answers together.
//!
//! russh remembers one thing about a channel's requests: whether the last one wants an answer. A request that arrives
//! before the one before it was answered makes that answer vanish, or makes one appear that nobody wants. So while a
//! behaviour thinks about an answer, nothing is read from this connection, for a moment ([`GRACE`]) at most: beyond
//! that a slow behaviour would hold up its siblings, and only a peer that does not wait for answers can lose one.
//!
//! A route that decides in a task of its own gets less ([`BRIEF`]): it answers the request that starts the channel,
//! which is the last one that peers send without waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use russh::ChannelId;
use tokio::task::JoinHandle;

use crate::transport::pump::PumpControl;

/// For how long an answer is waited for without reading.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// For how long the answer of a route is waited for without reading.
pub(super) const BRIEF: Duration = Duration::from_millis(50);

/// The unanswered requests of one connection.
pub(super) struct Replies {
    control: Arc<PumpControl>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    owed: HashMap<ChannelId, VecDeque<Ticket>>,
    /// Tickets of this round that are out.
    open: usize,
    /// Grows whenever reading goes on; tickets of earlier rounds do not count.
    round: u64,
    timer: Option<JoinHandle<()>>,
}

/// One request without an answer. Dropped when russh has written the answer, or when there will be none.
pub(super) struct Ticket {
    replies: Weak<Replies>,
    round: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(replies) = self.replies.upgrade() {
            replies.done(self.round);
        }
    }
}

impl Ticket {
    /// An empty piece of data: queued behind the answer, it is dropped by russh when the answer has been written.
    pub(super) fn behind_the_answer(self) -> Bytes {
        Bytes::from_owner(Sentinel { _ticket: self })
    }
}

struct Sentinel {
    _ticket: Ticket,
}

impl AsRef<[u8]> for Sentinel {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl Replies {
    pub(super) fn new(control: Arc<PumpControl>) -> Arc<Self> {
        Arc::new(Self { control, state: Mutex::default() })
    }

    /// A request will be answered by somebody else. Until then, for `grace` at most, nothing is read.
    pub(super) fn asked(self: &Arc<Self>, channel: ChannelId, grace: Duration) {
        let mut state = self.lock();
        state.open += 1;
        if state.open == 1 {
            self.control.set_pause(true);
            let (replies, round) = (Arc::downgrade(self), state.round);
            state.timer = Some(tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                if let Some(replies) = replies.upgrade() {
                    replies.give_up(round);
                }
            }));
        }
        let ticket = Ticket { replies: Arc::downgrade(self), round: state.round };
        state.owed.entry(channel).or_default().push_back(ticket);
    }

    /// The oldest request on this channel was answered.
    pub(super) fn answered(&self, channel: ChannelId) -> Option<Ticket> {
        let mut state = self.lock();
        let owed = state.owed.get_mut(&channel)?;
        let ticket = owed.pop_front();
        if owed.is_empty() {
            state.owed.remove(&channel);
        }
        ticket
    }

    /// Whether a request on this channel waits for its answer.
    pub(super) fn is_owed(&self, channel: ChannelId) -> bool {
        self.lock().owed.contains_key(&channel)
    }

    /// The channel is over, and answers nothing more.
    pub(super) fn forget(&self, channel: ChannelId) {
        let tickets = self.lock().owed.remove(&channel);
        drop(tickets);
    }

    fn done(&self, round: u64) {
        let mut state = self.lock();
        if state.round != round {
            return;
        }
        state.open = state.open.saturating_sub(1);
        if state.open == 0 {
            self.go_on(state);
        }
    }

    fn give_up(&self, round: u64) {
        let state = self.lock();
        if state.round == round && state.open > 0 {
            tracing::debug!("a request is still unanswered; reading goes on");
            self.go_on(state);
        }
    }

    fn go_on(&self, mut state: MutexGuard<'_, State>) {
        state.open = 0;
        state.round += 1;
        if let Some(timer) = state.timer.take() {
            timer.abort();
        }
        self.control.set_pause(false);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
