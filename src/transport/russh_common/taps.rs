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
    /// We have closed the channel before its confirmation was reported here.
    Forgotten,
}

impl Tap {
    const fn is_early(&self) -> bool {
        matches!(self, Self::Early { .. })
    }
}

#[derive(Debug)]
struct Entry<X> {
    tap: Tap,
    /// russh has reported the confirmation. It tells the opener first, who may be here sooner.
    confirmed: bool,
    /// Told when the peer's window grows.
    window: Arc<Notify>,
    /// What the peer may still send by russh's book. On the client; a server's window is not one value for ever.
    credit: u64,
    /// The peer has sent something since the last [`Taps::mark`], or has just confirmed the channel: one
    /// that it opened itself is active from its first data on.
    active: bool,
    /// The peer has used the channel so much that it was granted more.
    granted: bool,
    /// What the role keeps with the channel.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "a client keeps nothing"))]
    extra: X,
}

#[derive(Debug)]
struct State<X> {
    entries: HashMap<ChannelId, Entry<X>>,
    down: Option<ConnectionError>,
    credit: Credit,
    /// How many of the channels were granted any.
    growing: usize,
    /// How many opens of ours are under way.
    expected: u64,
    /// How many of the channels are [`Tap::Early`].
    early: usize,
}

/// What the peers of a connection may still send, by russh's book, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::transport) struct Credit {
    /// On all channels.
    pub(in crate::transport) all: u64,
    /// On those where something was sent since the last [`Taps::mark`].
    pub(in crate::transport) active: u64,
    /// What was ever granted, the first windows apart.
    pub(in crate::transport) granted: u64,
    /// What will come with the channels that we are opening.
    pub(in crate::transport) expected: u64,
}

impl<X> Entry<X> {
    fn new(tap: Tap, credit: u64, extra: X) -> Self {
        Self {
            tap,
            confirmed: false,
            window: Arc::new(Notify::new()),
            credit,
            active: false,
            granted: false,
            extra,
        }
    }
}

impl<X> State<X> {
    /// The channel's entry; a new one when nothing is known of it yet.
    fn entry(&mut self, id: ChannelId, window: u64) -> &mut Entry<X>
    where
        X: Default,
    {
        self.entries.entry(id).or_insert_with(|| {
            self.credit.all += window;
            self.credit.active += window;
            self.early += 1;
            let mut entry = Entry::new(Tap::Early { arrived: Vec::new() }, window, X::default());
            entry.active = true;
            entry
        })
    }

    fn insert(&mut self, id: ChannelId, entry: Entry<X>) {
        self.remove(id);
        self.credit.all += entry.credit;
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: ChannelId) -> Option<Entry<X>> {
        let entry = self.entries.remove(&id)?;
        self.credit.all -= entry.credit;
        self.credit.active -= if entry.active { entry.credit } else { 0 };
        self.growing -= usize::from(entry.granted);
        self.early -= usize::from(entry.tap.is_early());
        Some(entry)
    }
}

/// All channels of one russh session. `X` is what a role keeps with each of its channels.
#[derive(Debug)]
pub(in crate::transport) struct Taps<X = ()> {
    state: Mutex<State<X>>,
    early: Arc<ChannelBudget>,
    window: u64,
    /// Woken at the end.
    over: Notify,
}

impl<X> Taps<X> {
    /// `early` is charged for what arrives before its port; `window` is the session's `window_size`.
    pub(in crate::transport) fn new(early: Arc<ChannelBudget>, window: u32) -> Arc<Self> {
        let state = State {
            entries: HashMap::new(),
            down: None,
            credit: Credit::default(),
            growing: 0,
            expected: 0,
            early: 0,
        };
        Arc::new(Self { state: Mutex::new(state), early, window: u64::from(window), over: Notify::new() })
    }

    /// A channel was confirmed: from now on things may arrive for it.
    pub(in crate::transport) fn confirmed(&self, id: ChannelId)
    where
        X: Default,
    {
        let mut state = self.lock();
        let entry = state.entry(id, self.window);
        entry.confirmed = true;
        if let Tap::Live { read, .. } = &mut entry.tap {
            // Confirmed once more: russh queues that too.
            newest(read);
        }
        if matches!(entry.tap, Tap::Forgotten) {
            state.remove(id);
        }
    }

