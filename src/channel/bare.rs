//! Channels without a behaviour: their events go to any actor.

use std::fmt;
use std::ops::Deref;

use ractor::{ActorCell, ActorRef, Message};

use crate::behaviour::{ChannelContext, ChannelHandle, ChannelRef, ClientChannel, Credit, Next};
use crate::error::BoxError;
use crate::port::event::ChannelMsg;
use crate::wire::id::ChannelKey;

/// One SSH event of a bare channel, with its receive credit.
#[derive(Debug)]
#[non_exhaustive]
pub struct ChannelEvent {
    /// Which channel.
    pub channel: ChannelKey,
    /// What happened.
    pub msg: ChannelMsg,
    /// Held until this is dropped: keep it as long as the data is not consumed.
    pub credit: Option<Credit>,
}

/// A channel whose events go to an actor. Dereferences to the functions of the channel.
///
/// Dropping it changes nothing: the channel belongs to its owner.
#[derive(Clone)]
pub struct BareChannel {
    handle: ChannelHandle,
    relay: ActorCell,
}

impl fmt::Debug for BareChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareChannel").field("channel", &self.handle.id()).finish_non_exhaustive()
    }
}

impl BareChannel {
    pub(super) fn new<M: Message + From<ChannelEvent>>(relay: &ChannelRef<Relay<M>>) -> Self {
        Self { handle: ChannelHandle::clone(relay), relay: relay.actor() }
    }

    /// The small actor that passes the events on.
    #[must_use]
    pub fn actor(&self) -> ActorCell {
        self.relay.clone()
    }
}

impl Deref for BareChannel {
    type Target = ChannelHandle;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

/// Passes events on to their owner.
pub(super) struct Relay<M> {
    owner: ActorRef<M>,
}

impl<M> Relay<M> {
    pub(super) const fn new(owner: ActorRef<M>) -> Self {
        Self { owner }
    }
}

impl<M: Message + From<ChannelEvent>> ClientChannel for Relay<M> {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.close_with(&self.owner.get_cell());
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        let event = ChannelEvent { channel: ctx.id(), msg, credit: ctx.hold_credit() };
        Ok(match self.owner.cast(M::from(event)) {
            Ok(()) => Next::Continue,
            Err(_) => Next::Stop,
        })
    }
}
