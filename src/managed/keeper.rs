//! The actor that keeps a connection. It never waits: connecting, watching, pausing and closing is done by one task at
//! a time, the *step*, which tells the actor what came of it.
//!
//! Every report carries the number of its step, so that one which crossed a stop means nothing.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::course::{Course, Then};
use super::grounds::Grounds;
use super::spec::ManagedSpec;
use super::state::ManagedState;
use super::tasks::{bring_up, end};
use crate::client::Client;
use crate::connect_error::ConnectError;
use crate::dial::Streams;
use crate::error::{ConfigError, ConnectionError};
use crate::handle::ConnectionRef;
use crate::handle::msg::ConnectionMsg;
use crate::metrics::{self, Present};

/// One message to a keeper.
pub(super) enum Order {
    Report {
        step: u64,
        what: Report,
    },
    /// A channel has ended this connection.
    Escalate {
        connection: ConnectionRef,
        why: Arc<str>,
    },
    /// Ends the connection: at once, or when its channels have ended or the grace is over.
    Stop {
        grace: Option<Duration>,
    },
    /// Connects no more. What is up ends with its last channel.
    Forget,
}

/// What came of a step.
pub(super) enum Report {
    Up(ConnectionRef),
    Failed(ConnectError),
    Lost(ConnectionError),
    PauseOver,
    Closed,
}

/// A keeper about to start.
pub(super) struct Starting(Keeper);

pub(super) fn prepare(client: Client, spec: &ManagedSpec) -> Result<(Arc<Grounds>, Starting), ConfigError> {
    spec.check()?;
    client.config().check()?;
    let course = Course::new(spec)?;
    let (target, user) = (client.config().target(), client.config().user().to_owned());
    let grounds = Arc::new(Grounds::new(target, user, course.state().clone()));
    let (client, streams) = client.apart();
    let keeper = Keeper {
        client,
        streams,
        start_limit: spec.start_limit,
        course,
        grounds: Arc::clone(&grounds),
        watched: None,
        escalation: None,
        leaving: Vec::new(),
        step: 0,
        task: None,
        bringing_up: None,
        _present: Present::new(metrics::MANAGED, None),
    };
    Ok((grounds, Starting(keeper)))
}

impl Starting {
    pub(super) async fn start(self) -> Result<ActorRef<Order>, SpawnErr> {
        let (actor, _) = Actor::spawn(None, KeeperActor, self.0).await?;
        Ok(actor)
    }
}

struct KeeperActor;

struct Keeper {
    client: Client,
    /// What the client has open: also attempts that were given up, and connections of isolated channels.
    streams: Streams,
    start_limit: Duration,
    course: Course,
    grounds: Arc<Grounds>,
    /// The connection that is up.
    watched: Option<ConnectionRef>,
    /// Why a channel has ended it, until it is gone.
    escalation: Option<Arc<str>>,
    /// Lost ones, some of whose channels may still be at what arrived before.
    leaving: Vec<ConnectionRef>,
    /// The number of the step under way.
    step: u64,
    task: Option<JoinHandle<()>>,
    /// Gives the supervised channels their turns on the connection that is up.
    bringing_up: Option<JoinHandle<()>>,
    _present: Present,
}

impl Actor for KeeperActor {
    type Msg = Order;
    type State = Keeper;
    type Arguments = Keeper;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        mut keeper: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        keeper.begin(&myself);
        Ok(keeper)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        order: Self::Msg,
        keeper: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Report { step, what } if step != keeper.step => keeper.came_late(&myself, what),
            Order::Report { what, .. } => match what {
                Report::Up(connection) => keeper.up(&myself, connection),
                Report::Failed(error) => {
                    let then = keeper.course.failed(error, Instant::now(), rand::random());
                    keeper.go_on(&myself, then);
                }
                Report::Lost(error) => keeper.lost(&myself, error),
                Report::PauseOver => keeper.begin(&myself),
                Report::Closed => keeper.stopped(),
            },
            Order::Escalate { connection, why } => keeper.escalated(&connection, why),
            Order::Stop { grace } => keeper.stop(&myself, grace),
            Order::Forget => keeper.forget(),
        }
        if keeper.course.state().is_final() {
            myself.stop(None);
        }
        Ok(())
    }

    /// Nobody is linked to a keeper unless a user did so; it is not to end by that.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        _event: SupervisionEvent,
        _keeper: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl Drop for Keeper {
    /// Also reached when the actor is killed: nothing goes on without it.
    fn drop(&mut self) {
        if let Some(connection) = &self.watched {
            let _ = connection.tell(ConnectionMsg::Close);
        }
        self.stopped();
    }
}

impl Keeper {
    fn begin(&mut self, myself: &ActorRef<Order>) {
        if !self.course.begin() {
            return;
        }
        let connecting = self.client.connect();
        self.grounds.follow(connecting.phases());
        self.grounds.publish(&self.course);
        self.next_step(myself, async move {
            match connecting.await {
                Ok(connection) => Report::Up(connection),
                Err(error) => Report::Failed(error),
            }
        });
    }

