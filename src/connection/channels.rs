//! Channels: how one is opened or taken in, and how it leaves the table.

use std::sync::Arc;

use ractor::{ActorCell, ActorId, ActorRef};
use tokio::sync::oneshot;

use super::actor::State;
use super::table::{Entry, Table};
use crate::behaviour::HandleTimeouts;
use crate::config::{ChannelOptions, SlowConsumer};
use crate::error::{CloseReason, OpenError, Phase, StopReason};
use crate::handle::msg::{AcceptCommand, ConnectionMsg, NoActor, OpenCommand};
use crate::handle::roster::Parent;
use crate::handle::route::Claim;
use crate::metrics::ConnectionMeter;
use crate::port::budget::ChannelBudget;
use crate::port::{Identity, Port, PortSetup};
use crate::transport::OpenRefused;
use crate::transport::door::Slot;
use crate::wire::id::ChannelKey;

/// Its key, its type on the wire, its behaviour.
type Channel = (ChannelKey, &'static str, &'static str);

impl State {
    pub(super) fn open(&mut self, myself: &ActorRef<ConnectionMsg>, command: OpenCommand) {
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

    pub(super) fn ask(&self, answered: oneshot::Sender<()>) {
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

    pub(super) fn unstarted(&mut self, myself: &ActorRef<ConnectionMsg>, key: ChannelKey, why: &NoActor) {
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
    pub(super) fn accept(&mut self, myself: &ActorRef<ConnectionMsg>, command: AcceptCommand) {
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

    pub(super) fn actor_ended(&mut self, myself: &ActorRef<ConnectionMsg>, who: &ActorCell) {
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

    pub(super) fn wire_gone(&mut self, myself: &ActorRef<ConnectionMsg>, key: ChannelKey) {
        self.table_left(|table| table.wire_gone(key));
        self.end_if_idle(myself);
    }

    fn table_left(&mut self, change: impl FnOnce(&mut Table) -> bool) {
        if change(&mut self.table) {
            self.counters.channels_closed += 1;
        }
    }
}
