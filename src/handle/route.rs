//! Where a channel gets its connection: one that is there, or one that is found when the channel is opened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::connection_ref::ConnectionRef;
use crate::error::OpenError;
use crate::observe::Lineage;

type Find = dyn Fn(Wish) -> BoxFuture<'static, Result<Way, OpenError>> + Send + Sync;

/// A way to a connection.
#[derive(Clone)]
pub(crate) enum Route {
    Here(ConnectionRef),
    Found(Arc<Find>),
}

/// What a connection is wanted for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// A `session` channel, of which servers count how many there are.
    pub(crate) session: bool,
    /// A connection for this channel alone.
    pub(crate) isolated: bool,
    /// Since when it is wanted.
    pub(crate) since: Instant,
    /// One was found before, and had no room after all.
    pub(crate) again: bool,
}

/// A connection that was found.
pub(crate) struct Way {
    pub(crate) connection: ConnectionRef,
    /// It carries this channel alone.
    pub(crate) own: bool,
    pub(crate) claim: Claim,
}

/// Who keeps account of a channel.
#[derive(Clone, Default)]
pub(crate) struct Claim {
    /// Its place in a pool.
    pub(crate) slot: Option<Arc<dyn Slot>>,
    /// Which incarnation of a supervised channel it is.
    pub(crate) lineage: Option<Lineage>,
}

/// A channel's place on its connection. It is free again when this is dropped, which is when nothing is left of the
/// channel: not of its actor, and not on the wire as far as we can see.
pub(crate) trait Slot: Send + Sync + 'static {
    /// The peer has confirmed the channel.
    fn confirmed(&self);

    /// The peer has not answered in time, and may still confirm it. Nobody waits for that.
    fn overdue(&self);

    /// There is no channel, and nothing was asked of the peer on it. Says whether to look for another connection.
    fn not_opened(&self, error: &OpenError) -> bool;

    /// The channel is over.
    fn over(&self, how: Over);
}

/// How a channel has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The peer has closed it first.
    ByPeer,
    ByUs,
    /// It was ended for holding its connection up.
    Stalled,
}

/// A place that is kept, while the channel is on another connection.
struct Kept(#[expect(dead_code, reason = "its drop is what counts")] Arc<dyn Slot>);

impl Slot for Kept {
    fn confirmed(&self) {}

    fn overdue(&self) {}

    fn not_opened(&self, _error: &OpenError) -> bool {
        false
    }

    fn over(&self, _how: Over) {}
}

impl Claim {
    /// For a channel that has a connection of its own: keeps the place, and tells nothing.
    pub(crate) fn elsewhere(self) -> Self {
        Self { slot: self.slot.map(|slot| Arc::new(Kept(slot)) as Arc<dyn Slot>), lineage: self.lineage }
    }
}

/// On which connection a channel is being opened: for a behaviour that has something to do there when it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whereabouts(Arc<Mutex<Option<ConnectionRef>>>);

impl Whereabouts {
    /// It is that one now; or none, while another is looked for.
    pub(crate) fn are(&self, connection: Option<&ConnectionRef>) {
        let before = std::mem::replace(&mut *self.lock(), connection.cloned());
        drop(before);
    }

    /// Which one it was. An address that is kept keeps the connection.
    pub(crate) fn take(&self) -> Option<ConnectionRef> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<ConnectionRef>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    /// The connection is looked for when the channel is opened.
    pub(crate) fn found<F>(find: impl Fn(Wish) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Way, OpenError>> + Send + 'static,
    {
        Self::Found(Arc::new(move |wish| Box::pin(find(wish))))
    }

    pub(crate) async fn way(&self, wish: Wish) -> Result<Way, OpenError> {
        match self {
            Self::Here(connection) => Ok(Way::shared(connection.clone())),
            Self::Found(find) => find(wish).await,
        }
    }
}

impl Way {
    /// A connection that others use, too, and that keeps no account of its channels.
    pub(crate) fn shared(connection: ConnectionRef) -> Self {
        Self { connection, own: false, claim: Claim::default() }
    }

    /// A connection for one channel, which ends with it.
    pub(crate) fn own(connection: ConnectionRef) -> Self {
        Self { connection, own: true, claim: Claim::default() }
    }

    pub(crate) fn with_slot(mut self, slot: Arc<dyn Slot>) -> Self {
        self.claim.slot = Some(slot);
        self
    }

    pub(crate) fn with_lineage(mut self, lineage: Lineage) -> Self {
        self.claim.lineage = Some(lineage);
        self
    }
}

impl From<&ConnectionRef> for Route {
    fn from(connection: &ConnectionRef) -> Self {
        Self::Here(connection.clone())
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(connection) => connection.fmt(f),
            Self::Found(_) => f.write_str("Found"),
        }
    }
}
