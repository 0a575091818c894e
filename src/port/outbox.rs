//! What is to be sent on a channel: one queue for data, requests, eof and close, so that each goes out
//! after what was queued before it.
//!
//! Also keeps the replies we wait for, first in, first out (RFC 4254 section 5.4).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::error::{CloseReason, SendErrorKind};
use crate::wire::codes::DataType;
use crate::wire::request::ChannelRequest;

/// The answer to a request: success or failure. The sender is dropped when the channel closes first.
pub(crate) type ReplyPort = oneshot::Sender<bool>;

/// One thing to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Data { data_type: DataType, data: Bytes },
    Request { request: ChannelRequest, want_reply: bool },
    Reply { success: bool },
    Eof,
    Close,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Unanswered {
    port: ReplyPort,
    request: Cow<'static, str>,
    since: Instant,
}

/// What there is to see of a queue.
pub(crate) struct OutboxLook {
    pub(crate) bytes: usize,
    pub(crate) high_water: usize,
    /// Whether anything has not left yet.
    pub(crate) waits: bool,
    /// The oldest request without an answer: its name, since when, and whether nobody waits for it any more.
    pub(crate) awaited: Option<(Cow<'static, str>, Instant, bool)>,
    pub(crate) closed: Option<CloseReason>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Outgoing>,
    /// Payload bytes in `queue` and in the hands of the driver.
    bytes: usize,
    /// Somebody is driving the queue.
    driven: bool,
    /// The driver holds an item that has not left yet, CLOSE apart.
    busy: bool,
    /// Something that was queued will never be sent.
    cut: bool,
    eof: bool,
    /// Set once; nothing is queued after it.
    closed: Option<CloseReason>,
    /// The queue was cut off: CLOSE is what is left to send.
    close_due: bool,
    /// Requests that wait for an answer. A port whose receiver is gone swallows the late answer.
    replies: VecDeque<Unanswered>,
    /// The channel actor wants to be told when there is room.
    wants_room: bool,
}

/// What the caller of [`Outbox::end`] must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Ended {
    /// Drive the queue.
    pub(crate) drive: bool,
    /// Tell the channel actor, which waits for room, that there is nothing to wait for any more.
    pub(crate) tell: bool,
}

/// The outbound queue of one channel.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    high_water: usize,
    /// Woken whenever the queue falls to the low mark, and at the end.
    room: Notify,
    /// Woken whenever the queue runs empty, and at the end.
    empty: Notify,
    /// Senders from outside wait for room one after another, so each send stays whole and in order.
    turn: tokio::sync::Mutex<()>,
}

impl State {
    /// Whether anything but CLOSE has not left yet.
    fn holds_something(&self) -> bool {
        self.busy || self.queue.front().is_some_and(|item| !matches!(item, Outgoing::Close))
    }
}

