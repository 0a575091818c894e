//! The peer of a scripted connection.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::{ScriptConfig, ScriptedChannel};
use crate::config::ChannelOptions;
use crate::connection::{self, ConnectionArgs};
use crate::error::{ConnectionError, Phase};
use crate::handle::ConnectionRef;
use crate::handle::acceptance::Acceptance;
use crate::handle::intake::Intake;
use crate::handle::msg::ConnectionMsg;
use crate::incoming::ClientDoor;
use crate::metrics::Side;
use crate::observe::{Facts, Gauges, PhaseEvent};
use crate::port::Keys;
use crate::port::budget::ConnectionBudget;
use crate::transport::door::{Entrance, Slots};
use crate::transport::memory::{Inbound, MemoryTransport, Offer, Opening, Wanted, Wire};
use crate::transport::{EventSink, ListenRefused, TransportEvent};
use crate::wire::codes::{DisconnectCode, OpenFailureReason};
use crate::wire::open::{ListenRequest, OpenRequest};

/// Makes a connection that is up, and its peer. Must be called within a tokio runtime.
///
/// # Panics
/// A limit cannot work, see [`Limits::check`](crate::config::Limits::check).
#[allow(clippy::panic, reason = "a wrong script is a wrong test")]
pub async fn scripted(config: ScriptConfig) -> (ConnectionRef, ScriptedPeer) {
    if let Err(error) = config.limits.check() {
        panic!("{error}");
    }
    let budget = ConnectionBudget::new(config.limits.inbound_budget);
    let sink = Sink::default();
    let entrance = Entrance::default();
    let wire = Wire::new(Arc::clone(&budget), sink.events(), entrance.clone());
    let facts = Arc::new(Facts {
        peer_version: "SSH-2.0-scripted".to_owned(),
        user: "scripted".to_owned(),
        ..Facts::default()
    });
    let (phases, phase) = watch::channel(PhaseEvent::new(Phase::Up));
    let (keys, gauges) = (Arc::<Keys>::default(), Arc::new(Gauges::new()));
    let slots = Slots::new(config.limits.max_channels);
    let started = connection::start(ConnectionArgs {
        transport: Arc::new(MemoryTransport::new(Arc::clone(&wire))),
        budget: Arc::clone(&budget),
        facts: Arc::clone(&facts),
        timeouts: config.timeouts.clone(),
        limits: config.limits,
        keepalive: config.keepalive,
        rekey: config.rekey,
        life: config.life,
        gauges: Arc::clone(&gauges),
        side: Side::Client,
        phases,
        keys: Arc::clone(&keys),
        slots: slots.clone(),
        span: tracing::info_span!("ssh_connection", host = "scripted"),
        down: Arc::clone(&sink.down),
    });
    let actor = match started.await {
        Ok(actor) => actor,
        Err(error) => panic!("the connection actor did not start: {error}"),
    };
    let _ = sink.actor.set(actor.clone());
    let intake = Intake {
        actor: actor.clone(),
        budget,
        keys,
        options: ChannelOptions::default(),
        close_timeout: config.timeouts.close,
        gauges,
        phase: phase.clone(),
    };
    let acceptance = Arc::<Acceptance>::default();
    let door = ClientDoor::new(intake, slots, Arc::clone(&acceptance), config.timeouts.open);
    entrance.install(Box::new(door));
    let conn = ConnectionRef::new(actor, facts, phase, None, acceptance);
    let script = Script { wire, patience: config.patience };
    (conn, ScriptedPeer { script, window: config.window, max_packet: config.max_packet })
}

/// Carries the wire's events to the connection actor.
#[derive(Clone, Default)]
struct Sink {
    down: Arc<OnceLock<ConnectionError>>,
    actor: Arc<OnceLock<ractor::ActorRef<ConnectionMsg>>>,
}

impl Sink {
    fn events(&self) -> EventSink {
        let sink = self.clone();
        Box::new(move |event| {
            if let TransportEvent::Down(error) = &event {
                let _ = sink.down.set(error.clone());
            }
            if let Some(actor) = sink.actor.get() {
                let _ = actor.cast(ConnectionMsg::Transport(event));
            }
        })
    }
}

/// What the parts of a script share.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) wire: Arc<Wire>,
    patience: Duration,
}

