//! The supervisor actor of one channel. It never waits: opening, watching and pausing is done by one task at a
//! time, the *step*, which tells the actor what came of it.
//!
//! Every report carries the number of its step, so that one which crossed a stop means nothing. A channel on
//! its way from step to supervisor is [`Held`]: wherever it gets lost, it is stopped.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::course::{Course, Terms, Then};
use super::door::Door;
use super::place::{Admission, Admitted, Place, Turn};
use super::spec::ChannelSpec;
use super::state::{IncarnationEnd, SupervisedState};
use super::step::{Held, Prospects, Report, Reporter, open, pause, wait};
use crate::behaviour::ClientChannel;
use crate::config::SlowConsumer;
use crate::error::{ConfigError, ConnectionError};
use crate::handle::ConnectionRef;
use crate::metrics::{self, Present};
use crate::observe::Lineage;

/// One message to a supervisor.
pub(super) enum Order<C: ClientChannel> {
    Report { step: u64, what: Report<C> },
    Stop,
}

/// A supervisor about to start.
pub(super) struct Starting<C: ClientChannel>(Supervisor<C>);

pub(super) fn prepare<C: ClientChannel>(
    spec: ChannelSpec<C>,
    place: Arc<dyn Place>,
) -> Result<(Arc<Door<C>>, Starting<C>), ConfigError> {
    let course = Course::new(Terms {
        policy: spec.policy.clone(),
        on_give_up: spec.on_give_up,
        isolate_stalled: spec.isolate_stalled,
        isolated: spec.options.slow_consumer == SlowConsumer::Isolate,
        comes_back: place.comes_back(),
    })?;
    let door = Arc::new(Door::new(spec.queue, course.state().clone(), Arc::downgrade(&place)));
    let shared = Arc::clone(&door);
    let supervisor = Supervisor {
        spec,
        place,
        course,
        door,
        connection: None,
        turn: None,
        channel: None,
        step: 0,
        task: None,
        _present: Present::new(metrics::SUPERVISED, None),
    };
    Ok((shared, Starting(supervisor)))
}

impl<C: ClientChannel> Starting<C> {
    pub(super) async fn start(self) -> Result<ActorRef<Order<C>>, SpawnErr> {
        let (actor, _) = Actor::spawn(None, SupervisorActor(std::marker::PhantomData), self.0).await?;
        Ok(actor)
    }
}

struct SupervisorActor<C>(std::marker::PhantomData<fn() -> C>);

struct Supervisor<C: ClientChannel> {
    spec: ChannelSpec<C>,
    place: Arc<dyn Place>,
    course: Course,
    door: Arc<Door<C>>,
    /// What the present incarnation was opened on.
    connection: Option<ConnectionRef>,
    /// Held until the present incarnation is up, or its start has failed.
    turn: Option<Turn>,
    channel: Option<Held<C>>,
    /// The number of the step under way.
    step: u64,
    task: Option<JoinHandle<()>>,
    _present: Present,
}

impl<C: ClientChannel> Actor for SupervisorActor<C> {
    type Msg = Order<C>;
    type State = Supervisor<C>;
    type Arguments = Supervisor<C>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        mut supervisor: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        supervisor.enter(&myself);
        if supervisor.course.state().is_final() {
            myself.stop(None);
        }
        Ok(supervisor)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        order: Self::Msg,
        supervisor: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Report { step, .. } if step != supervisor.step => {}
            Order::Report { what, .. } => match what {
                Report::Admitted(admitted) => supervisor.begin(&myself, admitted),
                Report::Up(held) => supervisor.up(held),
                Report::Away { error, ended } => supervisor.away(error, ended),
                Report::Ended(end) => supervisor.ended(&myself, end),
                Report::PauseOver => supervisor.enter(&myself),
                Report::Gone(error) => supervisor.gone(error),
            },
            Order::Stop => supervisor.stop(),
        }
        if supervisor.course.state().is_final() {
            myself.stop(None);
        }
        Ok(())
    }

    /// Nobody is linked to a supervisor unless a user did so; it is not to end by that.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        _event: SupervisionEvent,
        _supervisor: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl<C: ClientChannel> Drop for Supervisor<C> {
    /// Also reached when the actor is killed: the channel goes with it.
    fn drop(&mut self) {
        self.stop();
    }
}

