//! Where russh's channel callbacks lead: for every open channel its port, and the read half that russh fills.
//!
//! russh puts each piece of data into a bounded queue per channel and then calls the handler. The queue is emptied
//! in that very callback, so russh never waits for a consumer, and the bytes are passed on without a copy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use russh::{ChannelId, ChannelMsg as RusshMsg, ChannelReadHalf};
use tokio::sync::Notify;

use crate::error::ConnectionError;
use crate::port::Port;
use crate::port::budget::{ChannelBudget, Charge};
use crate::port::event::ChannelMsg;
use crate::wire::codes::DataType;

/// What arrived for a channel before its port was known here.
#[derive(Debug)]
enum Early {
    Event(ChannelMsg, Charge),
    Reply(bool),
    Closed,
}

#[derive(Debug)]
enum Tap {
    /// Confirmed, but the task that asked for it has not been here yet. What arrives waits, and counts.
    Early {
        arrived: Vec<Early>,
    },
    Live {
        port: Arc<Port>,
        read: ChannelReadHalf,
    },
}

#[derive(Debug)]
struct Entry {
    tap: Tap,
    /// Told when the peer's window grows.
    window: Arc<Notify>,
    /// What the peer may still send by russh's book.
    credit: u64,
}

impl Entry {
    fn early(window: u64) -> Self {
        Self { tap: Tap::Early { arrived: Vec::new() }, window: Arc::new(Notify::new()), credit: window }
    }
}

#[derive(Debug)]
struct State {
    entries: HashMap<ChannelId, Entry>,
    down: Option<ConnectionError>,
    /// All credit russh has granted so far, initial windows apart.
    granted: u64,
}

/// All channels of one russh session.
#[derive(Debug)]
pub(super) struct Taps {
    state: Mutex<State>,
    early: Arc<ChannelBudget>,
    window: u64,
    /// Woken at the end.
    over: Notify,
}

impl Taps {
    /// `early` is charged for what arrives before its port; `window` is the session's `window_size`.
    pub(super) fn new(early: Arc<ChannelBudget>, window: u32) -> Arc<Self> {
        let state = State { entries: HashMap::new(), down: None, granted: 0 };
        Arc::new(Self { state: Mutex::new(state), early, window: u64::from(window), over: Notify::new() })
    }

    /// A channel was confirmed: from now on things may arrive for it. russh wakes the opener before it says so here:
    /// the port may be there already.
    pub(super) fn confirmed(&self, id: ChannelId) {
        self.lock().entries.entry(id).or_insert_with(|| Entry::early(self.window));
    }

    /// Gives a confirmed channel its port, with all that arrived so far. Returns what to wait for when the window is
    /// shut; `None` when the connection is gone.
    pub(super) fn attach(
        &self,
        id: ChannelId,
        port: &Arc<Port>,
        mut read: ChannelReadHalf,
    ) -> Option<Arc<Notify>> {
        let mut state = self.lock();
        if state.down.is_some() {
            return None;
        }
        let entry = state.entries.entry(id).or_insert_with(|| Entry::early(self.window));
        let window = Arc::clone(&entry.window);
        newest(&mut read);
        let live = Tap::Live { port: Arc::clone(port), read };
        let mut closed = false;
        if let Tap::Early { arrived } = std::mem::replace(&mut entry.tap, live) {
            for early in arrived {
                match early {
                    Early::Event(msg, charge) => {
                        drop(charge);
                        port.deliver(msg);
                    }
                    Early::Reply(success) => drop(port.deliver_reply(success)),
                    Early::Closed => closed = true,
                }
            }
        }
        if closed {
            state.entries.remove(&id);
            drop(state);
            port.peer_closed();
        }
        Some(window)
    }