impl Script {
    /// Waits for something the script expects.
    #[allow(clippy::panic, reason = "an expectation that is not met fails the test")]
    pub(super) async fn expect<T>(&self, what: &str, happens: impl Future<Output = T>) -> T {
        match tokio::time::timeout(self.patience, happens).await {
            Ok(value) => value,
            Err(_) => panic!("expected {what}, and nothing came within {:?}", self.patience),
        }
    }
}

/// The other end of a scripted connection.
///
/// What it sends is handled in the order sent, and at once, unless the connection has stopped reading because too
/// much is unread; then it waits, as it would in a socket. Dropping it changes nothing: a peer that does nothing.
///
/// Answers keepalive questions and key exchanges unless told not to.
pub struct ScriptedPeer {
    script: Script,
    window: u32,
    max_packet: u32,
}

impl fmt::Debug for ScriptedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedPeer").field("open_channels", &self.open_channels()).finish_non_exhaustive()
    }
}

/// # Channels
impl ScriptedPeer {
    /// Waits for the next SSH_MSG_CHANNEL_OPEN (RFC 4254 section 5.1).
    ///
    /// # Panics
    /// None comes in time.
    pub async fn expect_open(&mut self) -> PendingOpen {
        let offer = self.script.expect("a channel open", self.script.wire.next_offer()).await;
        PendingOpen { script: self.script.clone(), offer, window: self.window, max_packet: self.max_packet }
    }

    /// Opens a channel towards us (SSH_MSG_CHANNEL_OPEN, RFC 4254 section 5.1), as servers do for what they were asked to
    /// forward; with the window and packet size of the [`ScriptConfig`].
    ///
    /// # Errors
    /// It is refused.
    ///
    /// # Panics
    /// No answer comes in time.
    pub async fn open(&self, request: OpenRequest) -> Result<ScriptedChannel, OpenFailureReason> {
        let (told, answered) = oneshot::channel();
        let opening = Opening { request, window: self.window, max_packet: self.max_packet, told };
        self.script.wire.arrive(Inbound::Open(Box::new(opening)));
        let answer = self.script.expect("an answer to an open", answered).await;
        let (id, tape) = answer.unwrap_or(Err(OpenFailureReason::ConnectFailed))?;
        Ok(ScriptedChannel::new(self.script.clone(), id, tape))
    }

    /// Waits for the next `tcpip-forward` or `streamlocal-forward@openssh.com`, or for one to be cancelled (RFC 4254
    /// section 7.1).
    ///
    /// # Panics
    /// None comes in time.
    pub async fn expect_listen(&mut self) -> PendingListen {
        let wanted = self.script.expect("a request to listen", self.script.wire.next_wanted()).await;
        PendingListen { script: self.script.clone(), wanted }
    }

    /// How many opens have come that were not looked at.
    #[must_use]
    pub fn pending_opens(&self) -> usize {
        self.script.wire.offers()
    }

    /// How many channels both sides have not closed yet; opens that wait for an answer count.
    #[must_use]
    pub fn open_channels(&self) -> usize {
        self.script.wire.open_channels()
    }

    /// How many messages of this peer have not been read, because the connection has stopped reading.
    #[must_use]
    pub fn unread_messages(&self) -> usize {
        self.script.wire.unread()
    }
}

/// # The connection
impl ScriptedPeer {
    /// Sends SSH_MSG_DISCONNECT (RFC 4253 section 11.1) and closes the byte stream.
    pub fn disconnect(&self, code: DisconnectCode, description: impl Into<String>) {
        let description = description.into();
        self.script.wire.arrive(Inbound::End(ConnectionError::Disconnected { code, description }));
    }

    /// The byte stream ends without a word.
    pub fn vanish(&self) {
        self.script.wire.arrive(Inbound::End(ConnectionError::Lost("the byte stream ended".into())));
    }

    /// Takes nothing from now on, as a peer whose machine hangs; or takes again what has waited.
    pub fn stop_reading(&self, stopped: bool) {
        self.script.wire.set_deaf(stopped);
    }

    /// Sends `bytes` that mean nothing (SSH_MSG_IGNORE, RFC 4253 section 11.2): a sign of life.
    pub fn ignore(&self, bytes: u64) {
        self.script.wire.arrive(Inbound::Noise(bytes));
    }