    /// Gives a confirmed channel its port, with all that arrived so far. Returns what to wait for when the window is
    /// shut; `None` when the connection is gone.
    pub(in crate::transport) fn attach(
        &self,
        id: ChannelId,
        port: &Arc<Port>,
        mut read: ChannelReadHalf,
    ) -> Option<Arc<Notify>>
    where
        X: Default,
    {
        let mut state = self.lock();
        if state.down.is_some() {
            return None;
        }
        let entry = state.entry(id, self.window);
        let window = Arc::clone(&entry.window);
        newest(&mut read);
        let live = Tap::Live { port: Arc::clone(port), read };
        let mut closed = false;
        if let Tap::Early { arrived } = std::mem::replace(&mut entry.tap, live) {
            state.early -= 1;
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
            state.remove(id);
            drop(state);
            port.peer_closed();
        }
        Some(window)
    }

    /// Data arrived. `data` is what the callback shows; the same bytes are in the read half, uncopied.
    pub(in crate::transport) fn data(&self, id: ChannelId, data_type: DataType, data: &[u8]) {
        let mut state = self.lock();
        let State { entries, credit, .. } = &mut *state;
        let Some(entry) = entries.get_mut(&id) else { return };
        account(entry, data.len() as u64, self.window, credit);
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
            Tap::Forgotten => None,
        };
        drop(state);
        if let Some((port, data)) = delivery {
            port.deliver(ChannelMsg::Data { data_type, data });
        }
    }

    /// Any other event arrived. False when nobody will see it.
    pub(in crate::transport) fn event(&self, id: ChannelId, msg: ChannelMsg) -> bool {
        let mut state = self.lock();
        match state.entries.get_mut(&id).map(|entry| &mut entry.tap) {
            None | Some(Tap::Forgotten) => false,
            Some(Tap::Early { arrived }) => {
                let charge = self.early.charge(msg.payload_len());
                arrived.push(Early::Event(msg, charge));
                true
            }
            Some(Tap::Live { port, read }) => {
                newest(read);
                let port = Arc::clone(port);
                drop(state);
                port.deliver(msg)
            }
        }
    }

    /// An answer to a channel request arrived.
    pub(in crate::transport) fn reply(&self, id: ChannelId, success: bool) {
        let mut state = self.lock();
        match state.entries.get_mut(&id).map(|entry| &mut entry.tap) {
            None | Some(Tap::Forgotten) => {}
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
    pub(in crate::transport) fn window_adjusted(&self, id: ChannelId) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&id) else { return };
        if let Tap::Live { read, .. } = &mut entry.tap {
            newest(read);
        }
        entry.window.notify_one();
    }

    /// The peer's CLOSE arrived; russh has answered it and forgotten the channel.
    pub(in crate::transport) fn closed(&self, id: ChannelId) {
        let mut state = self.lock();
        match state.entries.get_mut(&id).map(|entry| &mut entry.tap) {
            None | Some(Tap::Forgotten) => {}
            Some(Tap::Early { arrived }) => arrived.push(Early::Closed),
            Some(Tap::Live { .. }) => {
                let entry = state.remove(id);
                drop(state);
                if let Some(Entry { tap: Tap::Live { port, .. }, .. }) = entry {
                    port.peer_closed();
                }
            }
        }
    }

    /// We have closed the channel: nothing of it is of interest any more.
    pub(in crate::transport) fn forget(&self, id: ChannelId) {
        let mut state = self.lock();
        let tap = match state.entries.get_mut(&id) {
            Some(entry) if !entry.confirmed => {
                let tap = std::mem::replace(&mut entry.tap, Tap::Forgotten);
                state.early -= usize::from(tap.is_early());
                Some(tap)
            }
            _ => state.remove(id).map(|entry| entry.tap),
        };
        drop(state);
        drop(tap);
    }

    /// The connection is gone. True the first time.
    pub(in crate::transport) fn down(&self, error: &ConnectionError) -> bool {
        let mut state = self.lock();
        if state.down.is_some() {
            return false;
        }
        state.down = Some(error.clone());
        let entries = std::mem::take(&mut state.entries);
        state.credit = Credit { granted: state.credit.granted, ..Credit::default() };
        state.early = 0;
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
    pub(in crate::transport) fn is_down(&self) -> bool {
        self.lock().down.is_some()
    }

    /// Why the connection is gone, if it is.
    pub(in crate::transport) fn down_reason(&self) -> Option<ConnectionError> {
        self.lock().down.clone()
    }

    /// We are opening a channel: until the guard is dropped, a confirmation means something.
    pub(in crate::transport) fn expect(&self) -> Expected<'_, X> {
        self.lock().expected += 1;
        Expected(self)
    }

    /// Waits until the connection is gone.
    pub(in crate::transport) async fn until_down(&self) {
        loop {
            let over = self.over.notified();
            if self.is_down() {
                return;
            }
            over.await;
        }
    }

    /// What the peer may still send.
    pub(in crate::transport) fn credit(&self) -> Credit {
        let state = self.lock();
        Credit { expected: state.expected * self.window, ..state.credit }
    }

    /// From now on it is noted anew which channels are active.
    pub(in crate::transport) fn mark(&self) {
        let mut state = self.lock();
        state.credit.active = 0;
        state.entries.values_mut().for_each(|entry| entry.active = false);
    }

    /// What the peer may still send on one channel, by russh's book.
    pub(in crate::transport) fn credit_of(&self, id: ChannelId) -> Option<u64> {
        self.lock().entries.get(&id).map(|entry| entry.credit)
    }

    /// Whether the channel is not over.
    pub(in crate::transport) fn has(&self, id: ChannelId) -> bool {
        self.lock().entries.contains_key(&id)
    }

    fn lock(&self) -> MutexGuard<'_, State<X>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Channels that the peer opens.
