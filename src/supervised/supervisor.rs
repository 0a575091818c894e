//! The supervisor actor of one channel. It never waits: opening, watching and pausing is done by one task at a
//! time, the *step*, which tells the actor what came of it.
//!
//! Every report carries the number of its step, so that one which crossed a stop means nothing. A channel on
//! its way from step to supervisor is [`Held`]: wherever it gets lost, it is stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::course::{Course, Terms, Then};
use super::door::Door;
use super::place::{Admission, Admitted, Place, Turn};
use super::spec::{ChannelSpec, Incarnation};
use super::state::IncarnationEnd;
use crate::behaviour::{ChannelRef, ClientChannel};
use crate::channel::NotOpened;
use crate::config::SlowConsumer;
use crate::error::{CloseReason, ConfigError, ConnectionError, OpenError, Phase, StopReason};
use crate::handle::ConnectionRef;
use crate::handle::route::Way;

/// One message to a supervisor.
pub(super) enum Order<C: ClientChannel> {
    Report { step: u64, what: Report<C> },
    Stop,
}

/// What came of a step.
pub(super) enum Report<C: ClientChannel> {
    Admitted(Admitted),
    Up(Held<C>),
    /// The connection is lost or closing; the channel may still be at what arrived before.
    Away(ConnectionError),
    Ended(IncarnationEnd),
    PauseOver,
    /// No connection will follow.
    Gone(ConnectionError),
}

/// A channel that is stopped with whoever holds it.
pub(super) struct Held<C: ClientChannel>(Option<ChannelRef<C>>);

impl<C: ClientChannel> Held<C> {
    /// Whether it was ended for holding its connection up, whatever its behaviour made of that.
    fn has_stalled(&self) -> bool {
        let closed = self.0.as_ref().and_then(|channel| channel.info().closed);
        matches!(closed, Some(CloseReason::Stalled { .. }))
    }

    /// Lets the channel end by itself.
    fn release(mut self) {
        self.0 = None;
    }
}

impl<C: ClientChannel> Drop for Held<C> {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take() {
            channel.stop("its supervisor has stopped it");
        }
    }
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
    let door = Arc::new(Door::new(spec.queue, course.state().clone()));
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
                Report::Away(error) => supervisor.away(error),
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
        let Admitted { way, turn } = admitted;
        self.turn = turn;
        self.connection = Some(way.connection.clone());
        let mut spec = self.spec.clone();
        if self.course.is_isolated() {
            spec.options.slow_consumer = SlowConsumer::Isolate;
        }
        let gone = (self.place.comes_back(), self.place.gone());
        self.next_step(myself, |reporter| open(spec, way, gone, incarnation, reporter));
        self.door.publish(&self.course);
    }

    fn up(&mut self, held: Held<C>) {
        let Some(channel) = held.0.clone() else { return };
        self.channel = Some(held);
        self.course.up(Instant::now());
        self.door.open(channel);
        self.door.publish(&self.course);
        self.turn = None;
    }

    /// The channel gets its `Closed` from the connection and ends by itself, unless it has another connection.
    fn away(&mut self, error: ConnectionError) {
        self.turn = None;
        if !self.place.comes_back() {
            return self.gone(error);
        }
        if self.course.is_isolated() {
            // It may be stuck, and is not to hold up its siblings.
            self.place.pauses();
        }
        self.door.shut();
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
        match self.course.ended(end.clone(), Instant::now(), rand::random()) {
            Then::Pause(after) => {
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

/// Tells the supervisor what came of one step.
struct Reporter<C: ClientChannel> {
    to: ActorRef<Order<C>>,
    step: u64,
}

impl<C: ClientChannel> Reporter<C> {
    fn tell(&self, what: Report<C>) {
        let _ = self.to.cast(Order::Report { step: self.step, what });
    }
}

/// Waits for a connection.
async fn wait<C: ClientChannel>(
    admitted: BoxFuture<'static, Option<Admitted>>,
    gone: BoxFuture<'static, ConnectionError>,
    reporter: Reporter<C>,
) {
    let report = tokio::select! {
        biased;
        Some(admitted) = admitted => Report::Admitted(admitted),
        error = gone => Report::Gone(error),
    };
    reporter.tell(report);
}

/// Opens one incarnation and watches over it until it ends.
async fn open<C: ClientChannel>(
    spec: ChannelSpec<C>,
    way: Way,
    (comes_back, gone): (bool, BoxFuture<'static, ConnectionError>),
    incarnation: Incarnation,
    reporter: Reporter<C>,
) {
    let isolated = spec.options.slow_consumer == SlowConsumer::Isolate;
    let connection = way.connection.clone();
    let life = async {
        let behaviour = match catch_unwind(AssertUnwindSafe(|| (spec.factory)(incarnation))) {
            Ok(behaviour) => behaviour,
            Err(panic) => return (IncarnationEnd::FactoryPanicked(panic_text(&*panic).into()), false),
        };
        let slot = way.slot.clone();
        match way.open_channel(spec.request, spec.options, behaviour).await {
            Ok(channel) => {
                drop(slot);
                reporter.tell(Report::Up(Held(Some(channel.clone()))));
                (IncarnationEnd::Stopped(end_of(&channel).await), false)
            }
            Err(NotOpened { error, .. }) => {
                // The connection had no room after all: nothing the channel could be blamed for.
                let elsewhere = slot.is_some_and(|slot| slot.not_opened(&error));
                (IncarnationEnd::NotStarted(if elsewhere { OpenError::Draining } else { error }), elsewhere)
            }
        }
    };
    tokio::pin!(life);
    let (end, elsewhere) = tokio::select! {
        biased;
        end = &mut life => end,
        error = connection.closed() => {
            reporter.tell(Report::Away(error));
            // It may still be at what arrived before: the next incarnation is not to overtake it.
            tokio::select! {
                biased;
                end = life => end,
                error = gone => return reporter.tell(Report::Gone(error)),
            }
        }
    };
    let lost = if isolated {
        // Closed with the connection that it was declared on.
        (connection.phase() == Phase::Down).then(|| connection.error())
    } else {
        end.connection_error()
    };
    if let Some(error) = lost
        && (isolated || comes_back)
        && !elsewhere
    {
        reporter.tell(Report::Away(error));
        connection.closed().await;
    }
    reporter.tell(Report::Ended(end));
}

/// Waits until the channel's actor has ended. When the channel was cut off on our side, as one that stalled is, only the
/// callback that is under way and `terminate` are waited for, and for no longer than closing may take: a behaviour
/// that is stuck would never come back.
async fn end_of<C: ClientChannel>(channel: &ChannelRef<C>) -> StopReason {
    let stuck = async {
        channel.port().until_cut_off().await;
        tokio::time::sleep(channel.port().close_timeout()).await;
    };
    tokio::select! {
        biased;
        reason = channel.wait() => return reason,
        () = stuck => {}
    }
    tracing::warn!(
        behaviour = std::any::type_name::<C>(),
        "killing a channel actor that is stuck in a callback"
    );
    channel.kill();
    channel.wait().await
}

async fn pause<C: ClientChannel>(
    after: Duration,
    gone: BoxFuture<'static, ConnectionError>,
    reporter: Reporter<C>,
) {
    let report = tokio::select! {
        () = tokio::time::sleep(after) => Report::PauseOver,
        error = gone => Report::Gone(error),
    };
    reporter.tell(report);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