    fn up(&mut self, myself: &ActorRef<Order>, connection: ConnectionRef) {
        self.course.up(Instant::now());
        self.watched = Some(connection.clone());
        self.grounds.open(connection.clone());
        self.grounds.publish(&self.course);
        tracing::info!(target_host = %self.grounds.target, state = %self.course.state(), "managed connection");
        let bringing_up = bring_up(Arc::clone(&self.grounds), connection.clone(), self.start_limit);
        self.bringing_up = Some(tokio::spawn(bringing_up));
        self.next_step(myself, async move { Report::Lost(connection.closed().await) });
    }

    /// Nobody gets this connection any more. What follows is decided when it is gone: nothing of it is to overlap with
    /// the next one, or to be left when it was the last one.
    fn escalated(&mut self, connection: &ConnectionRef, why: Arc<str>) {
        if self.escalation.is_none() && self.is_up_with(connection) {
            self.escalation = Some(why);
            self.give_to_nobody();
            let _ = connection.tell(ConnectionMsg::Close);
        }
    }

    fn lost(&mut self, myself: &ActorRef<Order>, error: ConnectionError) {
        metrics::count(metrics::MANAGED_LOST, 1, &[]);
        self.leaving.retain(ConnectionRef::is_running);
        self.leaving.extend(self.watched.take());
        let now = Instant::now();
        let then = match self.escalation.take() {
            Some(why) => self.course.escalated(why, now, rand::random()),
            None => self.course.lost(error, now, rand::random()),
        };
        self.go_on(myself, then);
    }

    /// A connection that came up when it was to be stopped already is closed before anybody is told that nothing is
    /// left. Other reports mean nothing any more.
    fn came_late(&mut self, myself: &ActorRef<Order>, what: Report) {
        if let Report::Up(connection) = what
            && matches!(self.course.state(), ManagedState::Stopping)
        {
            self.watched = Some(connection);
            self.close(myself, None, true);
        }
    }

    fn is_up_with(&self, connection: &ConnectionRef) -> bool {
        self.course.state().is_up() && self.watched.as_ref().is_some_and(|up| up.is_same(connection))
    }

    /// There is no connection now.
    fn go_on(&mut self, myself: &ActorRef<Order>, then: Then) {
        self.give_to_nobody();
        self.watched = None;
        let state = self.course.state();
        match then {
            Then::Pause(after) => {
                metrics::took(metrics::MANAGED_BACKOFF, after, &[]);
                tracing::warn!(target_host = %self.grounds.target, %state, "managed connection");
                self.grounds.publish(&self.course);
                self.next_step(myself, async move {
                    tokio::time::sleep(after).await;
                    Report::PauseOver
                });
            }
            Then::Nothing => {
                tracing::error!(target_host = %self.grounds.target, %state, "managed connection");
                self.over();
            }
        }
    }

    fn stop(&mut self, myself: &ActorRef<Order>, grace: Option<Duration>) {
        let again = matches!(self.course.state(), ManagedState::Stopping);
        if self.course.stop() {
            self.grounds.publish(&self.course);
            self.close(myself, grace, again);
        }
    }

    fn close(&mut self, myself: &ActorRef<Order>, grace: Option<Duration>, again: bool) {
        // Kept: a second stop may be in more of a hurry.
        let all: Vec<_> = self.watched.iter().chain(&self.leaving).cloned().collect();
        self.give_to_nobody();
        let (before, streams) = (self.task.take(), self.streams.clone());
        // Here and now: the next stop may come before the step has begun. An earlier stop is not given up, but waited for.
        if let Some(before) = before.as_ref().filter(|_| !again) {
            before.abort();
        }
        let limit = self.client.config().close_timeout();
        self.next_step(myself, async move {
            futures::future::join_all(all.into_iter().map(|connection| end(connection, grace))).await;
            if let Some(before) = before {
                // What it was at is dropped before anybody is told that nothing is left.
                let _ = before.await;
            }
            // A moment later, unless code of users blocks where it is asked something.
            let _ = tokio::time::timeout(limit, streams.all_closed()).await;
            Report::Closed
        });
    }

    fn stopped(&mut self) {
        self.course.stopped(Instant::now());
        self.over();
    }

    /// A stop that is under way comes to its end by itself.
    fn forget(&mut self) {
        if !matches!(self.course.state(), ManagedState::Stopping) {
            self.stopped();
        }
    }

    fn give_to_nobody(&mut self) {
        if let Some(bringing_up) = self.bringing_up.take() {
            bringing_up.abort();
        }
        self.grounds.shut();
    }

    /// The state is final: nothing is left running.
    fn over(&mut self) {
        self.step += 1;
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.give_to_nobody();
        self.watched = None;
        self.grounds.publish(&self.course);
    }

    fn next_step(&mut self, myself: &ActorRef<Order>, work: impl Future<Output = Report> + Send + 'static) {
        self.step += 1;
        let (to, step) = (myself.clone(), self.step);
        self.task = Some(tokio::spawn(async move {
            let what = work.await;
            let _ = to.cast(Order::Report { step, what });
        }));
    }
}
