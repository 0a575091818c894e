//! The desk of one host: takes those who want a place, gives places out, and takes them back.
//!
//! One lock, held for a look or a change; nothing is awaited, sent or dropped under it that could come back here. What
//! takes time is done by one *warden* per connection, a task that is woken when there is something for it to do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::accounts::{Accounts, Left, Ticket, Verdict};
use super::config::PoolConfig;
use super::info::{Duty, Eviction, HostInfo, PoolCounters, PooledInfo};
use super::isolated::Isolated;
use super::key::Key;
use super::lease::Lease;
use super::meter::Meter;
use super::queue::{Queue, Rank, Waiter, Want};
use super::warden;
use crate::client::{Client, Gate};
use crate::error::OpenError;
use crate::handle::ConnectionRef;
use crate::handle::route::{Way, Wish};
use crate::managed::ManagedRef;
use crate::metrics;
use crate::observe::WatchList;

/// What all hosts of a pool share.
pub(super) struct Common {
    pub(super) config: PoolConfig,
    /// Everything of the pool that is not over: wardens, places, supervised channels.
    pub(super) tracker: TaskTracker,
    pub(super) handshakes: Arc<Semaphore>,
    /// Ends when the pool is closed.
    pub(super) closing: CancellationToken,
    /// How many hosts it has had.
    pub(super) hosts: AtomicU64,
}

pub(super) struct Desk {
    /// Which host of the pool it is.
    pub(super) number: u64,
    pub(super) key: Key,
    pub(super) client: Client,
    pub(super) common: Arc<Common>,
    pub(super) isolated: Isolated,
    /// Its supervised channels, for those who look.
    pub(super) watched: WatchList,
    handshakes: Arc<Semaphore>,
    /// Where callers are; places may be given back elsewhere.
    runtime: OnceLock<Handle>,
    inner: Mutex<Inner>,
    /// Locked before `inner`, never after it: a recorder is user code.
    meter: Mutex<Meter>,
}

struct Inner {
    accounts: Accounts,
    connections: BTreeMap<u64, Pooled>,
    queue: Queue,
    supervised: usize,
    closed: bool,
    counters: PoolCounters,
}

/// A connection, to the desk.
struct Pooled {
    managed: Option<ManagedRef>,
    live: Option<ConnectionRef>,
    duty: Duty,
    /// How long its channels may take when it is not serving any more.
    grace: Duration,
    /// When its warden will look for a process that has ended.
    due: Option<Instant>,
    /// Its server is to be asked whether it has noticed the ends of channels.
    ask: bool,
    wake: Arc<Notify>,
}

/// What a warden is to do.
pub(super) enum Orders {
    /// Wait, until then at most.
    Stay { idle_at: Option<Instant>, try_at: Option<Instant>, ask: Option<Question> },
    /// Have its channels end, and close.
    Leave { grace: Duration },
    /// Let go of it.
    Vanish,
}

/// Whether a server has noticed the ends of channels.
pub(super) struct Question {
    pub(super) connection: ConnectionRef,
    pub(super) generation: u64,
    pub(super) places: usize,
}

/// What comes next at a desk.
enum Step {
    Give(Waiter, Way),
    /// The end of the pool waits for it from now on.
    Begin(u64, Arc<Notify>, TaskTrackerToken),
    Nothing,
}

