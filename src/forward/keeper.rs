//! The actor of a forward: what its connection's tree shows, and what can be monitored, linked and killed.
//!
//! It never waits: the work is done by one task, which tells it what came of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinHandle;

use super::error::ForwardEnd;
use super::state::{ForwardState, Shared};

/// One message to it.
pub(super) enum Order {
    /// The work is over.
    Ended(ForwardEnd),
}

/// Makes the work, for the actor that is shown as its supervisor.
pub(super) type Begin = Box<dyn FnOnce(&ActorRef<Order>) -> BoxFuture<'static, ForwardEnd> + Send>;

pub(super) struct Keeper;

/// The work under way. Dropping it gives it up, connections and all.
pub(super) struct Work {
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.enter(ForwardState::Ended(ForwardEnd::Actor("it was killed".into())));
    }
}

impl Actor for Keeper {
    type Msg = Order;
    type State = Work;
    type Arguments = (Begin, Arc<Shared>);

    async fn pre_start(
        &self,
        myself: ActorRef<Order>,
        (begin, shared): Self::Arguments,
    ) -> Result<Work, ActorProcessingErr> {
        let work = AssertUnwindSafe(begin(&myself));
        let task = tokio::spawn(async move {
            let end = work.catch_unwind().await;
            let end = end.unwrap_or_else(|_| ForwardEnd::Actor("its task panicked".into()));
            let _ = myself.cast(Order::Ended(end));
        });
        Ok(Work { task, shared })
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        Order::Ended(end): Order,
        work: &mut Work,
    ) -> Result<(), ActorProcessingErr> {
        work.shared.enter(ForwardState::Ended(end));
        myself.stop(None);
        Ok(())
    }

    /// Nobody is linked to it unless a user did so; it is not to end by that.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Order>,
        _event: SupervisionEvent,
        _work: &mut Work,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
