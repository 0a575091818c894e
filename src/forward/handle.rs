//! The address of a forward.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::{Actor as _, ActorCell, ActorRef};
use tokio::sync::watch;

use super::base::Base;
use super::endpoint::Endpoint;
use super::error::{ForwardEnd, ForwardError};
use super::keeper::{Begin, Keeper, Order};
use super::listener::Listener;
use super::remote::Remote;
use super::serve::Common;
use super::spec::{Forward, Kind};
use super::state::{ForwardCounters, ForwardInfo, ForwardState, Shared, Stop};
use super::work;
use crate::error::ConnectionError;
use crate::handle::ConnectionRef;
use crate::observe::{Lineage, Watched};

/// # Forwards
impl ConnectionRef {
    /// Sets up a forward on this connection: see [`forward`](crate::forward).
    ///
    /// Returns when it is listened on. The forward keeps the connection open, and ends with it.
    ///
    /// # Cancel safety
    /// If the future is dropped, there is no forward.
    ///
    /// # Errors
    /// A wrong value, with the way out; nobody can listen there; the connection is gone.
    pub async fn forward(&self, forward: Forward) -> Result<ForwardHandle, ForwardError> {
        start(forward, Arc::new(self.clone())).await
    }
}

type Work = Box<dyn FnOnce(Arc<Common>) -> BoxFuture<'static, ForwardEnd> + Send>;

/// Starts a forward on a base.
pub(crate) async fn start(spec: Forward, base: Arc<dyn Base>) -> Result<ForwardHandle, ForwardError> {
    spec.check()?;
    let to = spec.kind.to_string();
    let (shared, work): (Arc<Shared>, Work) = match &spec.kind {
        Kind::Local { listen, .. } | Kind::Dynamic { listen } => {
            if !base.comes_back() {
                base.connection().await?;
            }
            let listening = Listener::bind(listen).await;
            let (listener, at) = listening
                .map_err(|error| ForwardError::Listen { at: listen.clone(), source: Arc::new(error) })?;
            let shared = Arc::new(Shared::new(at, to, false, spec.max_connections));
            (shared, Box::new(|common| work::listen(listener, common).boxed()))
        }
        Kind::Remote { listen, .. } => {
            let shared = Arc::new(Shared::new(listen.clone(), to, true, spec.max_connections));
            let mut remote = Remote::new(listen.clone(), spec.max_connections);
            if base.is_up() || !base.comes_back() {
                remote.ask(&base.connection().await?, &shared).await?;
            }
            (shared, Box::new(|common| remote.run(common).boxed()))
        }
    };
    let begin: Begin = {
        let (base, shared) = (Arc::clone(&base), Arc::clone(&shared));
        Box::new(move |myself| {
            let lineage = Lineage::new(myself.get_id(), 1, 0);
            work(Arc::new(Common { spec, base, shared, lineage }))
        })
    };
    let started = Keeper::spawn(None, Keeper, (begin, Arc::clone(&shared))).await;
    let (actor, _) = started.map_err(|error| ConnectionError::ActorGone(error.to_string().into()))?;
    let address = Arc::new(Address { actor, shared });
    let address_for_lookers: Arc<dyn Watched> = Arc::clone(&address) as _;
    base.list(Arc::downgrade(&address_for_lookers));
    Ok(ForwardHandle { address })
}

/// A forward that was set up.
///
/// Cheap to clone. When the last clone is dropped, nobody is listened to any more; connections that were made go on to
/// their end.
#[derive(Clone)]
pub struct ForwardHandle {
    address: Arc<Address>,
}

pub(super) struct Address {
    pub(super) actor: ActorRef<Order>,
    pub(super) shared: Arc<Shared>,
}

impl Drop for Address {
    fn drop(&mut self) {
        self.shared.stop(Stop::Drain);
    }
}

impl fmt::Debug for ForwardHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardHandle")
            .field("listen", &self.local_addr())
            .field("to", &self.address.shared.to)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl ForwardHandle {
    /// Where connections are taken, with the port that was chosen for port 0. Of a remote forward: on the server. After
    /// a reconnect a server may have chosen another one.
    #[must_use]
    pub fn local_addr(&self) -> Endpoint {
        self.address.shared.listen()
    }

    /// What it has counted so far.
    #[must_use]
    pub fn counters(&self) -> ForwardCounters {
        self.address.shared.counters()
    }

    /// Everything there is to see of it. Answered without asking an actor.
    #[must_use]
    pub fn info(&self) -> ForwardInfo {
        self.address.shared.info()
    }

    /// Where in its life it is.
    #[must_use]
    pub fn state(&self) -> ForwardState {
        self.address.shared.state()
    }

    /// Where it is from now on. A receiver that is slow sees the latest state, not every one. It does not keep the
    /// forward.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<ForwardState> {
        self.address.shared.states()
    }

    /// Stops listening and cuts off the connections there are: their local sides see a reset, their channels are
    /// closed without eof. Returns when nothing is left. Idempotent.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn close(&self) {
        self.address.shared.stop(Stop::Now);
        self.closed().await;
    }

    /// Stops listening, and waits up to `grace` for the connections there are to end by themselves; those that are
    /// left are cut off as by [`close`](Self::close). Returns when nothing is left. A second call can only shorten it.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn shutdown(&self, grace: Duration) {
        self.address.shared.stop(work::within(grace));
        self.closed().await;
    }

    /// Waits until the forward is over and nothing is left of it, and says why.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn closed(&self) -> ForwardEnd {
        let mut states = self.states();
        match states.wait_for(|state| matches!(state, ForwardState::Ended(_))).await.as_deref() {
            Ok(ForwardState::Ended(end)) => end.clone(),
            _ => ForwardEnd::Closed,
        }
    }

    /// The ractor actor behind it, to link or monitor. Killing it cuts everything off.
    #[must_use]
    pub fn actor(&self) -> ActorCell {
        self.address.actor.get_cell()
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}
