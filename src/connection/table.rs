//! Which channels a connection has, and which actor runs which.
//!
//! An entry leaves when both have ended: the channel on the wire, and its actor.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::ActorId;

use crate::error::CloseReason;
use crate::handle::roster::Roster;
use crate::handle::route::{Over, Slot};
use crate::observe::ChannelInfo;
use crate::port::{Identity, Port};
use crate::wire::id::ChannelKey;

/// One channel.
pub(super) struct Entry {
    pub(super) port: Arc<Port>,
    /// Bytes its consumer had taken when that was last counted from nothing.
    taken: u64,
    /// The actor has ended, or there will be none.
    actor_gone: bool,
    /// The peer has not answered the open in time, and nobody waits for it any more.
    overdue: bool,
    /// Dropped with the entry.
    slot: Option<Arc<dyn Slot>>,
    /// Dropped with the entry.
    _keeps: Option<Box<dyn Any + Send>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Entry {
    pub(super) fn new(port: Arc<Port>, identity: Identity) -> Self {
        port.notes().is(identity);
        Self { port, taken: 0, actor_gone: false, overdue: false, slot: None, _keeps: None }
    }

    /// Its place in somebody's account.
    pub(super) fn on(mut self, slot: Option<Arc<dyn Slot>>) -> Self {
        self.slot = slot;
        self
    }

    /// What is dropped when both the channel and its actor have ended.
    pub(super) fn keeping(mut self, what: Option<Box<dyn Any + Send>>) -> Self {
        self._keeps = what;
        self
    }

    /// Whether its consumer has taken a whole budget since it was last counted from nothing: it is slow, and no more.
    pub(super) fn progresses(&self) -> bool {
        self.taken().saturating_sub(self.taken) >= self.port.inbox.budget().budget() as u64
    }

    /// Counts from nothing.
    pub(super) fn forgive(&mut self) {
        self.port.notes().set_held_up(Duration::ZERO);
        self.taken = self.taken();
    }

    fn taken(&self) -> u64 {
        let arrived = self.port.counters.bytes_in.load(Ordering::Relaxed);
        arrived.saturating_sub(self.port.inbox.budget().held() as u64)
    }
}

/// All channels of one connection.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<ChannelKey, Entry>,
    roster: Arc<Roster>,
}

impl Table {
    pub(super) fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.port.key(), entry);
    }

    /// Where the channel actors enter themselves.
    pub(super) const fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no channel is left that anybody waits for.
    pub(super) fn is_idle(&self) -> bool {
        self.entries.values().all(|entry| entry.overdue)
    }

    /// The open's answer is late, and its opener gone.
    pub(super) fn overdue(&mut self, key: ChannelKey) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.overdue = true;
        }
    }

    /// Whether the channel's actor has ended by itself, as far as is known here.
    pub(super) fn has_ended(&self, actor: ActorId) -> bool {
        let entry = self.roster.channel(actor).and_then(|key| self.entries.get(&key));
        entry.is_some_and(|entry| entry.port.exit().is_some())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    /// Who holds most of what is unread.
    pub(super) fn greediest(&self) -> Option<&Arc<Port>> {
        let held = |port: &&Arc<Port>| port.inbox.budget().held();
        self.entries.values().map(|entry| &entry.port).max_by_key(held).filter(|port| held(port) > 0)
    }

    pub(super) fn ports(&self) -> Vec<Arc<Port>> {
        self.entries.values().map(|entry| Arc::clone(&entry.port)).collect()
    }

    pub(super) fn info(&self) -> Vec<ChannelInfo> {
        self.entries.values().map(|entry| entry.port.look()).collect()
    }

    /// There is no actor for the channel, or no longer. True when the entry has left the table.
    pub(super) fn actor_gone(&mut self, key: ChannelKey) -> bool {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.actor_gone = true;
            let _ = entry.port.await_gone();
        }
        self.sweep(key)
    }

    /// Which channel an actor that has ended ran.
    pub(super) fn actor_ended(&mut self, actor: ActorId) -> Option<(ChannelKey, Arc<Port>)> {
        let key = self.roster.leave(actor)?;
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
        let over = self.entries.get(&key).is_some_and(|e| e.actor_gone && e.port.is_gone());
        over && self.take_out(key)
    }

    /// What is left of a channel must not hold up the connection: it could not be found any more.
    fn take_out(&mut self, key: ChannelKey) -> bool {
        let entry = self.entries.remove(&key);
        if let Some(entry) = &entry {
            entry.port.inbox.budget().write_off();
            if let Some(slot) = &entry.slot {
                slot.over(match entry.port.outbox.closed() {
                    Some(CloseReason::Stalled { .. }) => Over::Stalled,
                    _ if entry.port.is_closed_by_peer() => Over::ByPeer,
                    _ => Over::ByUs,
                });
            }
        }
        entry.is_some()
    }
}
