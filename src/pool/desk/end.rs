//! The end of a host.

use std::time::Duration;

use super::Desk;
use crate::error::OpenError;
use crate::pool::info::Duty;

impl Desk {
    /// Nobody gets a place any more, and all connections are ended: drained, or closed at once.
    pub(in crate::pool) fn end(&self, grace: Option<Duration>) {
        let mut inner = self.lock();
        inner.closed = true;
        let waiting = inner.queue.take_all();
        let mut managed = Vec::new();
        for pooled in inner.connections.values_mut() {
            pooled.duty = Duty::Closing;
            pooled.grace = grace.unwrap_or_default();
            pooled.wake.notify_one();
            managed.extend(pooled.managed.clone());
        }
        drop(inner);
        for waiter in waiting {
            let _ = waiter.give.send(Err(OpenError::PoolClosed));
        }
        for managed in managed {
            match (grace, self.runtime.get()) {
                (Some(grace), Some(runtime)) => {
                    let ending = async move { managed.shutdown(grace).await };
                    drop(self.common.tracker.spawn_on(ending, runtime));
                }
                _ => managed.stop(),
            }
        }
        if let Some(runtime) = self.runtime.get() {
            self.isolated.end(grace, &self.common.tracker, runtime);
        }
    }

    /// Nobody can ask for anything any more: connections end with their last channel.
    pub(in crate::pool) fn forget(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let connections = std::mem::take(&mut inner.connections);
        let waiting = inner.queue.take_all();
        drop(inner);
        for pooled in connections.values() {
            pooled.wake.notify_one();
        }
        drop((connections, waiting));
        self.isolated.forget();
    }

    /// Kills what has not ended in time.
    pub(in crate::pool) fn kill(&self) {
        let managed: Vec<_> =
            self.lock().connections.values().filter_map(|pooled| pooled.managed.clone()).collect();
        for managed in managed {
            managed.keeper().kill();
        }
    }

    pub(in crate::pool) fn is_unused(&self) -> bool {
        let mut inner = self.lock();
        inner.connections.is_empty() && inner.queue.len() == 0 && inner.supervised == 0
    }
}
