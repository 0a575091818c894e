//! The actor. One function an arm; none of them waits.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clocks::{KeepaliveClock, LifeClock, RekeyClock, after};
use super::table::{Entry, Table};
use crate::behaviour::HandleTimeouts;
use crate::config::{ChannelOptions, Keepalive, LifeLimits, Limits, RekeyLimit, SlowConsumer, Timeouts};
use crate::error::{CloseReason, ConnectionError, OpenError, Phase, StopReason};
use crate::handle::msg::{AcceptCommand, ConnectionMsg, NoActor, OpenCommand};
use crate::handle::roster::Parent;
use crate::handle::route::Claim;
use crate::metrics::{self, ConnectionMeter, Side};
use crate::observe::{ConnectionInfo, Counters, Facts, Gauges, PhaseEvent};
use crate::port::budget::{ChannelBudget, ConnectionBudget};
use crate::port::{Identity, Keys, Port, PortSetup};
use crate::transport::door::{Slot, Slots};
use crate::transport::{OpenRefused, Transport, TransportEvent};
use crate::wire::codes::DisconnectCode;
use crate::wire::id::ChannelKey;

/// What a connection actor starts with.
pub(crate) struct ConnectionArgs {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) budget: Arc<ConnectionBudget>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) keepalive: Keepalive,
    pub(crate) rekey: RekeyLimit,
    pub(crate) life: LifeLimits,
    pub(crate) keys: Arc<Keys>,
    /// The places of its channels; those that the peer opens take theirs at the door.
    pub(crate) slots: Slots,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) side: Side,
    pub(crate) phases: watch::Sender<PhaseEvent>,
    /// What the actor does is recorded in this span.
    pub(crate) span: tracing::Span,
    /// Set by the transport's event sink before the actor hears of it.
    pub(crate) down: Arc<OnceLock<ConnectionError>>,
}

/// Starts a connection actor. Must be called within a tokio runtime.
pub(crate) async fn start(args: ConnectionArgs) -> Result<ActorRef<ConnectionMsg>, SpawnErr> {
    args.gauges.meets(&args.facts.peer_version);
    let (actor, _) = Actor::spawn(None, ConnectionActor, args).await?;
    Ok(actor)
}

struct ConnectionActor;

/// Its key, its type on the wire, its behaviour.
type Channel = (ChannelKey, &'static str, &'static str);

pub(super) struct State {
    pub(super) args: ConnectionArgs,
    pub(super) table: Table,
    pub(super) counters: Counters,
    pub(super) meter: ConnectionMeter,
    epoch: Instant,
    pub(super) phase: Phase,
    pub(super) keepalive: KeepaliveClock,
    pub(super) rekey: RekeyClock,
    pub(super) life: LifeClock,
    pub(super) rekeying: Option<Rekeying>,
    /// For how long reading had been stopped in total when the stall clock was last looked at.
    pub(super) shut_seen: Duration,
    /// How often it had stopped then.
    pub(super) pauses_seen: u64,
    pub(super) timer: Option<(Instant, JoinHandle<()>)>,
    /// No handle is left: end with the last channel.
    orphaned: bool,
    /// Until when channels may end by themselves, or, once closing, until when we wait for anything.
    pub(super) deadline: Option<Instant>,
    pub(super) closing: Option<ConnectionError>,
    /// The grace is over and the channels that are left were told so: until when everything must have ended.
    parting: Option<Instant>,
}

pub(super) struct Rekeying {
    pub(super) since: Instant,
    /// How long reading had been stopped in total when it began; that time does not count.
    pub(super) shut_before: Duration,
    pub(super) waiting: Vec<oneshot::Sender<Result<(), ConnectionError>>>,
}

