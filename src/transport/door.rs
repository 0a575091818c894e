//! What becomes of the channels that a peer opens, and of what it asks to be listened on. Both roles have a door: a
//! daemon's is its users' routes, a client's lets in what it has asked for.
//!
//! The transport calls all of it from its session's own task, between two packets, so no call here blocks. Where it says so,
//! the session waits for the future that a call returns: [`Door::listen`], [`Decision::Wait`]. Those must end soon.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use crate::port::Port;
use crate::port::event::ChannelMsg;
use crate::wire::codes::OpenFailureReason;
use crate::wire::open::{ListenRequest, OpenRequest};

mod meter;
mod slots;

pub(crate) use meter::{Meter, Verdict};
pub(crate) use slots::{Slot, Slots};

/// Where the channels of one authenticated peer are taken in.
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "servers ask for nothing but channels"))]
pub(crate) trait Door: Send + 'static {
    /// The peer opens a channel: what is made for it, or why it is refused. Must not block.
    fn open(&mut self, request: OpenRequest) -> Admission;

    /// The peer has opened a channel of a type that this side does not take; it is refused.
    fn turn_away(&mut self);

    /// Whether one more request is within what the peer may ask. Counts it.
    fn may_ask(&mut self) -> bool;

    /// The peer wants us to listen for it: the port that was bound, `None` for no. The session handles nothing else until
    /// the future is done.
    fn listen(&mut self, request: ListenRequest) -> BoxFuture<'static, Option<u16>>;

    /// The peer wants no more of that: whether there was any.
    fn unlisten(&mut self, request: ListenRequest) -> bool;
}

/// Where the door of a connection stands that is taken into service before its door is made. Until then nothing comes in.
#[derive(Clone, Default)]
pub(crate) struct Entrance(Arc<Mutex<Option<Box<dyn Door>>>>);

impl Entrance {
    /// From now on this door decides.
    pub(crate) fn install(&self, door: Box<dyn Door>) {
        *self.lock() = Some(door);
    }

    /// What becomes of an open.
    pub(crate) fn open(&self, request: OpenRequest) -> Admission {
        match &mut *self.lock() {
            Some(door) => door.open(request),
            None => Admission::Refused(OpenFailureReason::AdministrativelyProhibited),
        }
    }

    /// As [`Door::turn_away`].
    pub(crate) fn turn_away(&self) {
        if let Some(door) = &mut *self.lock() {
            door.turn_away();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Door>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of an open.
pub(crate) enum Admission {
    Now(NewChannel),
    Refused(OpenFailureReason),
    /// It is decided elsewhere, and takes its time. Dropped when the connection ends.
    Later(BoxFuture<'static, Result<NewChannel, OpenFailureReason>>),
}

/// A channel that is taken in.
pub(crate) struct NewChannel {
    /// Its port, not connected yet.
    pub(crate) port: Arc<Port>,
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "a client has none"))]
    /// Decides about its requests. A client has nobody to ask: its server's requests are events.
    pub(crate) guest: Option<Box<dyn Guest>>,
}

/// Decides about the requests on one channel (RFC 4254 section 6).
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a daemon's peers ask"))]
pub(crate) trait Guest: Send {
    /// A request that the peer may want an answer to. Must not block.
    fn request(&mut self, request: ChannelMsg) -> Decision;

    /// A request that is never answered: whether the behaviour gets it.
    fn event(&mut self, event: &ChannelMsg) -> bool;
}

/// What becomes of a request.
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a daemon's peers ask"))]
pub(crate) enum Decision {
    /// It is answered here and now.
    Answer(bool),
    /// It is answered when this is done. The session handles nothing else until then, so what the peer asks for next finds it
    /// done; it must take little time, or end by itself.
    Wait(BoxFuture<'static, bool>),
    /// The behaviour gets it as an event, behind some others, and answers.
    Deliver { before: Vec<ChannelMsg>, request: ChannelMsg },
    /// It is decided elsewhere, and takes its time. The future queues the answer on the port.
    Later(BoxFuture<'static, ()>),
}
