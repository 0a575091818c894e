//! The address of a connection actor.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::{ActorCell, ActorRef, ActorStatus, RpcReplyPort};
use tokio::sync::{oneshot, watch};

use super::acceptance::Acceptance;
use super::msg::ConnectionMsg;
use crate::connect_error::ConnectError;
use crate::error::{ConnectionError, Phase};
use crate::observe::{ConnectionInfo, Facts, PhaseEvent, WatchList};

/// Makes one more connection to the same target, for isolated channels.
pub(crate) type Redial =
    Arc<dyn Fn() -> BoxFuture<'static, Result<ConnectionRef, ConnectError>> + Send + Sync>;

/// The address of a connection: open channels on it, look into it, close it.
///
/// Cheap to clone and to share. The connection ends when it is closed, when it is lost, or when the last address
/// was dropped and its last channel has ended.
#[derive(Clone)]
pub struct ConnectionRef {
    actor: ActorRef<ConnectionMsg>,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    actor: ActorRef<ConnectionMsg>,
    facts: Arc<Facts>,
    phases: watch::Receiver<PhaseEvent>,
    redial: Option<Redial>,
    /// What the peer may open channels for. Nothing, on a server.
    acceptance: Arc<Acceptance>,
    watched: WatchList,
    /// How many connections were made for isolated channels of this one and are not gone.
    isolated: Arc<watch::Sender<usize>>,
}

/// One connection of an isolated channel; dropped when that connection is gone.
pub(crate) struct Isolated(Arc<watch::Sender<usize>>);

impl Drop for Isolated {
    fn drop(&mut self) {
        self.0.send_modify(|isolated| *isolated -= 1);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.actor.cast(ConnectionMsg::Orphaned);
    }
}

impl fmt::Debug for ConnectionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionRef")
            .field("peer", &self.shared.facts.peer_addr)
            .field("user", &self.shared.facts.user)
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

impl ConnectionRef {
    pub(crate) fn new(
        actor: ActorRef<ConnectionMsg>,
        facts: Arc<Facts>,
        phases: watch::Receiver<PhaseEvent>,
        redial: Option<Redial>,
        acceptance: Arc<Acceptance>,
    ) -> Self {
        let shared = Shared {
            actor: actor.clone(),
            facts,
            phases,
            redial,
            acceptance,
            watched: WatchList::default(),
            isolated: Arc::default(),
        };
        Self { actor, shared: Arc::new(shared) }
    }

    pub(crate) fn tell(&self, msg: ConnectionMsg) -> Result<(), ConnectionError> {
        self.actor.cast(msg).map_err(|_| self.error())
    }

    /// Where its actor gets messages.
    #[cfg(all(test, feature = "server"))]
    pub(crate) const fn mailbox(&self) -> &ActorRef<ConnectionMsg> {
        &self.actor
    }

    /// Whether both are addresses of the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.actor.get_id() == other.actor.get_id()
    }

    /// Whether the connection actor handles messages.
    pub(crate) fn is_running(&self) -> bool {
        self.actor.get_status() < ActorStatus::Stopping
    }

    pub(crate) fn redial(&self) -> Option<&Redial> {
        self.shared.redial.as_ref()
    }

    /// What the peer may open channels for.
    pub(crate) fn acceptance(&self) -> &Arc<Acceptance> {
        &self.shared.acceptance
    }

    /// The supervised channels that were declared on it.
    pub(crate) fn watched(&self) -> &WatchList {
        &self.shared.watched
    }

    /// One more isolated channel has a connection.
    pub(crate) fn isolates(&self) -> Isolated {
        self.shared.isolated.send_modify(|isolated| *isolated += 1);
        Isolated(Arc::clone(&self.shared.isolated))
    }

    /// Waits until nothing is left of the connection: no channel actor, also none that reads what came before a loss,
    /// no connection of an isolated channel, and no actor of its own.
    pub(crate) async fn nothing_left(&self) {
        let _ = self.actor.wait(None).await;
        let _ = self.shared.isolated.subscribe().wait_for(|isolated| *isolated == 0).await;
    }

    /// The connection's error when it is down; `Closed` while it is not.
    pub(crate) fn error(&self) -> ConnectionError {
        self.shared.phases.borrow().reason.clone().unwrap_or(ConnectionError::Closed)
    }

    /// Where in its life the connection is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.phases.borrow().phase
    }

    /// The steps in its life, from now on. `borrow()` has the present one.
    #[must_use]
    pub fn phases(&self) -> watch::Receiver<PhaseEvent> {
        self.shared.phases.clone()
    }

    /// Waits until the peer has seen all that was sent before. False when the connection is gone.
    pub(crate) async fn ask(&self) -> bool {
        let (tx, rx) = oneshot::channel();
        self.tell(ConnectionMsg::Ask(tx)).is_ok() && rx.await.is_ok()
    }

    /// The authenticated user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.shared.facts.user
    }

    /// Everything there is to see: peer, algorithms, counters, channels.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn info(&self) -> Result<ConnectionInfo, ConnectionError> {
        let (tx, rx) = ractor::concurrency::oneshot();
        self.tell(ConnectionMsg::Info(RpcReplyPort::from(tx)))?;
        rx.await.map_err(|_| self.error())
    }

    /// Exchanges keys anew (RFC 4253 section 9). Returns when the new keys are in use.
    ///
    /// # Cancel safety
    /// The exchange goes on when the future is dropped.
    ///
    /// # Errors
    /// `Unsupported` at once on a server: russh 0.65.1 exchanges keys there by its own limits alone
    /// ([`DaemonConfig::rekey`](crate::DaemonConfig::rekey)). The connection ended, or the exchange took longer than [`Timeouts::rekey`](crate::config::Timeouts::rekey), which ends it.
    pub async fn rekey(&self) -> Result<(), ConnectionError> {
        let (tx, rx) = oneshot::channel();
        self.tell(ConnectionMsg::Rekey(tx))?;
        rx.await.unwrap_or_else(|_| Err(self.error()))
    }

    /// Closes the connection now: every channel gets `Closed`, then SSH_MSG_DISCONNECT (RFC 4253 section 11.1).
    /// Returns when the byte stream is closed and every channel actor has ended, at the latest after the close
    /// timeout. Idempotent.
    pub async fn close(&self) {
        if self.tell(ConnectionMsg::Close).is_ok() {
            self.closed().await;
        }
    }

    /// Drains the connection: opens nothing new and waits up to `grace` for the channels to end by themselves. Those
    /// that are left then get eof and CLOSE behind what they have queued. With the last one, or when half of the close
    /// timeout is over, the connection is closed as [`close`](Self::close) does.
    ///
    /// Returns when that is done: at the latest `grace` and the
    /// [close timeout](crate::config::Timeouts::close) later, whatever the peer and the behaviours do. A second call
    /// can only shorten it.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn shutdown(&self, grace: Duration) {
        if self.tell(ConnectionMsg::Shutdown { grace }).is_ok() {
            self.closed().await;
        }
    }

    /// Waits until the connection is gone, and says why.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn closed(&self) -> ConnectionError {
        let mut phases = self.shared.phases.clone();
        let reason = match phases.wait_for(|event| event.phase == Phase::Down).await {
            Ok(event) => event.reason.clone(),
            Err(_) => None,
        };
        reason.unwrap_or(ConnectionError::ActorGone("without a reason".into()))
    }

    /// The ractor actor behind it, to link or monitor.
    #[must_use]
    pub fn actor(&self) -> ActorCell {
        self.actor.get_cell()
    }
}