impl Actor for ConnectionActor {
    type Msg = ConnectionMsg;
    type State = State;
    type Arguments = ConnectionArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let now = Instant::now();
        let mailbox = myself.clone();
        args.budget.on_shut(move || {
            let _ = mailbox.cast(ConnectionMsg::GateShut);
        });
        let mut state = State {
            table: Table::default(),
            counters: Counters::default(),
            meter: ConnectionMeter::new(args.side),
            epoch: now,
            phase: Phase::Up,
            keepalive: KeepaliveClock::new(args.keepalive, now),
            rekey: RekeyClock::new(args.rekey, now),
            life: LifeClock::new(args.life, now),
            rekeying: None,
            shut_seen: Duration::ZERO,
            pauses_seen: 0,
            timer: None,
            orphaned: false,
            deadline: None,
            closing: None,
            parting: None,
            args,
        };
        state.args.phases.send_replace(PhaseEvent::new(Phase::Up));
        state.rekey.done(now, state.args.transport.traffic());
        state.tick(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let span = state.args.span.clone();
        let _entered = span.enter();
        match message {
            ConnectionMsg::Open(command) => state.open(&myself, command),
            ConnectionMsg::Unstarted(key, why) => state.unstarted(&myself, key, &why),
            ConnectionMsg::OpenOverdue(key) => {
                state.table.overdue(key);
                state.end_if_idle(&myself);
            }
            ConnectionMsg::Accept(command) => state.accept(&myself, command),
            ConnectionMsg::Listen(command) => state.listen(&myself, command),
            ConnectionMsg::Unlisten(command) => state.unlisten(command),
            ConnectionMsg::Gone(key) => state.wire_gone(&myself, key),
            ConnectionMsg::Transport(event) => state.transport_event(&myself, event),
            ConnectionMsg::GateShut | ConnectionMsg::Tick => state.tick(&myself),
            ConnectionMsg::KeepaliveAnswered => state.counters.keepalives_answered += 1,
            ConnectionMsg::Ask(answered) => state.ask(answered),
            ConnectionMsg::Info(reply) => {
                let _ = reply.send(state.info(myself.get_cell()));
            }
            ConnectionMsg::Rekey(done) => {
                state.start_rekey(&myself, Some(done));
                state.tick(&myself);
            }
            ConnectionMsg::RekeyDone => {
                state.rekey_done();
                state.tick(&myself);
            }
            ConnectionMsg::Shutdown { grace } => state.shutdown(&myself, grace),
            ConnectionMsg::Close => state.close(&myself, ConnectionError::Closed),
            ConnectionMsg::Expel(why) => {
                tracing::warn!(why, "ending the connection of a peer that does too much");
                state.close(&myself, ConnectionError::Expelled(why));
            }
            ConnectionMsg::Orphaned => {
                state.orphaned = true;
                state.end_if_idle(&myself);
            }
        }
        state.note_use(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(who, remains, _) => {
                if !state.table.has_ended(who.get_id()) {
                    // Killed: the user's state comes along, and its destructor is not ours to run.
                    tokio::spawn(async move { drop(remains) });
                }
                state.actor_ended(&myself, &who);
            }
            SupervisionEvent::ActorFailed(who, _) => state.actor_ended(&myself, &who),
            _ => {}
        }
        state.note_use(&myself);
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.down(ConnectionError::Closed);
        Ok(())
    }
}

impl Drop for State {
    /// Also reached when the actor is killed: the socket must not outlive it.
    fn drop(&mut self) {
        self.down(ConnectionError::ActorGone("killed".into()));
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
    }
}

