//! What both ends share: the channels, what is under way to us, and how the connection ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::poll_fn;
use tokio::sync::{Notify, oneshot};

use super::link::MemoryLink;
use super::tape::{Sent, Tape};
use crate::error::ConnectionError;
use crate::port::Port;
use crate::port::budget::ConnectionBudget;
use crate::port::event::ChannelMsg;
use crate::transport::door::{Admission, Entrance, NewChannel};
use crate::transport::{EventSink, ListenRefused, OpenRefused, Traffic, TransportEvent};
use crate::wire::codes::{DisconnectCode, OpenFailureReason};
use crate::wire::open::{ListenRequest, OpenRequest};

/// What a message costs on the wire beyond its payload; a round figure.
const OVERHEAD: u64 = 32;

/// One message of the peer, on its way to us.
pub(crate) enum Inbound {
    Confirmed {
        id: u32,
        window: u32,
        max_packet: u32,
    },
    Refused {
        id: u32,
        reason: OpenFailureReason,
        description: String,
    },
    /// The peer opens a channel.
    Open(Box<Opening>),
    /// The peer's answer to a global request.
    Answered(ListenReply, ListenAnswer),
    Event {
        id: u32,
        msg: ChannelMsg,
    },
    Reply {
        id: u32,
        success: bool,
    },
    Window {
        id: u32,
        bytes: u32,
    },
    Closed {
        id: u32,
    },
    /// Bytes that mean nothing, as SSH_MSG_IGNORE.
    Noise(u64),
    Pong(oneshot::Sender<()>),
    /// New keys are in use; with whoever asked for them.
    NewKeys(Option<oneshot::Sender<()>>),
    End(ConnectionError),
}

/// A channel we want to open, until the peer has answered.
pub(crate) struct Offer {
    pub(crate) id: u32,
    pub(crate) request: OpenRequest,
    pub(crate) tape: Arc<Tape>,
}

/// A channel that the peer opens.
pub(crate) struct Opening {
    pub(crate) request: OpenRequest,
    pub(crate) window: u32,
    pub(crate) max_packet: u32,
    /// Told its number and what we send on it, or why it was refused.
    pub(crate) told: oneshot::Sender<Result<(u32, Arc<Tape>), OpenFailureReason>>,
}

/// What we want the peer to listen on, or to listen on no more, until it has answered.
pub(crate) struct Wanted {
    pub(crate) request: ListenRequest,
    pub(crate) on: bool,
    pub(crate) answer: ListenReply,
}

pub(crate) type ListenAnswer = Result<Option<u32>, ListenRefused>;
pub(crate) type ListenReply = oneshot::Sender<ListenAnswer>;

pub(super) type OpenAnswer = oneshot::Sender<Result<(), OpenRefused>>;

pub(super) struct Channel {
    port: Arc<Port>,
    opening: Option<OpenAnswer>,
    pub(super) tape: Arc<Tape>,
    pub(super) window: u64,
    pub(super) max_packet: u32,
    /// Our CLOSE is out: nothing of the peer's is passed on any more.
    we_closed: bool,
}

#[derive(Default)]
pub(super) struct State {
    last_id: u32,
    offers: VecDeque<Offer>,
    wanted: VecDeque<Wanted>,
    pub(super) channels: BTreeMap<u32, Channel>,
    inbound: VecDeque<Inbound>,
    /// Somebody is passing on what is inbound.
    reading: bool,
    traffic: Traffic,
    /// The peer takes nothing.
    pub(super) deaf: bool,
    mute_pings: bool,
    mute_rekeys: bool,
    pings: Vec<oneshot::Sender<()>>,
    rekeys: Vec<oneshot::Sender<()>>,
    pings_sent: u64,
    rekeys_sent: u64,
    pub(super) farewell: Option<(DisconnectCode, String)>,
    /// Our own reason, which explains what follows.
    pub(super) verdict: Option<ConnectionError>,
    pub(super) down: Option<ConnectionError>,
}

