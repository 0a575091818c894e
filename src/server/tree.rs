//! The actors of a daemon: one that supervises, and one acceptor per listener below it. The sockets belong to the
//! supervisor, and connections to neither, so an acceptor that fails is restarted without anybody noticing.
//!
//! Neither runs user code: what is accepted is handed over and has a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::time::Instant;

use super::house::House;
use super::listen::Socket;
use super::tally::count;
use crate::error::ConfigError;
use crate::listen::Acceptor;
use crate::supervision::{Backoff, Decision, RestartBook, RestartPolicy};

/// The pauses before an acceptor is restarted.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One message to the supervisor.
#[derive(Debug)]
pub(super) enum DaemonMsg {
    /// Start this listener's acceptor again.
    Restart(usize),
    /// Close the sockets.
    StopListening,
    /// End.
    Stop,
}

/// Supervises the acceptors.
pub(super) struct DaemonActor;

/// What it starts with.
pub(super) struct DaemonArgs {
    pub(super) house: Arc<House>,
    pub(super) sockets: Vec<Socket>,
    /// How many acceptors run, for others to see.
    pub(super) listening: Arc<AtomicUsize>,
}

pub(super) struct DaemonState {
    house: Arc<House>,
    listeners: Vec<Listener>,
    listening: Arc<AtomicUsize>,
}

struct Listener {
    socket: Arc<Socket>,
    book: RestartBook,
    acceptor: Option<ActorRef<Next>>,
}

impl Listener {
    fn new(socket: Socket) -> Result<Self, ConfigError> {
        // A daemon that no longer accepts is of no use to anybody: it never gives up.
        let pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let book = RestartBook::new(RestartPolicy::permanent().backoff(pauses).never_give_up())?;
        Ok(Self { socket: Arc::new(socket), book, acceptor: None })
    }
}

impl Drop for DaemonState {
    /// Also reached when the actor is killed: a daemon without its supervisor is none.
    fn drop(&mut self) {
        self.house.stop();
        self.close_sockets();
    }
}

impl DaemonState {
    /// Starts an acceptor. `Err` when there is none, which counts as its end.
    async fn start(&mut self, myself: &ActorRef<DaemonMsg>, index: usize) -> Result<(), SpawnErr> {
        let Some(listener) = self.listeners.get_mut(index) else { return Ok(()) };
        let args = (Arc::clone(&self.house), Arc::clone(&listener.socket));
        let (acceptor, _) = Actor::spawn_linked(None, AcceptorActor, args, myself.get_cell()).await?;
        listener.acceptor = Some(acceptor);
        listener.book.on_up(Instant::now().into_std());
        self.publish();
        Ok(())
    }

    fn acceptor_ended(&mut self, myself: &ActorRef<DaemonMsg>, who: ActorId) {
        let theirs = |listener: &Listener| listener.acceptor.as_ref().is_some_and(|it| it.get_id() == who);
        let Some(index) = self.listeners.iter().position(theirs) else { return };
        self.restart_later(myself, index);
    }

    fn restart_later(&mut self, myself: &ActorRef<DaemonMsg>, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else { return };
        listener.acceptor = None;
        if let Decision::Restart { after, attempt } =
            listener.book.on_exit(Instant::now().into_std(), false, rand::random())
        {
            count(&self.house.tally.acceptor_restarts);
            tracing::warn!(pause = ?after, attempt, "an acceptor ended; it is started again");
            myself.send_after(after, move || DaemonMsg::Restart(index));
        }
        self.publish();
    }

    fn close_sockets(&mut self) {
        for listener in self.listeners.drain(..) {
            if let Some(acceptor) = listener.acceptor {
                // It waits for a connection and nothing else: nothing is lost with it.
                acceptor.kill();
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let running = self.listeners.iter().filter(|listener| listener.acceptor.is_some()).count();
        self.listening.store(running, Ordering::Relaxed);
    }
}

impl Actor for DaemonActor {
    type Msg = DaemonMsg;
    type State = DaemonState;
    type Arguments = DaemonArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let DaemonArgs { house, sockets, listening } = args;
        let listeners = sockets.into_iter().map(Listener::new).collect::<Result<_, _>>()?;
        let mut state = DaemonState { house, listeners, listening };
        for index in 0..state.listeners.len() {
            state.start(&myself, index).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DaemonMsg::Restart(index) => {
                if state.start(&myself, index).await.is_err() {
                    state.restart_later(&myself, index);
                }
            }
            DaemonMsg::StopListening => state.close_sockets(),
            DaemonMsg::Stop => {
                state.close_sockets();
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorTerminated(who, ..) | SupervisionEvent::ActorFailed(who, _) = event {
            state.acceptor_ended(&myself, who.get_id());
        }
        Ok(())
    }
}

/// Accepts on one socket.
struct AcceptorActor;

/// Accept the next connection.
#[derive(Debug)]
struct Next;

struct AcceptorState {
    house: Arc<House>,
    acceptor: Acceptor<Arc<Socket>>,
}

impl Actor for AcceptorActor {
    type Msg = Next;
    type State = AcceptorState;
    type Arguments = (Arc<House>, Arc<Socket>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (house, socket): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        myself.cast(Next)?;
        Ok(AcceptorState { house, acceptor: Acceptor::new(socket) })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        _next: Next,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let AcceptorState { house, acceptor } = state;
        acceptor.next(|| count(&house.tally.accept_errors)).await.enter(house);
        myself.cast(Next)?;
        Ok(())
    }
}