impl<X> Taps<X> {
    /// A channel the peer opens, with its port from the start. Returns as [`Self::attach`].
    pub(in crate::transport) fn adopt(
        &self,
        id: ChannelId,
        port: &Arc<Port>,
        read: ChannelReadHalf,
        extra: X,
    ) -> Option<Arc<Notify>> {
        self.insert(id, Tap::Live { port: Arc::clone(port), read }, extra)
    }

    fn insert(&self, id: ChannelId, tap: Tap, extra: X) -> Option<Arc<Notify>> {
        let mut entry = Entry::new(tap, self.window, extra);
        entry.confirmed = true;
        let window = Arc::clone(&entry.window);
        let mut state = self.lock();
        if state.down.is_some() {
            drop(state);
            drop(entry);
            return None;
        }
        state.insert(id, entry);
        Some(window)
    }
}

/// What only a server needs.
#[cfg(feature = "server")]
impl<X> Taps<X> {
    /// A channel was confirmed. Peers may also confirm what they have opened themselves, or what is over: nonsense, but
    /// russh queues it.
    pub(in crate::transport) fn confirmed_if_expected(&self, id: ChannelId)
    where
        X: Default,
    {
        let expected = self.lock().expected > 0;
        if expected { self.confirmed(id) } else { self.drain(id) }
    }

    /// Works on what the role keeps with a channel; `None` when the channel is over.
    pub(in crate::transport) fn with<T>(&self, id: ChannelId, work: impl FnOnce(&mut X) -> T) -> Option<T> {
        self.lock().entries.get_mut(&id).map(|entry| work(&mut entry.extra))
    }

    /// Empties the channel's queue in russh after something that is no event.
    pub(in crate::transport) fn drain(&self, id: ChannelId) {
        if let Some(Tap::Live { read, .. }) = self.lock().entries.get_mut(&id).map(|entry| &mut entry.tap) {
            newest(read);
        }
    }

    /// The peer was granted more window on this channel. Returns how many channels were ever granted any.
    pub(in crate::transport) fn granted(&self, id: ChannelId) -> usize {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(&id)
            && !std::mem::replace(&mut entry.granted, true)
        {
            state.growing += 1;
        }
        state.growing
    }
}

/// See [`Taps::expect`].
#[derive(Debug)]
pub(in crate::transport) struct Expected<'a, X>(&'a Taps<X>);

impl<X> Drop for Expected<'_, X> {
    /// Channels that were confirmed and that nobody has opened are forgotten.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.expected -= 1;
        // Hardly ever is there one: all channels are looked through only then.
        if state.expected > 0 || state.early == 0 {
            return;
        }
        let early = |(id, entry): (&ChannelId, &Entry<X>)| entry.tap.is_early().then_some(*id);
        let unclaimed: Vec<ChannelId> = state.entries.iter().filter_map(early).collect();
        for id in unclaimed {
            state.remove(id);
        }
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

/// Follows russh's own book: it grants up to the full window when less than half is left.
const fn account<X>(entry: &mut Entry<X>, len: u64, window: u64, credit: &mut Credit) {
    if !entry.active {
        entry.active = true;
        credit.active += entry.credit;
    }
    let before = entry.credit;
    if len <= entry.credit {
        entry.credit -= len;
    }
    if entry.credit < window / 2 {
        credit.granted += window - entry.credit;
        entry.credit = window;
    }
    credit.all = credit.all - before + entry.credit;
    credit.active = credit.active - before + entry.credit;
}