/// The connection between us and the script.
pub(crate) struct Wire {
    state: Mutex<State>,
    changed: Notify,
    /// Reading has met the shut gate.
    blocked: Notify,
    budget: Arc<ConnectionBudget>,
    events: EventSink,
    entrance: Entrance,
}

impl Wire {
    /// Must be called within a tokio runtime, which it reads in.
    pub(crate) fn new(budget: Arc<ConnectionBudget>, events: EventSink, entrance: Entrance) -> Arc<Self> {
        let wire = Arc::new(Self {
            state: Mutex::default(),
            changed: Notify::new(),
            blocked: Notify::new(),
            budget,
            events,
            entrance,
        });
        tokio::spawn(Arc::clone(&wire).read_when_open());
        wire
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for a change.
    pub(super) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `look` sees what it looks for. Dropping the future changes nothing.
    pub(super) async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T> + Send) -> T {
        loop {
            let changed = self.changed.notified();
            let seen = look(&mut self.lock());
            if let Some(seen) = seen {
                self.changed();
                return seen;
            }
            changed.await;
        }
    }

    // ---- from the peer --------------------------------------------------------------------------

    /// The peer sends something. It is passed on at once, unless reading has stopped.
    pub(crate) fn arrive(self: &Arc<Self>, item: Inbound) {
        self.lock().inbound.push_back(item);
        self.read();
    }

