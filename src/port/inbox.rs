//! What arrived on a channel and has not been consumed yet.
//!
//! A queue beside the channel actor's mailbox: the transport pushes without ever waiting, every byte
//! is charged to the channel's and the connection's budget, and the actor gets one nudge a burst.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::budget::{ChannelBudget, Charge};
use super::event::ChannelMsg;
use crate::error::CloseReason;

/// Why the consumer is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// There is something in the inbox.
    Arrived,
    /// There is room in the outbound queue, and somebody asked to be told.
    Room,
}

/// How the consumer is woken. Must not block, and must not call back into the port.
pub(crate) type Notify = Box<dyn Fn(Notice) + Send + Sync>;

/// An event with the budget it holds. Dropping the charge gives the credit back.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) msg: ChannelMsg,
    pub(crate) charge: Charge,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arrived>,
    /// The consumer knows that there is something; it must look until the queue is empty.
    scheduled: bool,
    /// `Closed` is in the queue or was taken: nothing may follow it.
    sealed: bool,
}

/// The inbound queue of one channel.
pub(crate) struct Inbox {
    state: Mutex<State>,
    notify: OnceLock<Notify>,
    budget: Arc<ChannelBudget>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(budget: Arc<ChannelBudget>) -> Self {
        Self { state: Mutex::default(), notify: OnceLock::new(), budget }
    }

    pub(crate) fn budget(&self) -> &Arc<ChannelBudget> {
        &self.budget
    }

    /// Adds an event that came from the peer. False when the channel is over already: the event is
    /// dropped and its credit returned.
    pub(crate) fn push(&self, msg: ChannelMsg) -> bool {
        let charge = self.budget.charge(msg.payload_len());
        let mut state = self.lock();
        if state.sealed {
            return false;
        }
        state.queue.push_back(Arrived { msg, charge });
        self.wake(state);
        true
    }

    /// Adds the last event behind all that arrived before. False when there was one already.
    pub(crate) fn close(&self, reason: CloseReason) -> bool {
        self.seal(reason, false)
    }

    /// Drops everything that waits, gives its credit back, and makes `Closed` the only event left.
    pub(crate) fn abort(&self, reason: CloseReason) -> bool {
        self.seal(reason, true)
    }

    fn seal(&self, reason: CloseReason, drop_queue: bool) -> bool {
        let mut state = self.lock();
        if state.sealed {
            // Closed already, and not all taken yet: what waits before the end can still go.
            let keep = state.queue.len().saturating_sub(1);
            let dropped: Vec<Arrived> =
                if drop_queue { state.queue.drain(..keep).collect() } else { Vec::new() };
            drop(state);
            drop(dropped);
            return false;
        }
        state.sealed = true;
        let dropped = if drop_queue { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        let charge = Charge::free(&self.budget);
        state.queue.push_back(Arrived { msg: ChannelMsg::Closed { reason }, charge });
        self.wake(state);
        drop(dropped);
        true
    }

    /// Drops everything and takes nothing more: the consumer is gone.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        state.sealed = true;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
    }

    /// Sets how the consumer is woken. Only the first call counts. True when something waits already: the consumer
    /// must look until the queue is empty, it is not woken for that.
    #[must_use = "what waits already wakes nobody"]
    pub(crate) fn attach(&self, notify: Notify) -> bool {
        let mut state = self.lock();
        let _ = self.notify.set(notify);
        let waits = !state.queue.is_empty();
        state.scheduled |= waits;
        waits
    }

    /// The next event; `None` when there is none, and then the next push will wake the consumer.
    pub(crate) fn pop(&self) -> Option<Arrived> {
        let mut state = self.lock();
        let next = state.queue.pop_front();
        if next.is_none() {
            state.scheduled = false;
        }
        next
    }

    /// The next event unless `hold` is set and it is data; the consumer stays scheduled then, and must
    /// come back by itself.
    pub(crate) fn pop_unless_data(&self) -> Option<Arrived> {
        let mut state = self.lock();
        match state.queue.front() {
            None => {
                state.scheduled = false;
                None
            }
            Some(front) if front.msg.is_data() => None,
            Some(_) => state.queue.pop_front(),
        }
    }

    /// How many events wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Tells the consumer something that is no event from the peer.
    pub(crate) fn tell(&self, notice: Notice) {
        if let Some(notify) = self.notify.get() {
            notify(notice);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let Some(notify) = self.notify.get() else { return };
        if state.scheduled {
            return;
        }
        state.scheduled = true;
        drop(state);
        notify(Notice::Arrived);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
