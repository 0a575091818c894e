//! What callers do at the desk: queue up, and get places.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Desk, Pooled, Step};
use crate::error::OpenError;
use crate::handle::route::{Way, Wish};
use crate::metrics;
use crate::pool::accounts::Left;
use crate::pool::info::Duty;
use crate::pool::lease::Lease;
use crate::pool::queue::{Rank, Waiter, Want};
use crate::pool::warden;

impl Desk {
    /// Waits for a place.
    pub(in crate::pool) async fn way(self: &Arc<Self>, wish: Wish) -> Result<Way, OpenError> {
        self.wanted(wish, Want::channel(wish.session)).await
    }

    pub(in crate::pool) async fn wanted(self: &Arc<Self>, wish: Wish, want: Want) -> Result<Way, OpenError> {
        let _ = self.runtime.set(Handle::current());
        let limit = self.common.config.wait;
        let until = wish.since.checked_add(limit);
        let found = async {
            if wish.isolated {
                return self.own_way().await;
            }
            let given = self.queue_up(Rank::Caller(wish.since), want, !wish.again)?;
            given.await.unwrap_or(Err(OpenError::PoolClosed))
        };
        match until {
            None => found.await,
            Some(until) => tokio::time::timeout_at(until, found).await.unwrap_or_else(|_| {
                self.count(|counters| counters.timed_out += 1);
                let why = if wish.isolated { self.isolated.describe() } else { self.describe() };
                Err(OpenError::NoTurn { after: limit, why: why.into() })
            }),
        }
    }

    /// Joins the queue; if `bounded`, only if there is room. Whoever drops the receiver leaves it.
    pub(in crate::pool) fn queue_up(
        self: &Arc<Self>,
        rank: Rank,
        want: Want,
        bounded: bool,
    ) -> Result<oneshot::Receiver<Result<Way, OpenError>>, OpenError> {
        let _ = self.runtime.set(Handle::current());
        let (give, given) = oneshot::channel();
        let bound = self.common.config.max_waiting;
        let mut inner = self.lock();
        if inner.closed || self.common.closing.is_cancelled() {
            return Err(OpenError::PoolClosed);
        }
        inner.queue.push(rank, Waiter { want, give });
        drop(inner);
        self.serve();
        // Who could not be served at once needs room in the queue.
        let mut inner = self.lock();
        if bounded && inner.queue.callers(bound) > bound && given.is_empty() {
            inner.counters.turned_away += 1;
            drop(inner);
            self.tell_metrics();
            return Err(OpenError::QueueFull { bound });
        }
        Ok(given)
    }

    /// Gives out what there is, and has made what is missing.
    pub(super) fn serve(self: &Arc<Self>) {
        loop {
            match self.next_step() {
                // One that was not taken comes back by being dropped.
                Step::Give(waiter, way) => drop(waiter.give.send(Ok(way))),
                Step::Begin(number, wake, begun) => {
                    self.begin(number, wake);
                    drop(begun);
                }
                Step::Nothing => break,
            }
        }
        self.tell_metrics();
    }

    pub(super) fn tell_metrics(&self) {
        if metrics::is_on() {
            let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
            let (counters, waiting) = {
                let mut inner = self.lock();
                (inner.counters, inner.queue.len())
            };
            meter.tell(&counters, waiting);
        }
    }

    pub(super) fn next_step(self: &Arc<Self>) -> Step {
        let now = Instant::now();
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Some(want) = inner.queue.first() else { return Step::Nothing };
        let session = want == Want::Session;
        if inner.closed {
            return Step::Nothing;
        }
        let ticket = inner.accounts.take(session, now);
        let ticket = ticket.or_else(|| if session { inner.accounts.attempt(now) } else { None });
        let (ticket, waiter) = match ticket {
            Some(ticket) => (Some(ticket), inner.queue.pop()),
            // Who wants no session needs no place: it is not to wait for one behind those who do.
            None if session && inner.queue.has_other() => match inner.accounts.take(false, now) {
                Some(ticket) => (Some(ticket), inner.queue.pop_other()),
                None => (None, None),
            },
            None => (None, None),
        };
        if let Some(ticket) = ticket {
            let live = inner.connections.get(&ticket.number).and_then(|pooled| pooled.live.clone());
            match (live, waiter) {
                (Some(connection), Some(waiter)) => {
                    inner.counters.granted += 1;
                    let lease = Lease::new(Arc::clone(self), ticket, waiter.want);
                    return Step::Give(waiter, Way::shared(connection).with_slot(Arc::new(lease)));
                }
                _ => inner.accounts.release(ticket, Left::Nothing, now),
            }
        }
        let settling: Vec<u64> = inner.accounts.settling().collect();
        for number in settling {
            inner.ask(number);
        }
        for (number, pooled) in &inner.connections {
            let try_at = inner.accounts.try_at(*number);
            if session && try_at.is_some() && try_at != pooled.due {
                pooled.wake.notify_one();
            }
        }
        let waiting = inner.queue.len();
        if !inner.accounts.wants_more(waiting, now) {
            return Step::Nothing;
        }
        inner.counters.connections += 1;
        let number = inner.accounts.open(now);
        let wake = Arc::new(Notify::new());
        let pooled = Pooled {
            managed: None,
            live: None,
            duty: Duty::Serving,
            grace: Duration::ZERO,
            due: None,
            ask: false,
            wake: Arc::clone(&wake),
        };
        inner.connections.insert(number, pooled);
        Step::Begin(number, wake, self.common.tracker.token())
    }

    pub(super) fn begin(self: &Arc<Self>, number: u64, wake: Arc<Notify>) {
        let Some(runtime) = self.runtime.get() else { return };
        let warden = warden::watch(Arc::clone(self), number, wake);
        self.common.tracker.spawn_on(warden, runtime);
    }

    /// What those who wait are waiting for, in words.
    pub(in crate::pool) fn describe(&self) -> String {
        let now = Instant::now();
        let inner = self.lock();
        let limit = inner.accounts.limit(now);
        let mut words: Vec<String> = Vec::new();
        for (number, pooled) in &inner.connections {
            let used = inner.accounts.get(*number).map_or(0, |account| account.used);
            words.push(match (&pooled.live, &pooled.managed, pooled.duty) {
                (_, _, Duty::Evicted(why)) => format!("connection {number} is being drained: {why}"),
                (Some(_), ..) => format!("connection {number} has {used} of {limit} sessions"),
                (None, Some(managed), _) => format!("connection {number}: {}", managed.state()),
                (None, None, _) => format!("connection {number} is about to be made"),
            });
        }
        if words.is_empty() { "no connection".to_owned() } else { words.join("; ") }
    }
}