    /// Whether keepalive questions are answered; those that wait are answered now. Default true.
    pub fn answer_pings(&self, answer: bool) {
        self.script.wire.answer_pings(answer);
    }

    /// How many keepalive questions came.
    #[must_use]
    pub fn pings(&self) -> u64 {
        self.script.wire.asked().0
    }

    /// Whether key exchanges that we begin are finished; those that wait are finished now. Default true.
    pub fn answer_rekeys(&self, answer: bool) {
        self.script.wire.answer_rekeys(answer);
    }

    /// How many key exchanges were begun on our side.
    #[must_use]
    pub fn rekeys(&self) -> u64 {
        self.script.wire.asked().1
    }

    /// Begins and finishes a key exchange (RFC 4253 section 9).
    pub fn rekey(&self) {
        self.script.wire.arrive(Inbound::NewKeys(None));
    }

    /// Waits for our SSH_MSG_DISCONNECT: code and text.
    ///
    /// # Panics
    /// None comes in time.
    pub async fn expect_disconnect(&mut self) -> (DisconnectCode, String) {
        self.script.expect("a disconnect message", self.script.wire.farewell()).await
    }

    /// Waits until the byte stream is closed, from either side.
    ///
    /// # Panics
    /// It is not closed in time.
    pub async fn expect_end_of_stream(&mut self) -> ConnectionError {
        self.script.expect("the end of the byte stream", self.script.wire.closed()).await
    }
}

/// A channel that we want to open; the peer has not answered. Dropping it answers nothing.
pub struct PendingOpen {
    script: Script,
    offer: Offer,
    window: u32,
    max_packet: u32,
}

impl fmt::Debug for PendingOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingOpen").field("request", &self.offer.request).finish_non_exhaustive()
    }
}

impl PendingOpen {
    /// What is to be opened.
    #[must_use]
    pub const fn request(&self) -> &OpenRequest {
        &self.offer.request
    }

    /// Confirms (SSH_MSG_CHANNEL_OPEN_CONFIRMATION), with the window and packet size of the [`ScriptConfig`].
    #[must_use = "without it the peer never closes"]
    pub fn confirm(self) -> ScriptedChannel {
        let (window, max_packet) = (self.window, self.max_packet);
        self.confirm_with(window, max_packet)
    }

    /// Confirms with `window` bytes of credit for us and `max_packet` bytes in a packet.
    #[must_use = "without it the peer never closes"]
    pub fn confirm_with(self, window: u32, max_packet: u32) -> ScriptedChannel {
        let Self { script, offer, .. } = self;
        script.wire.arrive(Inbound::Confirmed { id: offer.id, window, max_packet });
        ScriptedChannel::new(script, offer.id, offer.tape)
    }

    /// Refuses (SSH_MSG_CHANNEL_OPEN_FAILURE).
    pub fn refuse(self, reason: OpenFailureReason, description: impl Into<String>) {
        let description = description.into();
        self.script.wire.arrive(Inbound::Refused { id: self.offer.id, reason, description });
    }
}

/// Something the peer is to listen on, or no more; it has not answered. Dropping it says that the connection is gone.
pub struct PendingListen {
    script: Script,
    wanted: Wanted,
}

impl fmt::Debug for PendingListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingListen").field("request", self.request()).finish_non_exhaustive()
    }
}

impl PendingListen {
    /// What it is about.
    #[must_use]
    pub const fn request(&self) -> &ListenRequest {
        &self.wanted.request
    }

    /// Whether it is to be cancelled.
    #[must_use]
    pub const fn is_cancel(&self) -> bool {
        !self.wanted.on
    }

    /// Agrees (SSH_MSG_REQUEST_SUCCESS), and says which port was chosen, if one was to be.
    pub fn accept(self, chosen: Option<u32>) {
        self.script.wire.arrive(Inbound::Answered(self.wanted.answer, Ok(chosen)));
    }

    /// Refuses (SSH_MSG_REQUEST_FAILURE).
    pub fn refuse(self) {
        self.script.wire.arrive(Inbound::Answered(self.wanted.answer, Err(ListenRefused::ByPeer)));
    }
}
