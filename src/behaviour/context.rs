//! What a behaviour may do from inside a callback.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use ractor::{ActorCell, ActorRef, ActorStatus};

use super::handle::{ChannelHandle, HandleTimeouts};
use super::msg::ActorMsg;
use super::role::{Behaviour, ClientSide, Role, ServerSide};
use super::{ChannelRef, Credit};
use crate::config::WindowAdjust;
use crate::error::{CloseReason, SendError};
use crate::port::budget::{Charge, PER_EVENT_OVERHEAD};
use crate::port::{Outgoing, Port};
use crate::wire::codes::DataType;

/// The context of one channel's callbacks.
///
/// Dereferences to [`ChannelHandle`]: requests (`exec`, `shell`, `ptty_alloc`, ...), `send_eof` and `close` are
/// there. [`send`](Self::send) here never waits, unlike the handle's.
pub struct ChannelContext<C: Behaviour<R>, R: Role = ClientSide> {
    handle: ChannelHandle<R>,
    myself: ActorRef<ActorMsg<C::Msg>>,
    adjust: WindowAdjust,
    /// The credit of the event being handled.
    current: Option<Charge>,
    /// Manual mode: credit of handled events that was not returned yet.
    owed: Option<Charge>,
    /// Requests of the peer that wait for `reply_request`.
    unanswered: usize,
    wants_ready: bool,
    /// Data is delivered however much is queued for sending.
    always_deliver: bool,
    owners: Vec<Watch>,
}

/// One actor watches another. Ends with this value: the one that is watched would keep it for life.
struct Watch {
    by: ActorCell,
    whom: ActorCell,
}

impl Watch {
    fn new(by: ActorCell, whom: ActorCell) -> Self {
        by.monitor(whom.clone());
        Self { by, whom }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.by.unmonitor(self.whom.clone());
    }
}

impl<C: Behaviour<R>, R: Role> std::fmt::Debug for ChannelContext<C, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelContext").field("channel", &self.handle.id()).finish_non_exhaustive()
    }
}

impl<C: Behaviour<R>, R: Role> Deref for ChannelContext<C, R> {
    type Target = ChannelHandle<R>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl<C: Behaviour<R>, R: Role> ChannelContext<C, R> {
    pub(crate) const fn new(
        port: Arc<Port>,
        timeouts: HandleTimeouts,
        adjust: WindowAdjust,
        myself: ActorRef<ActorMsg<C::Msg>>,
    ) -> Self {
        Self {
            handle: ChannelHandle::new(port, timeouts),
            myself,
            adjust,
            current: None,
            owed: None,
            unanswered: 0,
            wants_ready: false,
            always_deliver: false,
            owners: Vec::new(),
        }
    }

    /// The address of this channel, to give to others.
    #[must_use]
    pub fn myself(&self) -> ChannelRef<C, R> {
        ChannelRef::new(self.myself.clone(), self.handle.clone())
    }

    /// The handle of this channel, for tasks that outlive the callback.
    #[must_use]
    pub fn handle(&self) -> ChannelHandle<R> {
        self.handle.clone()
    }

    /// Sends ordinary data (SSH_MSG_CHANNEL_DATA, RFC 4254 section 5.2). Never waits: what the peer's window
    /// does not take now is queued.
    ///
    /// While more than the high-water mark is queued, no further data is delivered to this behaviour, so an
    /// echo or a filter is bounded without a thought. A source that makes data from nothing looks at
    /// [`is_ready`](Self::is_ready) and [`notify_when_ready`](Self::notify_when_ready).
    ///
    /// # Errors
    /// The channel is closed or eof was sent. The data comes back.
    pub fn send(&self, data: impl Into<Bytes>) -> Result<(), SendError> {
        self.send_typed(DataType::Normal, data.into())
    }

    /// As [`send`](Self::send), with a data type.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_typed(&self, data_type: DataType, data: Bytes) -> Result<(), SendError> {
        self.handle.port().send(data_type, data.clone()).map_err(|kind| SendError { kind, data })
    }