impl<C: ClientChannel> Supervisor<C> {
    /// Asks for a connection.
    fn enter(&mut self, myself: &ActorRef<Order<C>>) {
        match self.place.admit() {
            Admission::Now(admitted) => self.begin(myself, admitted),
            Admission::Later(admitted) => {
                self.course.wait();
                let gone = self.place.gone();
                self.next_step(myself, |reporter| wait(admitted, gone, reporter));
                self.door.publish(&self.course);
            }
            Admission::Never(error) => self.gone(error),
        }
    }

    fn begin(&mut self, myself: &ActorRef<Order<C>>, admitted: Admitted) {
        let Some(incarnation) = self.course.begin() else { return };
        let lineage = Lineage::new(myself.get_id(), incarnation.number, self.course.restarts());
        let Admitted { way, turn } = admitted;
        self.turn = turn;
        self.connection = Some(way.connection.clone());
        let mut spec = self.spec.clone();
        if self.course.is_isolated() {
            spec.options.slow_consumer = SlowConsumer::Isolate;
        }
        let place = Prospects {
            comes_back: self.place.comes_back(),
            gone: self.place.gone(),
            next_up: self.place.next_up(&way.connection),
        };
        self.next_step(myself, |reporter| open(spec, way, place, (incarnation, lineage), reporter));
        self.door.publish(&self.course);
    }

    fn up(&mut self, held: Held<C>) {
        let Some(channel) = held.channel() else { return };
        self.channel = Some(held);
        if self.course.up(Instant::now()) {
            self.door.open(channel);
        } else {
            self.door.lingers(Some(channel));
        }
        self.door.publish(&self.course);
        self.turn = None;
    }

    /// The channel gets its `Closed` from the connection and ends by itself, unless it has another connection.
    fn away(&mut self, error: ConnectionError, ended: bool) {
        self.turn = None;
        if !self.place.comes_back() {
            return self.gone(error);
        }
        if self.course.is_isolated() {
            // It may be stuck, and is not to hold up its siblings.
            self.place.pauses();
        }
        self.door.shut();
        if !ended {
            self.door.lingers(self.channel.as_ref().and_then(Held::channel));
        }
        self.course.wait();
        self.door.publish(&self.course);
    }

    fn ended(&mut self, myself: &ActorRef<Order<C>>, end: IncarnationEnd) {
        self.door.shut();
        self.turn = None;
        let channel = self.channel.take();
        let connection = self.connection.take();
        if channel.is_some_and(|held| held.has_stalled()) {
            self.course.stalled(connection.as_ref().is_some_and(|connection| connection.redial().is_some()));
        }
        let (behaviour, reason) = (std::any::type_name::<C>(), end.to_string());
        let then = self.course.ended(end.clone(), Instant::now(), rand::random());
        if matches!(self.course.state(), SupervisedState::GaveUp { .. }) {
            metrics::count(metrics::GIVEN_UP, 1, &[]);
        }
        match then {
            Then::Pause(after) => {
                metrics::count(metrics::RESTARTS, 1, &[]);
                tracing::warn!(behaviour, %reason, ?after, "channel is restarted");
                self.place.pauses();
                let gone = self.place.gone();
                self.next_step(myself, move |reporter| pause(after, gone, reporter));
                self.door.publish(&self.course);
            }
            Then::Enter => {
                tracing::info!(behaviour, %reason, "channel waits for its connection");
                self.enter(myself);
            }
            Then::Escalate => {
                metrics::count(metrics::ESCALATIONS, 1, &[]);
                tracing::error!(behaviour, %reason, "channel was restarted too often: its connection is ended");
                if let Some(connection) = connection {
                    self.place.escalate(&connection, &end);
                }
                if self.course.state().is_final() { self.over() } else { self.enter(myself) }
            }
            Then::Nothing => {
                tracing::info!(behaviour, %reason, state = %self.course.state(), "channel is not restarted");
                self.over();
            }
        }
    }

    fn gone(&mut self, error: ConnectionError) {
        self.course.connection_down(error);
        if let Some(held) = self.channel.take()
            && !self.course.is_isolated()
        {
            held.release();
        }
        self.over();
    }

    fn stop(&mut self) {
        self.course.stop();
        self.over();
    }

    /// The state is final: nothing is left running.
    fn over(&mut self) {
        self.step += 1;
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.door.brick_up();
        self.channel = None;
        self.connection = None;
        self.door.publish(&self.course);
        self.turn = None;
    }

    fn next_step<F>(&mut self, myself: &ActorRef<Order<C>>, work: impl FnOnce(Reporter<C>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.step += 1;
        let reporter = Reporter { to: myself.clone(), step: self.step };
        self.task = Some(tokio::spawn(work(reporter)));
    }
}
