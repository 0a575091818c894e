//! The stable address of a managed connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorCell;
use tokio::sync::watch;

use super::address::Address;
use super::berth::Berth;
use super::error::NotConnected;
use super::ground::Ground;
use super::grounds::Grounds;
use super::keeper::{self, Order};
use super::spec::ManagedSpec;
use super::state::{ManagedInfo, ManagedState};
use crate::behaviour::ClientChannel;
use crate::client::Client;
use crate::connect_error::ConnectError;
use crate::error::OpenError;
use crate::forward::{self, Forward, ForwardError, ForwardHandle};
use crate::handle::ConnectionRef;
use crate::handle::route::{Route, Way};
use crate::observe::Watched;
use crate::session::Command;
use crate::supervised::{ChannelSpec, SupervisedRef, supervise};

/// # Managed connections
impl Client {
    /// Connects, and connects again whenever the connection is lost, as the specification says: see
    /// [`managed`](crate::managed).
    ///
    /// Returns at once; [`ManagedRef::connection`] waits for the first connection. A first attempt that fails is a
    /// failure like any later one.
    ///
    /// # Errors
    /// Wrong values in the configuration or the specification, each with the way out.
    pub async fn manage(&self, spec: ManagedSpec) -> Result<ManagedRef, ConnectError> {
        let (grounds, starting) = keeper::prepare(self.clone(), &spec)?;
        let orders = starting.start().await.map_err(|error| ConnectError::Actor(error.to_string().into()))?;
        Ok(ManagedRef { address: Arc::new(Address { orders, grounds, patience: spec.patience }) })
    }
}

/// The address of a managed connection: the same for all connections that follow each other.
///
/// Cheap to clone. Its supervised channels hold one too. When the last one is dropped, nothing is connected any more,
/// and the connection that is up ends with its last channel. A behaviour that holds one of the connection it runs on
/// keeps that alive.
#[derive(Clone)]
pub struct ManagedRef {
    address: Arc<Address>,
}

impl fmt::Debug for ManagedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedRef")
            .field("target", &self.address.grounds.target)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// # Using it
impl ManagedRef {
    /// The connection that is up, waiting for it up to [`ManagedSpec::patience`].
    ///
    /// It is of no use after its end; closing it is an end like others, after which the next one follows. To end them
    /// all, use [`stop`](Self::stop) here.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    ///
    /// # Errors
    /// There is none in time, or there will be none any more.
    pub async fn connection(&self) -> Result<ConnectionRef, NotConnected> {
        self.connection_within(self.address.patience).await
    }

    /// As [`connection`](Self::connection), with a limit of its own.
    ///
    /// # Errors
    /// As [`connection`](Self::connection).
    pub async fn connection_within(&self, limit: Duration) -> Result<ConnectionRef, NotConnected> {
        tokio::time::timeout(limit, self.comes_up())
            .await
            .unwrap_or_else(|_| Err(NotConnected::Deadline { after: limit, state: self.state() }))
    }

    pub(super) async fn comes_up(&self) -> Result<ConnectionRef, NotConnected> {
        let mut states = self.states();
        loop {
            let state = states.borrow_and_update().clone();
            if state.over().is_some() {
                return Err(NotConnected::Over { state });
            }
            if let Some(connection) = self.current() {
                return Ok(connection);
            }
            if states.changed().await.is_err() {
                return Err(NotConnected::Over { state: self.state() });
            }
        }
    }

    /// The connection that is up, if one is.
    #[must_use]
    pub fn current(&self) -> Option<ConnectionRef> {
        self.address.grounds.current()
    }