impl Desk {
    pub(super) fn new(key: Key, client: &Client, common: Arc<Common>) -> Arc<Self> {
        let config = &common.config;
        let handshakes = Arc::new(Semaphore::new(config.handshakes_per_host.min(Semaphore::MAX_PERMITS)));
        let (here, all) = (Arc::clone(&handshakes), Arc::clone(&common.handshakes));
        // The host's own limit first: who waits for a slow host must not keep others from theirs.
        let gate = Gate::new(move || {
            let (here, all) = (Arc::clone(&here), Arc::clone(&all));
            async move { (here.acquire_owned().await, all.acquire_owned().await) }
        });
        let inner = Inner {
            accounts: Accounts::new(config),
            connections: BTreeMap::new(),
            queue: Queue::default(),
            supervised: 0,
            closed: false,
            counters: PoolCounters::default(),
        };
        let client = Client::new(client.config().clone().gated(gate));
        Arc::new(Self {
            number: common.hosts.fetch_add(1, Ordering::Relaxed),
            isolated: Isolated::new(&client, config.max_isolated),
            watched: WatchList::default(),
            client,
            key,
            common,
            handshakes,
            runtime: OnceLock::new(),
            inner: Mutex::new(inner),
            meter: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut PoolCounters)) {
        change(&mut self.lock().counters);
        self.tell_metrics();
    }

    // ---- for callers ----------------------------------------------------------------------------

    /// Waits for a place.
    pub(super) async fn way(self: &Arc<Self>, wish: Wish) -> Result<Way, OpenError> {
        self.wanted(wish, Want::channel(wish.session)).await
    }

    pub(super) async fn wanted(self: &Arc<Self>, wish: Wish, want: Want) -> Result<Way, OpenError> {
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

    /// Joins the queue, if it has a bound only if there is room. Whoever drops the receiver leaves it.
    pub(super) fn queue_up(
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
            return Err(OpenError::QueueFull { bound });
        }
        Ok(given)
    }

    /// Gives out what there is, and has made what is missing.
    fn serve(self: &Arc<Self>) {
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

    fn tell_metrics(&self) {
        if metrics::is_on() {
            let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
            let (counters, waiting) = {
                let mut inner = self.lock();
                (inner.counters, inner.queue.len())
            };
            meter.tell(&counters, waiting);
        }
    }

    fn next_step(self: &Arc<Self>) -> Step {
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

    fn begin(self: &Arc<Self>, number: u64, wake: Arc<Notify>) {
        let Some(runtime) = self.runtime.get() else { return };
        let warden = warden::watch(Arc::clone(self), number, wake);
        self.common.tracker.spawn_on(warden, runtime);
    }

    /// What those who wait are waiting for, in words.
    pub(super) fn describe(&self) -> String {
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

    // ---- for places -----------------------------------------------------------------------------

    pub(super) fn confirmed(self: &Arc<Self>, ticket: Ticket) {
        let now = Instant::now();
        let mut inner = self.lock();
        let before = inner.accounts.limit(now);
        inner.accounts.confirmed(ticket, now);
        let more = inner.accounts.limit(now) > before;
        drop(inner);
        if more {
            self.serve();
        }
    }

    pub(super) fn not_opened(self: &Arc<Self>, ticket: Ticket, error: &OpenError) -> bool {
        let mut inner = self.lock();
        let verdict = match error {
            OpenError::Refused { .. } => {
                let now = Instant::now();
                let verdict = inner.accounts.refused(ticket, now);
                inner.accounts.release(ticket, Left::Nothing, now);
                inner.wake_if_unused(ticket.number);
                verdict
            }
            OpenError::TooManyChannels { .. } => inner.accounts.refused(ticket, Instant::now()),
            OpenError::Timeout { .. } => inner.accounts.not_opened(ticket),
            // It has ended, or is being closed, and the warden has not heard of it yet; or the caller has not for long.
            OpenError::Draining | OpenError::Connection(_) => {
                inner.accounts.lost(ticket);
                Verdict::Again
            }
            _ => Verdict::Tell,
        };
        match verdict {
            Verdict::Again => inner.counters.put_back += 1,
            Verdict::Leave => {
                inner.counters.put_back += 1;
                inner.leave(ticket.number, Duty::Evicted(Eviction::Lingering), self.common.config.drain);
            }
            Verdict::Tell => inner.counters.not_opened += 1,
            Verdict::Evict => {
                inner.counters.not_opened += 1;
                inner.leave(ticket.number, Duty::Evicted(Eviction::FailedOpens), self.common.config.drain);
            }
        }
        let again = matches!(verdict, Verdict::Again | Verdict::Leave) && !inner.closed;
        drop(inner);
        if !again {
            self.serve();
        }
        again
    }

    pub(super) fn overdue(&self, ticket: Ticket) {
        let mut inner = self.lock();
        if let Some(why) = inner.accounts.overdue(ticket, Instant::now()) {
            inner.leave(ticket.number, Duty::Evicted(why), self.common.config.drain);
        }
    }

    pub(super) fn not_overdue(&self, ticket: Ticket) {
        self.lock().accounts.not_overdue(ticket);
    }

    pub(super) fn stalled(&self, ticket: Ticket) {
        let mut inner = self.lock();
        if let Some(why) = inner.accounts.stalled(ticket) {
            inner.leave(ticket.number, Duty::Evicted(why), self.common.config.drain);
        }
    }

    pub(super) fn release(self: &Arc<Self>, ticket: Ticket, left: Left) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.accounts.release(ticket, left, now);
        if let Some(account) = inner.accounts.get(ticket.number) {
            let ask = account.settling.saturating_mul(2) > inner.accounts.limit(now);
            if ask {
                inner.ask(ticket.number);
            }
            inner.wake_if_unused(ticket.number);
        }
        drop(inner);
        self.serve();
    }

    /// One more supervised channel, or one less.
    pub(super) fn supervised(&self, comes: bool) {
        let mut inner = self.lock();
        inner.supervised = if comes { inner.supervised + 1 } else { inner.supervised.saturating_sub(1) };
        for pooled in inner.connections.values() {
            pooled.wake.notify_one();
        }
    }

    /// The connection is to be ended, with all of its channels.
    pub(super) fn escalate(&self, connection: &ConnectionRef) {
        let mut inner = self.lock();
        let found = inner
            .connections
            .iter()
            .find(|(_, pooled)| pooled.live.as_ref().is_some_and(|live| live.is_same(connection)));
        if let Some(number) = found.map(|(number, _)| *number) {
            inner.leave(number, Duty::Evicted(Eviction::Escalated), Duration::ZERO);
        }
    }

    // ---- for wardens ----------------------------------------------------------------------------

    /// The connection has its keeper. False when nobody wants it any more.
    pub(super) fn install(&self, number: u64, managed: &ManagedRef) -> bool {
        let mut inner = self.lock();
        let Some(pooled) = inner.connections.get_mut(&number) else { return false };
        pooled.managed = Some(managed.clone());
        true
    }

    /// Where the connection is now.
    pub(super) fn observe(self: &Arc<Self>, number: u64, current: Option<ConnectionRef>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Some(pooled) = inner.connections.get_mut(&number) else { return };
        let before = match (&pooled.live, &current) {
            (Some(live), Some(current)) if live.is_same(current) => None,
            (None, None) => None,
            (_, None) => {
                inner.accounts.down(number);
                pooled.live.take()
            }
            (_, Some(_)) => {
                inner.accounts.up(number, Instant::now());
                std::mem::replace(&mut pooled.live, current)
            }
        };
        drop(guard);
        drop(before);
        self.serve();
    }

    /// What is to be done about the connection. One question at a time is under way.
    pub(super) fn orders(&self, number: u64, may_ask: bool) -> Orders {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let idle_at = inner.idle_at(number, self.common.config.idle);
        let waits = inner.queue.first() == Some(Want::Session);
        let try_at = inner.accounts.try_at(number).filter(|_| waits);
        let Some(pooled) = inner.connections.get_mut(&number) else { return Orders::Vanish };
        pooled.due = try_at;
        if pooled.duty != Duty::Serving {
            return Orders::Leave { grace: pooled.grace };
        }
        let Some(account) = inner.accounts.get(number) else { return Orders::Vanish };
        let ask = match &pooled.live {
            Some(live)
                if may_ask && account.live && account.settling > 0 && std::mem::take(&mut pooled.ask) =>
            {
                Some(Question {
                    connection: live.clone(),
                    generation: account.generation,
                    places: account.settling,
                })
            }
            _ => None,
        };
        Orders::Stay { idle_at, try_at, ask }
    }

    /// The connection has been idle for long enough, unless somebody has come in between.
    pub(super) fn idle(&self, number: u64) {
        let mut inner = self.lock();
        let at = inner.idle_at(number, self.common.config.idle);
        if at.is_some_and(|at| at <= Instant::now()) {
            inner.leave(number, Duty::Idle, Duration::ZERO);
        }
    }

    /// Somebody may have a place by now.
    pub(super) fn look_again(self: &Arc<Self>) {
        self.serve();
    }

    /// The server has noticed so many ends of channels.
    pub(super) fn settled(self: &Arc<Self>, number: u64, generation: u64, places: usize) {
        self.lock().accounts.settled(number, generation, places);
        self.serve();
    }

    /// Nothing is left of the connection. With an error, it could not be made, and there will be none.
    pub(super) fn gone(self: &Arc<Self>, number: u64, error: Option<OpenError>) {
        let mut inner = self.lock();
        let pooled = inner.connections.remove(&number);
        let mut told = Vec::new();
        match (&pooled, &error) {
            (Some(pooled), Some(_)) if pooled.duty == Duty::Serving => {
                inner.counters.failed += 1;
                if !inner.accounts.failed(number, Instant::now()) {
                    told = inner.queue.take_all();
                }
            }
            _ => inner.accounts.close(number),
        }
        drop(inner);
        drop(pooled);
        if let Some(error) = error {
            for waiter in told {
                let _ = waiter.give.send(Err(error.clone()));
            }
        }
        self.serve();
    }

    // ---- the end --------------------------------------------------------------------------------

    /// Nobody gets a place any more, and all connections are ended: drained, or closed at once.
    pub(super) fn end(&self, grace: Option<Duration>) {
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
    pub(super) fn forget(&self) {
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
    pub(super) fn kill(&self) {
        let managed: Vec<_> =
            self.lock().connections.values().filter_map(|pooled| pooled.managed.clone()).collect();
        for managed in managed {
            managed.keeper().kill();
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        let mut inner = self.lock();
        inner.connections.is_empty() && inner.queue.len() == 0 && inner.supervised == 0
    }

    pub(super) fn counters(&self) -> PoolCounters {
        self.lock().counters
    }

    /// Its managed connections, by their numbers.
    pub(super) fn managed(&self) -> Vec<(u64, ManagedRef)> {
        let inner = self.lock();
        let managed = |(number, pooled): (&u64, &Pooled)| Some((*number, pooled.managed.clone()?));
        inner.connections.iter().filter_map(managed).collect()
    }

    pub(super) fn info(&self) -> HostInfo {
        let now = Instant::now();
        let mut inner = self.lock();
        let waiting = inner.queue.len();
        let connections = inner.connections.iter().map(|(number, pooled)| {
            let account = inner.accounts.get(*number);
            PooledInfo {
                number: *number,
                duty: pooled.duty,
                managed: pooled.managed.as_ref().map(ManagedRef::info),
                sessions: account.map_or(0, |account| account.used),
                settling: account.map_or(0, |account| account.settling),
                lingering: account.map_or(0, |account| account.lingering),
                others: account.map_or(0, |account| account.others),
                stalls: account.map_or(0, |account| account.stalls),
            }
        });
        let config = self.client.config();
        let permits = self.common.config.handshakes_per_host.min(Semaphore::MAX_PERMITS);
        HostInfo {
            target: config.target(),
            user: config.user().to_owned(),
            identity: self.key.name().map(str::to_owned),
            connections: connections.collect(),
            limit: inner.accounts.limit(now),
            learned: inner.accounts.learned(),
            waiting,
            waiting_isolated: self.isolated.waiting(),
            supervised: inner.supervised,
            isolated: self.isolated.len(),
            handshakes: permits.saturating_sub(self.handshakes.available_permits()),
            counters: inner.counters,
        }
    }
}

impl Inner {
    /// Has the server asked whether it has noticed the ends of channels.
    fn ask(&mut self, number: u64) {
        if let Some(pooled) = self.connections.get_mut(&number)
            && !std::mem::replace(&mut pooled.ask, true)
        {
            pooled.wake.notify_one();
        }
    }

    fn wake_if_unused(&self, number: u64) {
        if self.accounts.get(number).is_some_and(super::accounts::Account::is_unused)
            && let Some(pooled) = self.connections.get(&number)
        {
            pooled.wake.notify_one();
        }
    }

    /// When the connection is to be closed if nobody comes.
    fn idle_at(&mut self, number: u64, limit: Duration) -> Option<Instant> {
        let last = self.supervised > 0 && self.accounts.serving() <= 1;
        if last || self.queue.first().is_some() {
            return None;
        }
        let account = self.accounts.get(number).filter(|account| account.is_unused())?;
        account.unused_since.checked_add(limit)
    }

    /// The connection gets no channels any more.
    fn leave(&mut self, number: u64, duty: Duty, grace: Duration) {
        if !self.accounts.retire(number) {
            return;
        }
        match duty {
            Duty::Evicted(why) => {
                self.counters.evictions += 1;
                tracing::warn!(number, %why, "a pooled connection is evicted");
            }
            Duty::Idle => self.counters.idled += 1,
            _ => {}
        }
        if let Some(pooled) = self.connections.get_mut(&number) {
            pooled.duty = duty;
            pooled.grace = grace;
            pooled.wake.notify_one();
        }
    }
}
