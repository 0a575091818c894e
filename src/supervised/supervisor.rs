//! The supervisor actor of one channel. It never waits: opening, watching and pausing is done by one task at a
//! time, the *step*, which tells the actor what came of it.
//!
//! Every report carries the number of its step, so that one which crossed a stop means nothing. A channel on
//! its way from step to supervisor is [`Held`]: wherever it gets lost, it is stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::course::{Course, Then};
use super::door::Door;
use super::spec::{ChannelSpec, Incarnation};
use super::state::IncarnationEnd;
use crate::behaviour::{ChannelRef, ClientChannel};
use crate::config::SlowConsumer;
use crate::error::{ConfigError, ConnectionError};
use crate::handle::ConnectionRef;

/// One message to a supervisor.
pub(super) enum Order<C: ClientChannel> {
    Report { step: u64, what: Report<C> },
    Stop,
}

/// What came of a step.
pub(super) enum Report<C: ClientChannel> {
    Up(Held<C>),
    Ended(IncarnationEnd),
    PauseOver,
    ConnectionDown(ConnectionError),
}

/// A channel that is stopped with whoever holds it.
pub(super) struct Held<C: ClientChannel>(Option<ChannelRef<C>>);

impl<C: ClientChannel> Held<C> {
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
    connection: ConnectionRef,
) -> Result<(Arc<Door<C>>, Starting<C>), ConfigError> {
    let isolated = spec.options.slow_consumer == SlowConsumer::Isolate;
    let course = Course::new(spec.policy.clone(), isolated)?;
    let door = Arc::new(Door::new(spec.queue, course.state().clone()));
    let shared = Arc::clone(&door);
    let supervisor =
        Supervisor { spec, connection, isolated, course, door, channel: None, step: 0, task: None };
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
    connection: ConnectionRef,
    isolated: bool,
    course: Course,
    door: Arc<Door<C>>,
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
        supervisor.begin(&myself);
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
            Order::Report { what: Report::Up(held), .. } => supervisor.up(held),
            Order::Report { what: Report::Ended(end), .. } => supervisor.ended(&myself, end),
            Order::Report { what: Report::PauseOver, .. } => supervisor.begin(&myself),
            Order::Report { what: Report::ConnectionDown(error), .. } => supervisor.connection_down(error),
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
    fn begin(&mut self, myself: &ActorRef<Order<C>>) {
        if let Some(incarnation) = self.course.begin() {
            self.next_step(myself, |spec, connection, reporter| {
                open(spec, connection, incarnation, reporter)
            });
            self.door.publish(&self.course);
        }
    }

    fn up(&mut self, held: Held<C>) {
        let Some(channel) = held.0.clone() else { return };
        self.channel = Some(held);
        self.course.up(Instant::now());
        self.door.open(channel);
        self.door.publish(&self.course);
    }

    fn ended(&mut self, myself: &ActorRef<Order<C>>, end: IncarnationEnd) {
        self.door.shut();
        self.channel = None;
        let reason = end.to_string();
        match self.course.ended(end, Instant::now(), rand::random()) {
            Then::Pause(after) => {
                tracing::warn!(behaviour = std::any::type_name::<C>(), %reason, ?after, "channel is restarted");
                self.next_step(myself, move |_, connection, reporter| pause(connection, after, reporter));
                self.door.publish(&self.course);
            }
            Then::Nothing => {
                tracing::info!(behaviour = std::any::type_name::<C>(), %reason, state = %self.course.state(),
                    "channel is not restarted");
                self.over();
            }
        }
    }

    /// The channel gets its `Closed` from the connection and ends by itself, unless it has another connection.
    fn connection_down(&mut self, error: ConnectionError) {
        self.course.connection_down(error);
        if let Some(held) = self.channel.take()
            && !self.isolated
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
        self.door.publish(&self.course);
    }

    fn next_step<F>(
        &mut self,
        myself: &ActorRef<Order<C>>,
        work: impl FnOnce(ChannelSpec<C>, ConnectionRef, Reporter<C>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.step += 1;
        let reporter = Reporter { to: myself.clone(), step: self.step };
        let work = work(self.spec.clone(), self.connection.clone(), reporter);
        self.task = Some(tokio::spawn(work));
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

/// Opens one incarnation and watches over it until it ends.
async fn open<C: ClientChannel>(
    spec: ChannelSpec<C>,
    connection: ConnectionRef,
    incarnation: Incarnation,
    reporter: Reporter<C>,
) {
    let life = async {
        let behaviour = match catch_unwind(AssertUnwindSafe(|| (spec.factory)(incarnation))) {
            Ok(behaviour) => behaviour,
            Err(panic) => return IncarnationEnd::FactoryPanicked(panic_text(&*panic).into()),
        };
        match connection.open_channel(spec.request, spec.options, behaviour).await {
            Ok(channel) => {
                reporter.tell(Report::Up(Held(Some(channel.clone()))));
                IncarnationEnd::Stopped(channel.wait().await)
            }
            Err(error) => IncarnationEnd::NotStarted(error),
        }
    };
    let report = tokio::select! {
        biased;
        end = life => Report::Ended(end),
        error = connection.closed() => Report::ConnectionDown(error),
    };
    reporter.tell(report);
}

async fn pause<C: ClientChannel>(connection: ConnectionRef, after: Duration, reporter: Reporter<C>) {
    let report = tokio::select! {
        () = tokio::time::sleep(after) => Report::PauseOver,
        error = connection.closed() => Report::ConnectionDown(error),
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