/// Channels.
impl State {
    fn open(&mut self, myself: &ActorRef<ConnectionMsg>, command: OpenCommand) {
        let place = match self.may_open() {
            Ok(place) => place,
            Err(error) => {
                self.counters.opens_failed += 1;
                // The behaviour goes with it, and its destructor is the user's.
                tokio::spawn(async move { command.start.refuse(error) });
                return;
            }
        };
        let OpenCommand { request, options, claim, start } = command;
        let Claim { slot, lineage } = claim;
        let port = self.port(myself, &options);
        let key = port.key();
        self.counters.channels_opened += 1;
        let (kind, behaviour) = (request.channel_type(), start.behaviour());
        let identity = Identity { kind, behaviour, lineage };
        port.notes().opened_for(&request);
        let entry = Entry::new(Arc::clone(&port), identity).on(slot.clone());
        self.table.insert(entry.keeping(Some(Box::new(place))));

        let (transport, side) = (Arc::clone(&self.args.transport), self.args.side);
        let down = Arc::clone(&self.args.down);
        let timeouts = self.handle_timeouts(&options);
        let limit = options.open_timeout.unwrap_or(self.args.timeouts.open);
        let parent = self.parent(myself, (key, kind, behaviour));
        let myself = myself.clone();
        tokio::spawn(async move {
            let refused = |refused: OpenRefused| match (refused, down.get()) {
                (OpenRefused::Lost, Some(error)) => OpenError::Connection(error.clone()),
                (refused, _) => OpenError::from(refused),
            };
            let asked = std::time::Instant::now();
            let mut opening = transport.open(request, Arc::clone(&port));
            let why = match tokio::time::timeout(limit, &mut opening).await {
                Ok(Ok(())) => {
                    ConnectionMeter::opened(side, asked);
                    if let Some(slot) = slot {
                        slot.confirmed();
                    }
                    if start.start(port, timeouts, parent).await {
                        return;
                    }
                    NoActor::NotStarted
                }
                Ok(Err(error)) => {
                    start.refuse(refused(error));
                    NoActor::Failed
                }
                Err(_) => {
                    if let Some(slot) = &slot {
                        slot.overdue();
                    }
                    start.refuse(OpenError::Timeout { after: limit });
                    let _ = myself.cast(ConnectionMsg::OpenOverdue(key));
                    match opening.await {
                        Ok(()) => {
                            if let Some(slot) = slot {
                                slot.confirmed();
                            }
                            port.abandon(CloseReason::Local);
                            NoActor::NotStarted
                        }
                        Err(_) => NoActor::Failed,
                    }
                }
            };
            let _ = myself.cast(ConnectionMsg::Unstarted(key, why));
        });
    }

    fn ask(&self, answered: oneshot::Sender<()>) {
        let answer = self.args.transport.ping();
        tokio::spawn(async move {
            if answer.await.is_ok() {
                let _ = answered.send(());
            }
        });
    }

    fn parent(&self, myself: &ActorRef<ConnectionMsg>, (id, kind, behaviour): Channel) -> Parent {
        let span = tracing::info_span!(parent: &self.args.span, "ssh_channel", %id, kind, behaviour);
        Parent { supervisor: myself.get_cell(), roster: Arc::clone(self.table.roster()), span }
    }

    fn may_open(&self) -> Result<Slot, OpenError> {
        if let Some(error) = self.args.down.get().or(self.closing.as_ref()) {
            return Err(OpenError::Connection(error.clone()));
        }
        if self.phase != Phase::Up {
            return Err(OpenError::Draining);
        }
        let slots = &self.args.slots;
        slots.take().ok_or_else(|| OpenError::TooManyChannels { limit: slots.limit() })
    }

    fn port(&mut self, myself: &ActorRef<ConnectionMsg>, options: &ChannelOptions) -> Arc<Port> {
        let key = self.args.keys.next();
        let myself = myself.clone();
        let budget = ChannelBudget::new(Arc::clone(&self.args.budget), options.receive_budget);
        if let SlowConsumer::Yield(patience) = options.slow_consumer {
            budget.yields_after(patience);
        }
        Port::new(PortSetup {
            key,
            budget,
            high_water: options.high_water,
            fail_over_budget: options.slow_consumer == SlowConsumer::Fail,
            close_timeout: self.args.timeouts.close,
            gauges: Arc::clone(&self.args.gauges),
            on_gone: Box::new(move || {
                let _ = myself.cast(ConnectionMsg::Gone(key));
            }),
        })
    }

    fn handle_timeouts(&self, options: &ChannelOptions) -> HandleTimeouts {
        HandleTimeouts {
            request: options.request_timeout.unwrap_or(self.args.timeouts.request),
            send: self.args.timeouts.send,
        }
    }

    fn unstarted(&mut self, myself: &ActorRef<ConnectionMsg>, key: ChannelKey, why: &NoActor) {
        match why {
            NoActor::NotStarted => {
                self.table_left(|table| table.actor_gone(key));
            }
            NoActor::Failed => {
                self.counters.opens_failed += 1;
                self.table_left(|table| table.remove(key));
            }
        }
        self.end_if_idle(myself);
    }