    /// Whether the outbound queue is below its high-water mark.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.handle.port().outbox.is_over()
    }

    /// Asks for one `ChannelMsg::ReadyToSend` when there is room in the outbound queue; at once if there is.
    pub fn notify_when_ready(&mut self) {
        self.wants_ready = true;
        self.ask_for_room();
    }

    /// Whether inbound data is withheld while more than the high-water mark is queued for sending; by default it is.
    ///
    /// That suits a behaviour which answers what it receives. One whose output has another source (a file sent to a
    /// command that prints meanwhile) switches it off: otherwise a peer that reads no more before its own output was
    /// taken would wait for us, and we for it.
    pub fn withhold_data(&mut self, withhold: bool) {
        self.always_deliver = !withhold;
        if !withhold {
            // What is withheld already goes on.
            let _ = self.myself.cast(ActorMsg::Room);
        }
    }

    /// Keeps the credit of the event being handled from going back when the callback returns; it goes back
    /// when the returned value is dropped. `None` outside `handle_ssh_msg`, or when it was taken already.
    pub fn hold_credit(&mut self) -> Option<Credit> {
        self.current.take().map(Credit::new)
    }

    /// Returns the credit of `bytes` received bytes (SSH_MSG_CHANNEL_WINDOW_ADJUST, RFC 4254 section 5.2), in
    /// `WindowAdjust::Manual`. More than is held back returns all of it. Says how many bytes are still held.
    ///
    /// Over russh the wire window is granted on receipt; what this frees is the connection's budget.
    pub fn adjust_window(&mut self, bytes: usize) -> usize {
        let Some(owed) = &mut self.owed else { return 0 };
        drop(owed.take(bytes));
        let left = owed.bytes();
        if left == 0 {
            self.owed = None;
        }
        left
    }

    /// Stops this channel when `owner` ends, as if it were linked to it.
    pub fn close_with(&mut self, owner: &ActorCell) {
        self.handle.port().notes().owned_by(owner.get_id());
        self.owners.push(Watch::new(self.myself.get_cell(), owner.clone()));
        if owner.get_status() >= ActorStatus::Stopping {
            self.myself().stop("its owner has ended");
        }
    }

    // ---- for the channel actor ------------------------------------------------------------------

    pub(crate) fn begin_event(&mut self, charge: Charge, want_reply: bool) {
        self.current = Some(charge);
        self.unanswered += usize::from(want_reply);
    }

    /// After the callback: credit goes back, unanswered requests are refused.
    pub(crate) fn end_event(&mut self) {
        self.end_turn();
        let Some(mut charge) = self.current.take() else { return };
        if self.adjust == WindowAdjust::Manual {
            drop(charge.take(PER_EVENT_OVERHEAD));
            match &mut self.owed {
                Some(owed) => owed.merge(charge),
                None => self.owed = Some(charge),
            }
        }
    }

    /// Waits until what has arrived on the channel is not to be waited for any more.
    #[cfg(feature = "server")]
    pub(crate) async fn until_cut_off(&self) {
        self.handle.port().until_cut_off().await;
    }

    /// How long a graceful close may stand still.
    #[cfg(feature = "server")]
    pub(crate) fn close_timeout(&self) -> std::time::Duration {
        self.handle.port().close_timeout()
    }

    pub(crate) fn end_turn(&mut self) {
        for _ in 0..std::mem::take(&mut self.unanswered) {
            let _ = self.handle.port().push(Outgoing::Reply { success: false });
        }
    }

    /// Whether inbound data must wait until less is queued for sending.
    pub(crate) fn holds_data_back(&self) -> bool {
        !self.always_deliver && !self.is_ready()
    }

    /// Asks for room again if somebody waits for it: nobody could be told before the actor could be woken.
    pub(crate) fn attached(&self) {
        if self.wants_ready {
            self.ask_for_room();
        }
    }

    /// Whether `ReadyToSend` is due; if it is wanted and not due, asks for room again.
    pub(crate) fn take_ready(&mut self) -> bool {
        if self.wants_ready && !self.is_ready() {
            self.ask_for_room();
            return false;
        }
        std::mem::take(&mut self.wants_ready)
    }

    /// Arranges for `ActorMsg::Room`; sends it at once when there is room.
    pub(crate) fn ask_for_room(&self) {
        if !self.handle.port().outbox.ask_for_room() {
            let _ = self.myself.cast(ActorMsg::Room);
        }
    }
}

impl<C: Behaviour<ServerSide>> ChannelContext<C, ServerSide> {
    /// Answers the oldest unanswered request of the peer (SSH_MSG_CHANNEL_SUCCESS or _FAILURE, RFC 4254
    /// section 5.4). Does nothing when none waits, as for a request without `want_reply`.
    ///
    /// # Errors
    /// The channel is closed.
    pub fn reply_request(&mut self, success: bool) -> Result<(), CloseReason> {
        if self.unanswered == 0 {
            return Ok(());
        }
        self.unanswered -= 1;
        self.handle
            .port()
            .push(Outgoing::Reply { success })
            .map_err(|_| self.handle.closed().unwrap_or(CloseReason::Local))
    }
}