    /// As [`ConnectionRef::command`], on the connection that is up when the command is started, waiting for one as
    /// [`connection`](Self::connection) does.
    ///
    /// A command is started once, and never again by itself. When its connection is lost it ends with an error, whose
    /// [`may_have_run`](crate::session::CommandError::may_have_run) tells whether it may have had effects.
    ///
    /// ```no_run
    /// # async fn example(managed: ractor_ssh::ManagedRef) -> Result<(), Box<dyn std::error::Error>> {
    /// match managed.command("systemctl").args(["restart", "queue"]).output().await {
    ///     Ok(output) => println!("{}", output.status),
    ///     Err(error) if error.may_have_run() => println!("look at the queue before trying again: {error}"),
    ///     Err(error) => println!("it was not restarted: {error}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(&self, program: impl AsRef<[u8]>) -> Command {
        self.route().command(program)
    }

    /// As [`ConnectionRef::exec`]; otherwise as [`command`](Self::command).
    pub fn exec(&self, line: impl AsRef<[u8]>) -> Command {
        self.route().exec(line)
    }

    /// As [`ConnectionRef::shell`]; otherwise as [`command`](Self::command).
    pub fn shell(&self) -> Command {
        self.route().shell()
    }

    /// As [`ConnectionRef::subsystem`]; otherwise as [`command`](Self::command).
    pub fn subsystem(&self, name: impl Into<String>) -> Command {
        self.route().subsystem(name)
    }

    /// Its supervised channels, for those who look.
    pub(super) fn watched(&self) -> Vec<Arc<dyn Watched>> {
        self.address.grounds.watched.all()
    }

    /// As [`ConnectionRef::forward`], but the forward outlives its connection: see [`forward`](crate::forward). Returns
    /// at once, whether there is a connection or not.
    ///
    /// # Errors
    /// A wrong value, with the way out; nobody can listen there.
    pub async fn forward(&self, forward: Forward) -> Result<ForwardHandle, ForwardError> {
        forward::start(forward, Arc::new(Ground::new(self.clone()))).await
    }

    /// Where it lists what it carries.
    pub(super) fn grounds(&self) -> &Arc<Grounds> {
        &self.address.grounds
    }

    pub(crate) fn route(&self) -> Route {
        let managed = self.clone();
        Route::found(move |_| {
            let managed = managed.clone();
            async move { managed.connection().await.map(Way::shared).map_err(OpenError::from) }
        })
    }

    /// As [`ConnectionRef::supervise`], but the channel outlives its connection: it comes back with every one that
    /// follows.
    ///
    /// When a connection comes up, the channels start in the order in which they were declared here: each when the one
    /// before is up, or its start has failed, or has taken [`ManagedSpec::start_limit`]. One that is still at what came
    /// before its connection was lost keeps its place, within the same limit. A channel that is declared after that, or
    /// ends while the connection is up, starts by itself, without waiting for others.
    ///
    /// While there is no connection the channel is [`Waiting`](crate::supervised::SupervisedState::Waiting), and what
    /// is cast to it is refused or queued as its specification says.
    ///
    /// # Errors
    /// Wrong values in the specification, each with the way out.
    pub async fn supervise<C: ClientChannel>(
        &self,
        spec: ChannelSpec<C>,
    ) -> Result<SupervisedRef<C>, OpenError> {
        spec.check()?;
        supervise(spec, Berth::new(Arc::clone(&self.address))).await
    }
}

/// # Its life
impl ManagedRef {
    /// Where it is now.
    #[must_use]
    pub fn state(&self) -> ManagedState {
        self.address.grounds.state()
    }

    /// Where it is from now on. A receiver that is slow sees the latest state, not every one. It does not keep the
    /// connection alive.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<ManagedState> {
        self.address.grounds.states()
    }

    /// Everything there is to see of it. Answered without asking an actor.
    #[must_use]
    pub fn info(&self) -> ManagedInfo {
        self.address.grounds.info()
    }

    /// Stops it, whatever it is doing: an attempt under way is given up, a pause ends, the connection that is up is
    /// [closed](ConnectionRef::close), all of its supervised channels are over. Nothing follows. Returns at once;
    /// [`wait`](Self::wait) waits until nothing is left. Idempotent; a state that is final already stays as it is.
    pub fn stop(&self) {
        let _ = self.address.orders.cast(Order::Stop { grace: None });
    }

    /// As [`stop`](Self::stop), but the connection that is up is [drained](ConnectionRef::shutdown): its channels have
    /// `grace` to end by themselves; none is started again. Returns when nothing is left: `grace` and the close
    /// timeout later at the latest, or twice that timeout if a channel that is stuck has a connection of its own.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn shutdown(&self, grace: Duration) {
        let _ = self.address.orders.cast(Order::Stop { grace: Some(grace) });
        self.wait().await;
    }

    /// Waits until no connection will be made any more and nothing is left of the last one, and gives the final state.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn wait(&self) -> ManagedState {
        let mut states = self.states();
        match states.wait_for(ManagedState::is_final).await {
            Ok(state) => state.clone(),
            Err(_) => ManagedState::Stopped,
        }
    }

    /// The ractor actor that keeps the connection, to monitor it. Killing it closes the connection, and none follows.
    #[must_use]
    pub fn keeper(&self) -> ActorCell {
        self.address.orders.get_cell()
    }
}