impl Outbox {
    pub(crate) fn new(high_water: usize) -> Self {
        Self {
            state: Mutex::default(),
            high_water: high_water.max(1),
            room: Notify::new(),
            empty: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Queues one item. `Ok(true)` when the caller must drive the queue.
    pub(crate) fn push(&self, item: Outgoing) -> Result<bool, SendErrorKind> {
        let mut state = self.lock();
        Self::admit(&state, &item)?;
        match &item {
            Outgoing::Data { data, .. } => state.bytes = state.bytes.saturating_add(data.len()),
            Outgoing::Eof if state.eof => return Ok(false),
            Outgoing::Eof => state.eof = true,
            Outgoing::Close => state.closed = Some(CloseReason::Local),
            Outgoing::Request { .. } | Outgoing::Reply { .. } => {}
        }
        state.queue.push_back(item);
        Ok(!std::mem::replace(&mut state.driven, true))
    }

    /// Queues a request and the port its answer goes to. `Ok(true)` when the caller must drive.
    pub(crate) fn push_request(
        &self,
        request: ChannelRequest,
        reply: Option<ReplyPort>,
    ) -> Result<bool, SendErrorKind> {
        let mut state = self.lock();
        let want_reply = reply.is_some();
        let name = reply.is_some().then(|| request.known_name());
        let item = Outgoing::Request { request, want_reply };
        Self::admit(&state, &item)?;
        if let (Some(port), Some(request)) = (reply, name) {
            state.replies.push_back(Unanswered { port, request, since: Instant::now() });
        }
        state.queue.push_back(item);
        Ok(!std::mem::replace(&mut state.driven, true))
    }

    fn admit(state: &State, item: &Outgoing) -> Result<(), SendErrorKind> {
        if let Some(reason) = &state.closed {
            return Err(SendErrorKind::Closed(reason.clone()));
        }
        if state.eof && matches!(item, Outgoing::Data { .. }) {
            return Err(SendErrorKind::AfterEof);
        }
        Ok(())
    }

    /// The driver's next item; `None` ends the drive.
    pub(crate) fn next(&self) -> Option<Outgoing> {
        let mut state = self.lock();
        let next = match state.queue.pop_front() {
            None if std::mem::take(&mut state.close_due) => Some(Outgoing::Close),
            next => next,
        };
        state.driven = next.is_some();
        state.busy = next.as_ref().is_some_and(|item| !matches!(item, Outgoing::Close));
        let idle = !state.busy;
        drop(state);
        if idle {
            self.empty.notify_waiters();
        }
        next
    }

    /// There is no link yet: what is queued waits for [`Self::resume`].
    pub(crate) fn suspend(&self) {
        self.lock().driven = false;
    }

    /// There is a link now. True when the caller must drive.
    pub(crate) fn resume(&self) -> bool {
        let mut state = self.lock();
        let work = state.close_due || !state.queue.is_empty();
        work && !std::mem::replace(&mut state.driven, true)
    }

    /// `bytes` left for the transport. True when the channel actor asked to be told of room, and there is.
    pub(crate) fn sent(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        if state.bytes > self.low_water() {
            return false;
        }
        let tell = std::mem::take(&mut state.wants_room);
        drop(state);
        self.room.notify_waiters();
        tell
    }

    /// The answer to the oldest request that waits for one. False when none does.
    pub(crate) fn reply(&self, success: bool) -> bool {
        let answered = self.lock().replies.pop_front();
        let expected = answered.is_some();
        if let Some(answered) = answered {
            let _ = answered.port.send(success);
        }
        expected
    }

    /// Ends the queue: drops what waits and fails every request and sender. With `say_close`, CLOSE is
    /// the one thing left to send, unless it was queued before.
    pub(crate) fn end(&self, reason: CloseReason, say_close: bool) -> Ended {
        let mut state = self.lock();
        state.cut |= state.holds_something();
        let close_queued = state.queue.iter().any(|item| matches!(item, Outgoing::Close));
        let open = state.closed.is_none();
        if open {
            state.closed = Some(reason);
        }
        state.close_due = say_close && (open || close_queued || state.close_due);
        state.bytes = 0;
        let dropped = (std::mem::take(&mut state.queue), std::mem::take(&mut state.replies));
        let drive = state.close_due && !std::mem::replace(&mut state.driven, true);
        let tell = std::mem::take(&mut state.wants_room);
        drop(state);
        drop(dropped);
        self.room.notify_waiters();
        self.empty.notify_waiters();
        Ended { drive, tell }
    }

    /// Whether more than the high-water mark waits.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().bytes >= self.high_water
    }

    /// Asks that the channel actor is told when there is room. False when there is room now.
    pub(crate) fn ask_for_room(&self) -> bool {
        let mut state = self.lock();
        if state.bytes < self.high_water {
            return false;
        }
        state.wants_room = true;
        true
    }

    /// What there is to see at this moment.
    pub(crate) fn look(&self) -> OutboxLook {
        let state = self.lock();
        let awaited = state
            .replies
            .front()
            .map(|oldest| (oldest.request.clone(), oldest.since, oldest.port.is_closed()));
        OutboxLook {
            bytes: state.bytes,
            high_water: self.high_water,
            waits: state.holds_something(),
            awaited,
            closed: state.closed.clone(),
        }
    }

    /// Why nothing can be sent any more.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    /// Waits for this sender's turn and for room. Cancel safe: nothing is queued yet.
    pub(crate) async fn room(&self) -> tokio::sync::MutexGuard<'_, ()> {
        let turn = self.turn.lock().await;
        loop {
            let room = self.room.notified();
            if !self.is_over() || self.closed().is_some() {
                return turn;
            }
            room.await;
        }
    }

    /// Waits until everything queued before was taken by the transport; CLOSE does not count. Fails when
    /// something was dropped.
    pub(crate) async fn drained(&self) -> Result<(), CloseReason> {
        loop {
            let empty = self.empty.notified();
            {
                let state = self.lock();
                if state.cut {
                    return Err(state.closed.clone().unwrap_or(CloseReason::Local));
                }
                if !state.holds_something() {
                    return Ok(());
                }
            }
            empty.await;
        }
    }

    const fn low_water(&self) -> usize {
        self.high_water / 2
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
