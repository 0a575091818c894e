//! The address of a pool.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::PoolConfig;
use super::desk::{Common, Desk};
use super::host::Host;
use super::info::{PoolCounters, PoolInfo};
use super::key::Key;
use crate::client::{Client, ClientConfig};
use crate::error::ConfigError;

/// What connections have after their end, to be gone in time.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Connections to many hosts, shared by many callers. See [`pool`](crate::pool).
///
/// Cheap to clone. Its hosts and their supervised channels hold one too. When the last one is dropped, nothing is
/// connected any more, and every connection ends with its last channel.
#[derive(Clone)]
pub struct Pool {
    address: Arc<Address>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("hosts", &self.address.lock().desks.len())
            .field("is_closed", &self.address.common.closing.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// What all addresses of a pool share.
pub(super) struct Address {
    common: Arc<Common>,
    hosts: Mutex<Hosts>,
    spots: AtomicU64,
}

#[derive(Default)]
struct Hosts {
    desks: HashMap<Key, Arc<Desk>>,
    /// After the next one that is new, look for those that nobody needs.
    sweep_at: usize,
    /// Counted by those that were forgotten.
    counters: PoolCounters,
}

#[allow(clippy::mutable_key_type, reason = "a key is compared by what cannot change")]
impl Drop for Address {
    fn drop(&mut self) {
        self.common.closing.cancel();
        let desks = std::mem::take(&mut self.lock().desks);
        desks.values().for_each(|desk| desk.forget());
    }
}

impl Address {
    fn lock(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of one more supervised channel.
    pub(super) fn next_spot(&self) -> u64 {
        self.spots.fetch_add(1, Ordering::Relaxed)
    }

    fn desks(&self) -> Vec<Arc<Desk>> {
        self.lock().desks.values().cloned().collect()
    }

    fn desk(&self, key: Key, client: &Client) -> Arc<Desk> {
        let mut hosts = self.lock();
        if let Some(desk) = hosts.desks.get(&key) {
            return Arc::clone(desk);
        }
        let unused = if hosts.desks.len() >= hosts.sweep_at { hosts.sweep() } else { Vec::new() };
        let desk = Desk::new(key.clone(), client, Arc::clone(&self.common));
        hosts.desks.insert(key, Arc::clone(&desk));
        drop(hosts);
        // With them go configurations, and what users have put into those.
        drop(unused);
        desk
    }
}

impl Hosts {
    /// Forgets hosts that have no connection and that nobody holds.
    fn sweep(&mut self) -> Vec<Arc<Desk>> {
        let mut unused = Vec::new();
        let Self { desks, counters, sweep_at } = self;
        desks.retain(|_, desk| {
            // Others get one from here only, and the lock is held.
            let needed = Arc::strong_count(desk) > 1 || !desk.is_unused();
            if !needed {
                counters.add(&desk.counters());
                unused.push(Arc::clone(desk));
            }
            needed
        });
        *sweep_at = desks.len().saturating_mul(2).max(64);
        unused
    }
}

impl Pool {
    /// A pool without connections. Nothing happens yet.
    ///
    /// # Errors
    /// Wrong values in the configuration, each with the way out.
    pub fn new(config: PoolConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let permits = config.handshakes.min(Semaphore::MAX_PERMITS);
        let common = Common {
            tracker: TaskTracker::new(),
            handshakes: Arc::new(Semaphore::new(permits)),
            closing: CancellationToken::new(),
            hosts: AtomicU64::new(0),
            config,
        };
        let hosts = Mutex::new(Hosts::default());
        Ok(Self { address: Arc::new(Address { common: Arc::new(common), hosts, spots: AtomicU64::new(0) }) })
    }

    /// The host a client connects to, under the client's identity. Connects nothing yet.
    ///
    /// Connections are shared by calls with the same client or a clone of it, and by nobody else: who we are cannot be
    /// told from what a configuration looks like. Two clients made from equal configurations are two identities. Keep the
    /// client, or name the identity: [`get_as`](Self::get_as).
    ///
    /// ```
    /// use ractor_ssh::{Client, ClientConfig, Pool, PoolConfig};
    ///
    /// let pool = Pool::new(PoolConfig::new())?;
    /// let client = Client::new(ClientConfig::new("build.example.org", "ci"));
    /// let host = pool.get(client.clone());
    /// let same = pool.get(client);
    /// assert_eq!(host, same);
    /// # Ok::<(), ractor_ssh::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn get(&self, client: impl Into<Client>) -> Host {
        let client = client.into();
        self.host(Key::of(&client), &client)
    }

    /// As [`get`](Self::get), under an identity that you have given a name.
    ///
    /// Connections are shared by calls with the same name, host, port, user and way of dialling, whichever client they
    /// come with: the configuration of the first one counts, its credentials and its host key policy too. So give
    /// different names where these differ. Ways of dialling ([`ClientConfig::dial_with`]) are the same when one
    /// configuration is a clone of the other.
    #[must_use]
    pub fn get_as(&self, identity: impl AsRef<str>, client: impl Into<Client>) -> Host {
        let client = client.into();
        self.host(Key::named(&client, identity.as_ref().into()), &client)
    }

    pub(super) fn desks(&self) -> Vec<Arc<Desk>> {
        self.address.desks()
    }

    fn host(&self, key: Key, client: &Client) -> Host {
        Host::new(Arc::clone(&self.address), self.address.desk(key, client))
    }

    /// Everything there is to see. Answered without asking an actor.
    #[must_use]
    pub fn info(&self) -> PoolInfo {
        let common = &self.address.common;
        let mut hosts: Vec<_> = self.address.desks().iter().map(|desk| desk.info()).collect();
        hosts.sort_by(|a, b| (&a.target, &a.user, &a.identity).cmp(&(&b.target, &b.user, &b.identity)));
        let mut counters = self.address.lock().counters;
        hosts.iter().for_each(|host| counters.add(&host.counters));
        let max_handshakes = common.config.handshakes.min(Semaphore::MAX_PERMITS);
        PoolInfo {
            hosts,
            handshakes: max_handshakes.saturating_sub(common.handshakes.available_permits()),
            max_handshakes,
            is_closed: common.closing.is_cancelled(),
            counters,
        }
    }

    /// Closes the pool now: callers that wait get [`PoolClosed`](crate::error::OpenError::PoolClosed), and so does
    /// everybody who comes later; all connections are [closed](crate::ConnectionRef::close). Returns when nothing is
    /// left of it: no task, no actor, no socket; after the clients' close timeout at the latest, unless something is stuck
    /// that cannot be closed: that is killed 5 s later. Idempotent.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn close(&self) {
        self.end(None).await;
    }

    /// Drains the pool: callers that wait get [`PoolClosed`](crate::error::OpenError::PoolClosed), and so does
    /// everybody who comes later; channels have `grace` to end by themselves, and none is started again. Then as
    /// [`close`](Self::close), which may be called to be done earlier.
    ///
    /// # Cancel safety
    /// It goes on when the future is dropped.
    pub async fn shutdown(&self, grace: Duration) {
        self.end(Some(grace)).await;
    }

    async fn end(&self, grace: Option<Duration>) {
        let common = &self.address.common;
        common.closing.cancel();
        let desks = self.address.desks();
        let close = desks.iter().map(|desk| desk.client.config().close_timeout()).max().unwrap_or_default();
        desks.iter().for_each(|desk| desk.end(grace));
        common.tracker.close();
        let limit = grace.unwrap_or_default().saturating_add(close).saturating_add(LAST_WORDS);
        if tokio::time::timeout(limit, common.tracker.wait()).await.is_err() {
            tracing::error!("a pool was not closed in time: what is left of it is killed");
            desks.iter().for_each(|desk| desk.kill());
            let _ = tokio::time::timeout(LAST_WORDS, common.tracker.wait()).await;
        }
    }
}

impl From<ClientConfig> for Client {
    fn from(config: ClientConfig) -> Self {
        Self::new(config)
    }
}

impl From<&Self> for Client {
    fn from(client: &Self) -> Self {
        client.clone()
    }
}
