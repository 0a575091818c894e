//! Channels that have a connection of their own: how many there are, and those connections, so that they can be ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::desk::Desk;
use crate::client::Client;
use crate::dial::Streams;
use crate::error::OpenError;
use crate::handle::ConnectionRef;
use crate::handle::route::{Over, Slot, Way};

pub(super) struct Isolated {
    client: Client,
    /// Theirs alone.
    streams: Streams,
    permits: Arc<Semaphore>,
    most: usize,
    /// Those who wait for a permit.
    waiting: AtomicUsize,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    up: HashMap<u64, ConnectionRef>,
}

impl Isolated {
    pub(super) fn new(client: &Client, most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        let (client, streams) = client.apart();
        let permits = Arc::new(Semaphore::new(most));
        Self { client, streams, permits, most, waiting: AtomicUsize::new(0), connections: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.most.saturating_sub(self.permits.available_permits())
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What those who wait are waiting for, in words.
    pub(super) fn describe(&self) -> String {
        format!("{} of {} isolated channels are there or being made", self.len(), self.most)
    }

    /// Waits until there may be one more. Not more than so many wait.
    async fn permit(&self, bound: usize) -> Result<OwnedSemaphorePermit, OpenError> {
        let permits = Arc::clone(&self.permits);
        // There are none while others wait: those get them first.
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            return Ok(permit);
        }
        let one_more = |waiting: usize| (waiting < bound).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Err(OpenError::QueueFull { bound });
        }
        let _waits = Waits(&self.waiting);
        permits.acquire_owned().await.map_err(|_| OpenError::PoolClosed)
    }

    fn enter(&self, connection: ConnectionRef) -> u64 {
        let mut connections = self.lock();
        connections.next += 1;
        let number = connections.next;
        connections.up.insert(number, connection);
        number
    }

    fn leave(&self, number: u64) {
        // With this address goes the connection: it has no channel any more.
        let connection = self.lock().up.remove(&number);
        drop(connection);
    }

    /// Ends all of them.
    pub(super) fn end(&self, grace: Option<Duration>, tracker: &TaskTracker, runtime: &Handle) {
        let connections: Vec<_> = self.lock().up.values().cloned().collect();
        for connection in connections {
            let streams = self.streams.clone();
            tracker.spawn_on(
                async move {
                    match grace {
                        Some(grace) => connection.shutdown(grace).await,
                        None => connection.close().await,
                    }
                    connection.nothing_left().await;
                    streams.all_closed().await;
                },
                runtime,
            );
        }
    }

    /// They end with their channels.
    pub(super) fn forget(&self) {
        let connections = std::mem::take(&mut self.lock().up);
        drop(connections);
    }
}

/// One who waits.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    /// Makes a connection for one channel alone.
    pub(super) async fn own_way(self: &Arc<Self>) -> Result<Way, OpenError> {
        let closing = &self.common.closing;
        let making = async {
            let permit = self.isolated.permit(self.common.config.max_waiting).await.inspect_err(|_| {
                self.count(|counters| counters.turned_away += 1);
            })?;
            let made = self.isolated.client.connect().await;
            made.map(|connection| (connection, permit)).map_err(|e| OpenError::Isolate(e.to_string().into()))
        };
        let (connection, permit) = tokio::select! {
            biased;
            () = closing.cancelled() => return Err(OpenError::PoolClosed),
            made = making => made?,
        };
        let number = self.isolated.enter(connection.clone());
        let token = self.common.tracker.token();
        let lease = OwnLease { desk: Arc::clone(self), number, _permit: permit, _token: token };
        if closing.is_cancelled() {
            return Err(OpenError::PoolClosed);
        }
        self.count(|counters| {
            counters.granted += 1;
            counters.isolated += 1;
        });
        Ok(Way::own(connection).with_slot(Arc::new(lease)))
    }
}

/// The place on a connection that has no other.
struct OwnLease {
    desk: Arc<Desk>,
    number: u64,
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl Slot for OwnLease {
    fn confirmed(&self) {}

    fn overdue(&self) {}

    fn not_opened(&self, _error: &OpenError) -> bool {
        self.desk.count(|counters| counters.not_opened += 1);
        false
    }

    fn over(&self, _how: Over) {}
}

impl Drop for OwnLease {
    fn drop(&mut self) {
        self.desk.isolated.leave(self.number);
    }
}
