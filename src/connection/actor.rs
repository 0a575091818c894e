//! The actor: what it starts with, its state, and which message leads to which function. None of them waits.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clocks::{KeepaliveClock, LifeClock, RekeyClock};
use super::table::Table;
use crate::config::{Keepalive, LifeLimits, Limits, RekeyLimit, Timeouts};
use crate::error::{ConnectionError, Phase};
use crate::handle::msg::ConnectionMsg;
use crate::metrics::{ConnectionMeter, Side};
use crate::observe::{Counters, Facts, Gauges, PhaseEvent};
use crate::port::Keys;
use crate::port::budget::ConnectionBudget;
use crate::transport::Transport;
use crate::transport::door::Slots;

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

pub(super) struct State {
    pub(super) args: ConnectionArgs,
    pub(super) table: Table,
    pub(super) counters: Counters,
    pub(super) meter: ConnectionMeter,
    pub(super) epoch: Instant,
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
    pub(super) orphaned: bool,
    /// Until when channels may end by themselves, or, once closing, until when we wait for anything.
    pub(super) deadline: Option<Instant>,
    pub(super) closing: Option<ConnectionError>,
    /// The grace is over and the channels that are left were told so: until when everything must have ended.
    pub(super) parting: Option<Instant>,
}

pub(super) struct Rekeying {
    pub(super) since: Instant,
    /// When the peer was asked: then its time begins.
    pub(super) asked: Arc<OnceLock<Instant>>,
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