    /// Takes in a channel the peer has opened.
    fn accept(&mut self, myself: &ActorRef<ConnectionMsg>, command: AcceptCommand) {
        let AcceptCommand { kind, port, start, keeps } = command;
        let key = port.key();
        self.counters.channels_opened += 1;
        let behaviour = start.behaviour();
        let identity = Identity { kind, behaviour, lineage: None };
        let entry = Entry::new(Arc::clone(&port), identity).keeping(keeps);
        self.table.insert(entry);
        let timeouts = self.handle_timeouts(&ChannelOptions::default());
        let parent = self.parent(myself, (key, kind, behaviour));
        let myself = myself.clone();
        tokio::spawn(async move {
            if !start.start(port, timeouts, parent).await {
                let _ = myself.cast(ConnectionMsg::Unstarted(key, NoActor::NotStarted));
            }
        });
    }

    fn actor_ended(&mut self, myself: &ActorRef<ConnectionMsg>, who: &ActorCell) {
        self.actor_id_ended(who.get_id());
        self.end_if_idle(myself);
    }

    fn actor_id_ended(&mut self, actor: ActorId) {
        if let Some((key, port)) = self.table.actor_ended(actor) {
            self.bury(key, &port);
        }
    }

    /// The channel's actor has ended, in whatever way: the peer gets CLOSE if it has not yet.
    fn bury(&mut self, key: ChannelKey, port: &Arc<Port>) {
        port.set_exit(StopReason::Killed);
        let failed = match port.exit() {
            Some(StopReason::Killed | StopReason::Failed { .. } | StopReason::Panicked { .. }) => true,
            Some(_) | None => false,
        };
        if failed {
            self.counters.actors_failed += 1;
            port.abandon(CloseReason::ActorEnded("killed".into()));
        } else {
            port.finish();
        }
        self.table_left(|table| table.actor_gone(key));
    }

    fn wire_gone(&mut self, myself: &ActorRef<ConnectionMsg>, key: ChannelKey) {
        self.table_left(|table| table.wire_gone(key));
        self.end_if_idle(myself);
    }

    fn table_left(&mut self, change: impl FnOnce(&mut Table) -> bool) {
        if change(&mut self.table) {
            self.counters.channels_closed += 1;
        }
    }
}

/// The end.
impl State {
    fn transport_event(&mut self, myself: &ActorRef<ConnectionMsg>, event: TransportEvent) {
        match event {
            TransportEvent::Rekeyed => {
                self.counters.rekeys += 1;
                self.rekey.done(Instant::now(), self.args.transport.traffic());
            }
            TransportEvent::Down(error) => {
                for port in self.table.ports() {
                    port.lost(error.clone());
                }
                // After our own close the end is published when the channel actors have ended; a loss at once.
                if self.closing.is_none() {
                    tracing::info!(%error, "connection lost");
                    self.closing = Some(error.clone());
                    self.down(error);
                }
            }
        }
        self.end_if_idle(myself);
    }

    fn shutdown(&mut self, myself: &ActorRef<ConnectionMsg>, grace: Duration) {
        if self.phase == Phase::Up {
            self.phase = Phase::Draining;
            self.args.phases.send_replace(PhaseEvent::new(Phase::Draining));
        }
        if self.closing.is_none() {
            let until = after(Instant::now(), grace);
            self.deadline = Some(self.deadline.map_or(until, |deadline| deadline.min(until)));
        }
        self.end_if_idle(myself);
        self.tick(myself);
    }

    /// The grace is over. Channels that are left get eof and CLOSE behind what they have queued, and half of the close
    /// timeout for it; the other half is for the end of the connection.
    pub(super) fn part(&mut self, myself: &ActorRef<ConnectionMsg>) {
        if self.parting.is_some() {
            return self.close(myself, ConnectionError::Closed);
        }
        let (now, patience) = (Instant::now(), self.args.timeouts.close);
        self.parting = Some(after(now, patience));
        self.deadline = Some(after(now, patience / 2));
        for port in self.table.ports() {
            port.part(ConnectionError::Closed);
        }
        self.end_if_idle(myself);
    }

