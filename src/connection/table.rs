//! Which channels a connection has, and which actor runs which.
//!
//! An entry leaves when both have ended: the channel on the wire, and its actor.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::ActorId;

use crate::observe::{ChannelInfo, ChannelState};
use crate::port::Port;
use crate::wire::id::ChannelKey;

/// One channel.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) port: Arc<Port>,
    pub(super) kind: &'static str,
    pub(super) behaviour: &'static str,
    /// For how long it has held up the connection in total.
    pub(super) held_up: Duration,
    actor: ActorSlot,
    /// Dropped with the entry.
    _keeps: Option<Box<dyn Any + Send>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ActorSlot {
    Awaited,
    Running(ActorId),
    Ended,
}

impl Entry {
    pub(super) const fn new(port: Arc<Port>, kind: &'static str, behaviour: &'static str) -> Self {
        Self { port, kind, behaviour, held_up: Duration::ZERO, actor: ActorSlot::Awaited, _keeps: None }
    }

    /// What is dropped when both the channel and its actor have ended.
    pub(super) fn keeping(mut self, what: Option<Box<dyn Any + Send>>) -> Self {
        self._keeps = what;
        self
    }

    fn state(&self) -> ChannelState {
        match (self.actor, self.port.is_gone()) {
            (ActorSlot::Awaited, _) => ChannelState::Opening,
            (ActorSlot::Running(_), false) => ChannelState::Open,
            _ => ChannelState::Closing,
        }
    }

    fn info(&self) -> ChannelInfo {
        let budget = self.port.inbox.budget();
        ChannelInfo {
            id: self.port.key(),
            kind: self.kind,
            state: self.state(),
            behaviour: self.behaviour,
            bytes_in: self.port.counters.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.port.counters.bytes_out.load(Ordering::Relaxed),
            unread: budget.held(),
            receive_budget: budget.budget(),
            queued: self.port.outbox.bytes(),
            idle: self.port.idle(),
            held_up: self.held_up,
        }
    }
}

/// All channels of one connection.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<ChannelKey, Entry>,
    by_actor: HashMap<ActorId, ChannelKey>,
    /// Actors whose end was reported before their start was.
    ended_early: HashSet<ActorId>,
}

impl Table {
    pub(super) fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.port.key(), entry);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    pub(super) fn ports(&self) -> Vec<Arc<Port>> {
        self.entries.values().map(|entry| Arc::clone(&entry.port)).collect()
    }

    pub(super) fn info(&self) -> Vec<ChannelInfo> {
        self.entries.values().map(Entry::info).collect()
    }

    /// The channel's actor runs. Returns its port if the actor has ended in the meantime.
    pub(super) fn started(&mut self, key: ChannelKey, actor: ActorId) -> Option<Arc<Port>> {
        if self.ended_early.remove(&actor) {
            return self.entries.get(&key).map(|entry| Arc::clone(&entry.port));
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.actor = ActorSlot::Running(actor);
            self.by_actor.insert(actor, key);
        }
        None
    }

    /// There is no actor for the channel, or no longer. True when the entry has left the table.
    pub(super) fn actor_gone(&mut self, key: ChannelKey) -> bool {
        if let Some(entry) = self.entries.get_mut(&key) {
            if let ActorSlot::Running(actor) = entry.actor {
                self.by_actor.remove(&actor);
            }
            entry.actor = ActorSlot::Ended;
            let _ = entry.port.await_gone();
        }
        self.sweep(key)
    }

    /// Which channel an actor that has ended ran.
    pub(super) fn actor_ended(&mut self, actor: ActorId) -> Option<(ChannelKey, Arc<Port>)> {
        let Some(key) = self.by_actor.get(&actor).copied() else {
            // Somebody else's actor that was linked to the connection, if none of ours is starting.
            if self.entries.values().any(|entry| entry.actor == ActorSlot::Awaited) {
                self.ended_early.insert(actor);
            }
            return None;
        };
        self.entries.get(&key).map(|entry| (key, Arc::clone(&entry.port)))
    }

    /// Nothing is left of the channel on the wire. True when the entry has left the table.
    pub(super) fn wire_gone(&mut self, key: ChannelKey) -> bool {
        self.sweep(key)
    }

    /// The open failed: the channel never was.
    pub(super) fn remove(&mut self, key: ChannelKey) -> bool {
        self.take_out(key)
    }

    fn sweep(&mut self, key: ChannelKey) -> bool {
        let over = self.entries.get(&key).is_some_and(|e| e.actor == ActorSlot::Ended && e.port.is_gone());
        over && self.take_out(key)
    }

    /// What is left of a channel must not hold up the connection: it could not be found any more.
    fn take_out(&mut self, key: ChannelKey) -> bool {
        let entry = self.entries.remove(&key);
        if let Some(entry) = &entry {
            entry.port.inbox.budget().write_off();
        }
        if self.entries.is_empty() {
            self.ended_early.clear();
        }
        entry.is_some()
    }
}
