//! The place of one supervised channel in a pool: whichever connection of its host has room.

use std::sync::{Arc, Weak};

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::desk::Desk;
use super::pool_ref::Address;
use super::queue::{Rank, Want};
use crate::error::{ConnectionError, OpenError};
use crate::handle::ConnectionRef;
use crate::handle::msg::ConnectionMsg;
use crate::observe::Watched;
use crate::supervised::{Admission, Admitted, IncarnationEnd, Place};

/// Keeps its number in the order of declaration, and the pool from being forgotten.
pub(super) struct Spot {
    desk: Arc<Desk>,
    number: u64,
    want: Want,
    /// Why there will be no connection.
    fate: watch::Sender<Option<ConnectionError>>,
    _address: Arc<Address>,
    _token: TaskTrackerToken,
}

impl Spot {
    pub(super) fn new(address: Arc<Address>, desk: Arc<Desk>, session: bool) -> Self {
        let number = address.next_spot();
        desk.supervised(true);
        let token = desk.common.tracker.token();
        let want = Want::channel(session);
        Self { desk, number, want, fate: watch::Sender::new(None), _address: address, _token: token }
    }
}

impl Drop for Spot {
    fn drop(&mut self) {
        self.desk.supervised(false);
    }
}

impl Place for Spot {
    fn admit(&self) -> Admission {
        let given = match self.desk.queue_up(Rank::Supervised(self.number), self.want, false) {
            Ok(given) => given,
            Err(error) => return Admission::Never(lasting(error)),
        };
        let fate = self.fate.clone();
        Admission::Later(Box::pin(async move {
            match given.await.unwrap_or(Err(OpenError::PoolClosed)) {
                Ok(way) => Some(Admitted { way, turn: None }),
                Err(error) => {
                    fate.send_replace(Some(lasting(error)));
                    None
                }
            }
        }))
    }

    fn gone(&self) -> BoxFuture<'static, ConnectionError> {
        let mut fate = self.fate.subscribe();
        let closing = self.desk.common.closing.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                Ok(error) = async { fate.wait_for(Option::is_some).await.map(|fate| fate.clone()) } => {
                    error.unwrap_or(ConnectionError::Closed)
                }
                () = closing.cancelled() => ConnectionError::Closed,
            }
        })
    }

    /// The pool makes one when it is asked for.
    fn next_up(&self, _lost: &ConnectionRef) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn comes_back(&self) -> bool {
        true
    }

    fn waits_for(&self) -> Option<String> {
        Some(self.desk.describe())
    }

    fn list(&self, channel: Weak<dyn Watched>) {
        self.desk.watched.add(channel);
    }

    fn escalate(&self, connection: &ConnectionRef, _last: &IncarnationEnd) {
        self.desk.escalate(connection);
        let _ = connection.tell(ConnectionMsg::Close);
    }
}

/// What a supervised channel is told that gets no connection any more.
fn lasting(error: OpenError) -> ConnectionError {
    match error {
        OpenError::Connection(error) => error,
        OpenError::PoolClosed => ConnectionError::Closed,
        other => ConnectionError::Abandoned(other.to_string().into()),
    }
}