    /// Ends the connection on our side: channels first, then SSH_MSG_DISCONNECT, then the byte stream.
    pub(super) fn close(&mut self, myself: &ActorRef<ConnectionMsg>, reason: ConnectionError) {
        if self.closing.is_some() {
            // Lost before, and channel actors are still at what arrived: now they have a deadline.
            self.table.ports().iter().for_each(|port| port.cut_off());
            if self.deadline.is_none() {
                self.deadline = Some(after(Instant::now(), self.args.timeouts.close));
                self.tick(myself);
            }
            return;
        }
        self.closing = Some(reason.clone());
        if self.phase == Phase::Up {
            self.phase = Phase::Draining;
            self.args.phases.send_replace(PhaseEvent::new(Phase::Draining));
        }
        let now = Instant::now();
        let until = self.parting.unwrap_or_else(|| after(now, self.args.timeouts.close));
        let patience = until.saturating_duration_since(now);
        self.deadline = Some(until);
        for port in self.table.ports() {
            port.lost(reason.clone());
            port.cut_off();
        }
        let transport = Arc::clone(&self.args.transport);
        tokio::spawn(async move {
            let farewell = transport.disconnect(DisconnectCode::BY_APPLICATION, farewell_text(&reason));
            let _ = tokio::time::timeout(patience, farewell).await;
            transport.abort(reason);
        });
        self.end_if_idle(myself);
        self.tick(myself);
    }

    /// With the last channel go a draining, an orphaned and a lost connection.
    fn end_if_idle(&mut self, myself: &ActorRef<ConnectionMsg>) {
        if !self.table.is_idle() {
            return;
        }
        let lost = self.args.down.get().cloned();
        match (lost, &self.closing) {
            (Some(error), closing) => {
                let error = closing.clone().unwrap_or(error);
                self.down(error);
                myself.stop(None);
            }
            (None, Some(_)) => {}
            (None, None) => {
                if self.orphaned || self.phase == Phase::Draining {
                    self.close(myself, ConnectionError::Closed);
                }
            }
        }
    }

    /// Publishes the end, once, and lets go of the byte stream.
    pub(super) fn down(&mut self, reason: ConnectionError) {
        let _ = self.args.down.set(reason.clone());
        self.args.transport.abort(reason.clone());
        for rekey in self.rekeying.take().into_iter().flat_map(|rekeying| rekeying.waiting) {
            let _ = rekey.send(Err(reason.clone()));
        }
        if self.phase == Phase::Down {
            return;
        }
        self.phase = Phase::Down;
        for port in self.table.ports() {
            port.lost(reason.clone());
        }
        self.tell_metrics();
        self.meter.ended(&reason);
        self.args.phases.send_replace(PhaseEvent::down(Some(reason)));
    }
}

/// What there is to see.
impl State {
    fn counted(&self) -> Counters {
        let traffic = self.args.transport.traffic();
        let budget = &self.args.budget;
        Counters {
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
            unread: budget.used(),
            pauses: budget.pauses(),
            paused_for: budget.shut_total(),
            opens_refused: self.args.gauges.opens_refused(),
            requests_refused: self.args.gauges.requests_refused(),
            ..self.counters
        }
    }

    pub(super) fn tell_metrics(&mut self) {
        if metrics::is_on() {
            let counted = self.counted();
            self.meter.tell(counted, self.table.len());
        }
    }

    fn info(&self, actor: ActorCell) -> ConnectionInfo {
        if self.args.budget.is_shut() {
            self.blame(0);
        }
        let facts = &self.args.facts;
        let budget = &self.args.budget;
        ConnectionInfo {
            actor,
            phase: self.phase,
            peer_version: facts.peer_version.clone(),
            algorithms: facts.algorithms.clone(),
            host_key_fingerprint: facts.host_key_fingerprint.clone(),
            user: facts.user.clone(),
            auth_methods: facts.auth_methods.clone(),
            peer_addr: facts.peer_addr,
            local_addr: facts.local_addr,
            uptime: self.epoch.elapsed(),
            idle: self.args.gauges.idle(),
            counters: self.counted(),
            inbound_budget: budget.limit(),
            outbound: self.args.transport.outbound(),
            pause: budget.pause(),
            rekeying: self.rekeying.as_ref().map(|rekeying| rekeying.since.elapsed()),
            silence: self.keepalive.silence(),
            time_left: self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
            channels: self.table.info(),
        }
    }
}

/// What a peer is told.
const fn farewell_text(reason: &ConnectionError) -> &'static str {
    match reason {
        ConnectionError::Idle { .. } => "no channel for too long",
        ConnectionError::Expired { .. } => "the connection has reached its greatest age",
        ConnectionError::Expelled(why) => why,
        _ => "closed by the application",
    }
}