    async fn read_when_open(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = poll_fn(|cx| self.budget.poll_open(cx)) => {}
                _ = self.until(|state| state.down.clone()) => return,
            }
            self.read();
            tokio::select! {
                () = self.blocked.notified() => {}
                _ = self.until(|state| state.down.clone()) => return,
            }
        }
    }

    /// One reader at a time, so that order is kept.
    fn read(self: &Arc<Self>) {
        loop {
            let item = {
                let mut state = self.lock();
                if state.reading || state.inbound.is_empty() {
                    return;
                }
                if self.budget.is_shut() {
                    self.blocked.notify_one();
                    return;
                }
                let Some(item) = state.inbound.pop_front() else { return };
                state.reading = true;
                state.traffic.bytes_in += item.len();
                item
            };
            self.handle(item);
            self.lock().reading = false;
            self.changed();
        }
    }

    fn handle(self: &Arc<Self>, item: Inbound) {
        match item {
            Inbound::Confirmed { id, window, max_packet } => self.confirmed(id, window, max_packet),
            Inbound::Refused { id, reason, description } => {
                let channel = self.lock().channels.remove(&id);
                if let Some(answer) = channel.and_then(|channel| channel.opening) {
                    let _ = answer.send(Err(OpenRefused::ByPeer { reason, description }));
                }
            }
            Inbound::Open(opening) => self.opened(*opening),
            Inbound::Answered(answer, result) => drop(answer.send(result)),
            Inbound::Event { id, msg } => {
                if let Some(port) = self.live(id) {
                    port.deliver(msg);
                }
            }
            Inbound::Reply { id, success } => {
                if let Some(port) = self.live(id) {
                    port.deliver_reply(success);
                }
            }
            Inbound::Window { id, bytes } => {
                if let Some(channel) = self.lock().channels.get_mut(&id) {
                    channel.window += u64::from(bytes);
                }
            }
            Inbound::Closed { id } => self.peer_closed(id),
            Inbound::Noise(_) => {}
            Inbound::Pong(asked) => drop(asked.send(())),
            Inbound::NewKeys(asked) => {
                if let Some(asked) = asked {
                    let _ = asked.send(());
                }
                (self.events)(TransportEvent::Rekeyed);
            }
            Inbound::End(error) => self.end(error),
        }
    }

    /// What becomes of a channel that the peer opens, at once or later.
    fn opened(self: &Arc<Self>, opening: Opening) {
        match self.entrance.open(opening.request.clone()) {
            Admission::Now(new) => self.take_in(opening, new),
            Admission::Refused(reason) => drop(opening.told.send(Err(reason))),
            Admission::Later(decision) => {
                let wire = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        _ = wire.until(|state| state.down.clone()) => {}
                        decided = decision => match decided {
                            Ok(new) => wire.take_in(opening, new),
                            Err(reason) => drop(opening.told.send(Err(reason))),
                        }
                    }
                });
            }
        }
    }

    fn take_in(self: &Arc<Self>, opening: Opening, NewChannel { port, .. }: NewChannel) {
        let tape = Arc::new(Tape::default());
        let mut state = self.lock();
        if let Some(error) = state.down.clone() {
            drop(state);
            return port.lost(error);
        }
        state.last_id += 1;
        let id = state.last_id;
        let channel = Channel {
            port: Arc::clone(&port),
            opening: None,
            tape: Arc::clone(&tape),
            window: u64::from(opening.window),
            max_packet: opening.max_packet,
            we_closed: false,
        };
        state.channels.insert(id, channel);
        state.count_out(0);
        drop(state);
        port.connect(Box::new(MemoryLink::new(Arc::clone(self), id)));
        let _ = opening.told.send(Ok((id, tape)));
        self.changed();
    }

    fn confirmed(self: &Arc<Self>, id: u32, window: u32, max_packet: u32) {
        let (port, answer) = {
            let mut state = self.lock();
            let Some(channel) = state.channels.get_mut(&id) else { return };
            channel.window = u64::from(window);
            channel.max_packet = max_packet;
            (Arc::clone(&channel.port), channel.opening.take())
        };
        port.connect(Box::new(MemoryLink::new(Arc::clone(self), id)));
        if let Some(answer) = answer {
            let _ = answer.send(Ok(()));
        }
    }

    /// Answers the peer's CLOSE, unless it is the answer to ours.
    fn peer_closed(&self, id: u32) {
        let Some(channel) = self.lock().channels.remove(&id) else { return };
        if !channel.we_closed {
            channel.tape.add(Sent::Close);
            channel.port.peer_closed();
        }
    }

    /// The port of a channel that is open and that we have not closed.
    fn live(&self, id: u32) -> Option<Arc<Port>> {
        let state = self.lock();
        let channel = state.channels.get(&id)?;
        (channel.opening.is_none() && !channel.we_closed).then(|| Arc::clone(&channel.port))
    }

    /// The byte stream is gone. Only the first reason counts, and our own before the peer's.
    pub(super) fn end(&self, error: ConnectionError) {
        let (error, ports) = {
            let mut state = self.lock();
            if state.down.is_some() {
                return;
            }
            let error = state.verdict.clone().unwrap_or(error);
            state.down = Some(error.clone());
            state.inbound.clear();
            state.wanted.clear();
            state.pings.clear();
            state.rekeys.clear();
            let channels = std::mem::take(&mut state.channels);
            // Opens that wait are answered by the dropped sender.
            let ports: Vec<_> =
                channels.into_values().filter(|channel| channel.opening.is_none()).map(|c| c.port).collect();
            (error, ports)
        };
        for port in ports {
            port.lost(error.clone());
        }
        (self.events)(TransportEvent::Down(error));
        self.changed();
    }

    // ---- to the peer ----------------------------------------------------------------------------

    pub(super) fn offer(&self, request: OpenRequest, port: Arc<Port>, answer: OpenAnswer) {
        let mut state = self.lock();
        if state.down.is_some() {
            return;
        }
        state.last_id += 1;
        let id = state.last_id;
        let tape = Arc::new(Tape::default());
        state.count_out(0);
        let channel = Channel {
            port,
            opening: Some(answer),
            tape: Arc::clone(&tape),
            window: 0,
            max_packet: 0,
            we_closed: false,
        };
        state.channels.insert(id, channel);
        state.offers.push_back(Offer { id, request, tape });
        drop(state);
        self.changed();
    }

    /// A global request about listening, and its answer.
    pub(super) fn want(
        self: Arc<Self>,
        request: ListenRequest,
        on: bool,
    ) -> impl Future<Output = ListenAnswer> + Send {
        let (answer, answered) = oneshot::channel();
        let mut state = self.lock();
        state.count_out(0);
        state.wanted.push_back(Wanted { request, on, answer });
        drop(state);
        self.changed();
        async move {
            let lost = async {
                self.until(|state| state.down.clone()).await;
                Err(ListenRefused::Lost)
            };
            tokio::select! {
                biased;
                answer = answered => answer.unwrap_or(Err(ListenRefused::Lost)),
                lost = lost => lost,
            }
        }
    }

    pub(super) fn ping(self: &Arc<Self>, asked: oneshot::Sender<()>) {
        let mut state = self.lock();
        state.pings_sent += 1;
        state.count_out(0);
        if state.down.is_some() {
            return;
        }
        if state.mute_pings || state.deaf {
            state.pings.push(asked);
            return;
        }
        drop(state);
        self.arrive(Inbound::Pong(asked));
    }

    pub(super) fn rekey(self: &Arc<Self>, asked: oneshot::Sender<()>) {
        let mut state = self.lock();
        state.rekeys_sent += 1;
        state.count_out(0);
        if state.down.is_some() {
            return;
        }
        if state.mute_rekeys || state.deaf {
            state.rekeys.push(asked);
            return;
        }
        drop(state);
        self.arrive(Inbound::NewKeys(Some(asked)));
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    // ---- for the script -------------------------------------------------------------------------

    /// The next open that the peer has not looked at.
    pub(crate) async fn next_offer(&self) -> Offer {
        self.until(|state| state.offers.pop_front()).await
    }

    /// The next thing we want the peer to listen on, or no more.
    pub(crate) async fn next_wanted(&self) -> Wanted {
        self.until(|state| state.wanted.pop_front()).await
    }

    pub(crate) fn offers(&self) -> usize {
        self.lock().offers.len()
    }

    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.lock().deaf = deaf;
        self.changed();
    }

    pub(crate) fn answer_pings(self: &Arc<Self>, answer: bool) {
        let late = {
            let mut state = self.lock();
            state.mute_pings = !answer;
            if answer { std::mem::take(&mut state.pings) } else { Vec::new() }
        };
        late.into_iter().for_each(|asked| self.arrive(Inbound::Pong(asked)));
    }

    pub(crate) fn answer_rekeys(self: &Arc<Self>, answer: bool) {
        let late = {
            let mut state = self.lock();
            state.mute_rekeys = !answer;
            if answer { std::mem::take(&mut state.rekeys) } else { Vec::new() }
        };
        late.into_iter().for_each(|asked| self.arrive(Inbound::NewKeys(Some(asked))));
    }

    /// How many keepalive questions and key exchanges we have sent.
    pub(crate) fn asked(&self) -> (u64, u64) {
        let state = self.lock();
        (state.pings_sent, state.rekeys_sent)
    }

    /// How many channels are open or half closed, opens that wait included.
    pub(crate) fn open_channels(&self) -> usize {
        self.lock().channels.len()
    }

    /// How many messages of the peer wait because reading has stopped.
    pub(crate) fn unread(&self) -> usize {
        self.lock().inbound.len()
    }

    /// Our SSH_MSG_DISCONNECT, when the peer has got it.
    pub(crate) async fn farewell(&self) -> (DisconnectCode, String) {
        self.until(|state| state.farewell.clone()).await
    }

    /// Waits until the byte stream is closed; says why in our own words.
    pub(crate) async fn closed(&self) -> ConnectionError {
        self.until(|state| state.down.clone()).await
    }
}

impl State {
    pub(super) const fn count_out(&mut self, payload: u64) {
        self.traffic.bytes_out += OVERHEAD + payload;
    }

    /// Marks our CLOSE. False when the channel is closed already.
    pub(super) fn close(&mut self, id: u32) -> bool {
        self.count_out(0);
        let Some(channel) = self.channels.get_mut(&id) else { return false };
        channel.tape.add(Sent::Close);
        !std::mem::replace(&mut channel.we_closed, true)
    }
}

impl Inbound {
    fn len(&self) -> u64 {
        OVERHEAD
            + match self {
                Self::Event { msg, .. } => msg.payload_len() as u64,
                Self::Noise(bytes) => *bytes,
                Self::End(_) => return 0,
                _ => 0,
            }
    }
}
