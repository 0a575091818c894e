//! The desk of one host: takes those who want a place, gives places out, and takes them back.
//!
//! One lock, held for a look or a change; nothing is awaited, sent or dropped under it that could come back here. What
//! takes time is done by one *warden* per connection, a task that is woken when there is something for it to do.
//!
//! What can be done here is in rooms of its own, by who does it: `callers`, `places`, `wardens`, and the `end`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::accounts::Accounts;
use super::config::PoolConfig;
use super::info::{Duty, HostInfo, PoolCounters, PooledInfo};
use super::isolated::Isolated;
use super::key::Key;
use super::meter::Meter;
use super::queue::{Queue, Waiter};
use crate::client::{Client, Gate};
use crate::handle::ConnectionRef;
use crate::handle::route::Way;
use crate::managed::ManagedRef;
use crate::observe::WatchList;

mod callers;
mod end;
mod places;
mod wardens;

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

    // ---- for those who look ----------------------------------------------------------------------

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
