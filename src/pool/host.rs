//! One host of a pool, as callers see it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tokio::time::Instant;

use super::desk::Desk;
use super::info::HostInfo;
use super::place::Spot;
use super::pool_ref::Address;
use super::queue::Want;
use crate::behaviour::{ChannelRef, ClientChannel};
use crate::config::ChannelOptions;
use crate::error::OpenError;
use crate::handle::ConnectionRef;
use crate::handle::route::{Route, Slot, Wish};
use crate::session::Command;
use crate::supervised::{ChannelSpec, SupervisedRef, supervise};
use crate::wire::open::OpenRequest;

/// One host of a [`Pool`](super::Pool), under one identity: from [`Pool::get`](super::Pool::get).
///
/// Its calls are those of a connection. Each waits for a place first, as
/// [`PoolConfig::wait`](super::PoolConfig::wait) allows, and the place is free again when the channel is over at both
/// ends. What is refused because a server has too many sessions waits for another place; nothing was started by then.
///
/// Cheap to clone. It keeps the pool, and connects nothing by itself.
#[derive(Clone)]
pub struct Host {
    address: Arc<Address>,
    desk: Arc<Desk>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.desk.client.config();
        f.debug_struct("Host")
            .field("target", &config.target())
            .field("user", &config.user())
            .field("identity", &self.desk.key.name())
            .finish_non_exhaustive()
    }
}

/// The same host of the same pool, under the same identity.
impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.address, &other.address) && self.desk.key == other.desk.key
    }
}

impl Eq for Host {}

impl Host {
    pub(super) const fn new(address: Arc<Address>, desk: Arc<Desk>) -> Self {
        Self { address, desk }
    }

    pub(crate) fn route(&self) -> Route {
        let host = self.clone();
        Route::found(move |wish| {
            let host = host.clone();
            async move { host.desk.way(wish).await }
        })
    }

    /// As [`ConnectionRef::command`], on the pool's next free place.
    pub fn command(&self, program: impl AsRef<[u8]>) -> Command {
        self.route().command(program)
    }

    /// As [`ConnectionRef::exec`], on the pool's next free place.
    pub fn exec(&self, line: impl AsRef<[u8]>) -> Command {
        self.route().exec(line)
    }

    /// As [`ConnectionRef::shell`], on the pool's next free place.
    pub fn shell(&self) -> Command {
        self.route().shell()
    }

    /// As [`ConnectionRef::subsystem`], on the pool's next free place.
    pub fn subsystem(&self, name: impl Into<String>) -> Command {
        self.route().subsystem(name)
    }

    /// As [`ConnectionRef::open_channel`], on the pool's next free place.
    ///
    /// With [`SlowConsumer::Isolate`](crate::config::SlowConsumer::Isolate) the channel has a connection of its own,
    /// which is not shared and ends with it: see [`PoolConfig::max_isolated`](super::PoolConfig::max_isolated).
    ///
    /// # Cancel safety
    /// If the future is dropped, its turn goes to the next caller, and a channel that was asked for is closed as soon as
    /// the peer has confirmed it.
    ///
    /// # Errors
    /// As the connection's; [`QueueFull`](OpenError::QueueFull), [`NoTurn`](OpenError::NoTurn) or
    /// [`PoolClosed`](OpenError::PoolClosed).
    pub async fn open_channel<C: ClientChannel>(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
        behaviour: C,
    ) -> Result<ChannelRef<C>, OpenError> {
        self.route().open_channel(request, options, behaviour).await
    }

    /// As [`ManagedRef::supervise`](crate::ManagedRef::supervise): the channel outlives its connection, and comes back
    /// on whichever connection of the host has a place.
    ///
    /// It holds a place while it is up. When it comes back it goes to the head of the queue, and waits there for as long
    /// as it takes; several do so in the order in which they were declared. It ends with
    /// [`Down`](crate::supervised::SupervisedState::Down) when the pool is closed, and when a connection it waits for
    /// cannot be made for good (a host key that is not trusted, credentials that are refused).
    /// [`Escalation::Connection`](crate::Escalation::Connection) evicts the connection it was on.
    ///
    /// # Errors
    /// Wrong values in the specification, each with the way out.
    pub async fn supervise<C: ClientChannel>(
        &self,
        spec: ChannelSpec<C>,
    ) -> Result<SupervisedRef<C>, OpenError> {
        spec.check()?;
        let session = spec.is_session();
        supervise(spec, Spot::new(Arc::clone(&self.address), Arc::clone(&self.desk), session)).await
    }

    /// One of the host's connections, for what has no call here. It is not idle while the result is held. Channels that
    /// are opened on it by hand are not counted.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    ///
    /// # Errors
    /// There is none in time; the pool is closed.
    pub async fn connection(&self) -> Result<PooledConnection, OpenError> {
        let wish = Wish { session: false, isolated: false, since: Instant::now(), again: false };
        let way = self.desk.wanted(wish, Want::Connection).await?;
        Ok(PooledConnection { connection: way.connection, _place: way.claim.slot })
    }

    /// Everything there is to see of it. Answered without asking an actor.
    #[must_use]
    pub fn info(&self) -> HostInfo {
        self.desk.info()
    }
}

/// A connection of a pool, from [`Host::connection`]. Dereferences to its address.
#[derive(Clone)]
pub struct PooledConnection {
    connection: ConnectionRef,
    _place: Option<Arc<dyn Slot>>,
}

impl fmt::Debug for PooledConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}

impl Deref for PooledConnection {
    type Target = ConnectionRef;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}