    /// Data arrived. `data` is what the callback shows; the same bytes are in the read half, uncopied.
    pub(super) fn data(&self, id: ChannelId, data_type: DataType, data: &[u8]) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&id) else { return };
        let granted = account(entry, data.len() as u64, self.window);
        let delivery = match &mut entry.tap {
            Tap::Early { arrived } => {
                let charge = self.early.charge(data.len());
                let data = Bytes::copy_from_slice(data);
                arrived.push(Early::Event(ChannelMsg::Data { data_type, data }, charge));
                None
            }
            Tap::Live { port, read } => {
                let bytes = match newest(read) {
                    Some(RusshMsg::Data { data: bytes } | RusshMsg::ExtendedData { data: bytes, .. })
                        if bytes.len() == data.len() =>
                    {
                        bytes
                    }
                    _ => Bytes::copy_from_slice(data),
                };
                Some((Arc::clone(port), bytes))
            }
        };
        state.granted += granted;
        drop(state);
        if let Some((port, data)) = delivery {
            port.deliver(ChannelMsg::Data { data_type, data });
        }
    }

    /// Any other event arrived.
    pub(super) fn event(&self, id: ChannelId, msg: ChannelMsg) {
        let mut state = self.lock();
        match state.entries.get_mut(&id).map(|entry| &mut entry.tap) {
            None => {}
            Some(Tap::Early { arrived }) => {
                let charge = self.early.charge(msg.payload_len());
                arrived.push(Early::Event(msg, charge));
            }
            Some(Tap::Live { port, read }) => {
                newest(read);
                let port = Arc::clone(port);
                drop(state);
                port.deliver(msg);
            }
        }
    }

    /// An answer to a channel request arrived.
    pub(super) fn reply(&self, id: ChannelId, success: bool) {
        let mut state = self.lock();
        match state.entries.get_mut(&id).map(|entry| &mut entry.tap) {
            None => {}
            Some(Tap::Early { arrived }) => arrived.push(Early::Reply(success)),
            Some(Tap::Live { port, read }) => {
                newest(read);
                let port = Arc::clone(port);
                drop(state);
                if !port.deliver_reply(success) {
                    tracing::debug!(channel = %port.key(), success, "an answer nobody asked for");
                }
            }
        }
    }

    /// The peer's window has grown.
    pub(super) fn window_adjusted(&self, id: ChannelId) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&id) else { return };
        if let Tap::Live { read, .. } = &mut entry.tap {
            newest(read);
        }
        entry.window.notify_one();
    }

    /// The peer's CLOSE arrived; russh has answered it and forgotten the channel.
    pub(super) fn closed(&self, id: ChannelId) {
        let mut state = self.lock();
        match state.entries.get_mut(&id).map(|entry| &mut entry.tap) {
            None => {}
            Some(Tap::Early { arrived }) => arrived.push(Early::Closed),
            Some(Tap::Live { .. }) => {
                let entry = state.entries.remove(&id);
                drop(state);
                if let Some(Entry { tap: Tap::Live { port, .. }, .. }) = entry {
                    port.peer_closed();
                }
            }
        }
    }

    /// We have closed the channel: nothing of it is of interest any more.
    pub(super) fn forget(&self, id: ChannelId) {
        let entry = self.lock().entries.remove(&id);
        drop(entry);
    }

    /// The connection is gone. True the first time.
    pub(super) fn down(&self, error: &ConnectionError) -> bool {
        let mut state = self.lock();
        if state.down.is_some() {
            return false;
        }
        state.down = Some(error.clone());
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        self.over.notify_waiters();
        for (_, entry) in entries {
            if let Tap::Live { port, .. } = entry.tap {
                port.lost(error.clone());
            }
        }
        true
    }

    /// Whether the connection is gone.
    pub(super) fn is_down(&self) -> bool {
        self.lock().down.is_some()
    }

    /// Why the connection is gone, if it is.
    pub(super) fn down_reason(&self) -> Option<ConnectionError> {
        self.lock().down.clone()
    }

    /// Waits until the connection is gone.
    pub(super) async fn until_down(&self) {
        loop {
            let over = self.over.notified();
            if self.is_down() {
                return;
            }
            over.await;
        }
    }

    /// What the peer may still send on all channels, by russh's book, and all that was ever granted.
    pub(super) fn credit(&self) -> (u64, u64) {
        let state = self.lock();
        (state.entries.values().map(|entry| entry.credit).sum(), state.granted)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Empties a read half and returns what came last: russh queues an event just before it calls the handler for it.
fn newest(read: &mut ChannelReadHalf) -> Option<RusshMsg> {
    let mut last = None;
    while let Some(Some(msg)) = tokio::task::unconstrained(read.wait()).now_or_never() {
        last = Some(msg);
    }
    last
}

/// Follows russh's own book: it grants up to the full window when less than half is left. Returns the grant.
const fn account(entry: &mut Entry, len: u64, window: u64) -> u64 {
    if len <= entry.credit {
        entry.credit -= len;
    }
    if entry.credit >= window / 2 {
        return 0;
    }
    let grant = window - entry.credit;
    entry.credit = window;
    grant
}
