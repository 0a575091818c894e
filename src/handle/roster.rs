//! Which actor runs which channel of a connection.
//!
//! Written by each channel actor before it runs, read by the connection actor when one has ended: so nobody has to
//! tell it of a start, and no end can come before its start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::{ActorCell, ActorId};

use crate::wire::id::ChannelKey;

/// The channel actors of one connection that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    channels: Mutex<HashMap<ActorId, ChannelKey>>,
}

impl Roster {
    /// The actor is about to run the channel.
    pub(crate) fn enter(&self, actor: ActorId, channel: ChannelKey) {
        self.lock().insert(actor, channel);
    }

    /// The channel an actor runs.
    pub(crate) fn channel(&self, actor: ActorId) -> Option<ChannelKey> {
        self.lock().get(&actor).copied()
    }

    /// The actor has ended. Returns its channel.
    pub(crate) fn leave(&self, actor: ActorId) -> Option<ChannelKey> {
        self.lock().remove(&actor)
    }

    /// The channel's actor did not start after all.
    pub(crate) fn strike(&self, channel: ChannelKey) {
        self.lock().retain(|_, key| *key != channel);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ActorId, ChannelKey>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a channel actor is started under.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) supervisor: ActorCell,
    pub(crate) roster: Arc<Roster>,
    /// The channel's own, within its connection's.
    pub(crate) span: tracing::Span,
}
