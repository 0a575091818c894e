//! The connections of a daemon that live at this moment, and how each is seen from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::error::{ConnectionError, Phase};
use crate::handle::ConnectionRef;
use crate::observe::{Gauges, PhaseEvent};
use crate::transport::russh_server::{HandshakeError, Meter};

/// Which connection of a daemon. Unique in the daemon's life, and growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    pub(super) const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a connection comes from and where it has arrived, as far as its byte stream tells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Addresses {
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
}

/// A connection of a daemon, at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Which one.
    pub id: SessionId,
    /// Who has logged in; nobody before the login.
    pub user: Option<String>,
    /// The peer's address; none for Unix sockets, and for streams served without one.
    pub peer: Option<SocketAddr>,
    /// The address it has connected to, if known.
    pub local: Option<SocketAddr>,
    /// Where in its life it is.
    pub phase: Phase,
    /// How long ago it was taken in.
    pub age: Duration,
    /// After the login, for how long no channel has carried anything; before it, for how long nothing was heard.
    pub idle: Duration,
    /// Bytes read from the byte stream.
    pub bytes_in: u64,
    /// Bytes written to the byte stream.
    pub bytes_out: u64,
    /// Channels there are, opening and closing ones included.
    pub channels_open: usize,
    /// Channels there have been in all.
    pub channels_opened: u64,
    /// Channels that the peer was refused, for whatever reason.
    pub opens_refused: u64,
    /// Requests of the peer that were over a limit, not allowed to its login, or not decided in time.
    pub requests_refused: u64,
    /// Channels ended because their consumers held the connection up.
    pub channels_stalled: u64,
}

/// What is counted on each connection, and of all that have been.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) opens_refused: u64,
    pub(super) requests_refused: u64,
    pub(super) channels_stalled: u64,
}

impl Totals {
    fn add(&mut self, gauges: &Gauges) {
        self.opens_refused += gauges.opens_refused();
        self.requests_refused += gauges.requests_refused();
        self.channels_stalled += gauges.stalled();
    }
}

/// How a connection of a daemon ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The peer took too long to log in.
    #[error("no login: {phase} was not done in {after:?}")]
    LoginTimeout {
        /// The phase that was not done in time.
        phase: Phase,
        /// The time there was for it.
        after: Duration,
    },
    /// The peer did not log in: it was refused too often, went away, or broke the protocol.
    #[error("no login: {phase} failed: {error}")]
    NoLogin {
        /// Where it ended.
        phase: Phase,
        /// Why.
        error: ConnectionError,
    },
    /// The connection was up, and has ended.
    #[error(transparent)]
    Ended(ConnectionError),
}

impl From<HandshakeError> for SessionEnd {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Timeout { phase, after } => Self::LoginTimeout { phase, after },
            HandshakeError::Ended { phase, error } => Self::NoLogin { phase, error },
        }
    }
}

/// One connection.
pub(super) struct Session {
    id: SessionId,
    since: Instant,
    addresses: Addresses,
    phase: watch::Receiver<PhaseEvent>,
    user: OnceLock<String>,
    pub(super) meter: Arc<Meter>,
    pub(super) gauges: Arc<Gauges>,
    /// Once somebody has logged in.
    connection: OnceLock<ConnectionRef>,
    kick: Notify,
}

impl Session {
    pub(super) const fn id(&self) -> SessionId {
        self.id
    }

    /// Somebody has logged in.
    pub(super) fn log_in(&self, user: &str) {
        let _ = self.user.set(user.to_owned());
        self.gauges.used();
    }

    /// The connection is up.
    pub(super) fn is_up_as(&self, connection: &ConnectionRef) {
        let _ = self.connection.set(connection.clone());
    }

    /// The connection that is up, or was.
    pub(super) fn connection(&self) -> Option<&ConnectionRef> {
        self.connection.get()
    }

    /// Resolves when it is to end.
    pub(super) async fn kicked(&self) {
        self.kick.notified().await;
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.borrow().phase
    }

    pub(super) fn info(&self) -> SessionInfo {
        let traffic = self.meter.traffic();
        let user = self.user.get().cloned();
        let heard = || self.meter.last_inbound().unwrap_or(self.since).elapsed();
        SessionInfo {
            id: self.id,
            idle: if user.is_some() { self.gauges.idle() } else { heard() },
            user,
            peer: self.addresses.peer,
            local: self.addresses.local,
            phase: self.phase(),
            age: self.since.elapsed(),
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
            channels_open: self.gauges.channels(),
            channels_opened: self.gauges.opened(),
            opens_refused: self.gauges.opens_refused(),
            requests_refused: self.gauges.requests_refused(),
            channels_stalled: self.gauges.stalled(),
        }
    }
}

/// All of them.
pub(super) struct Registry {
    sessions: Mutex<Entries>,
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Entries {
    last: u64,
    live: BTreeMap<SessionId, Arc<Session>>,
    ended: Totals,
}

impl Default for Registry {
    fn default() -> Self {
        Self { sessions: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Registry {
    /// Enters one that begins, and makes what publishes its phases.
    pub(super) fn enter(self: &Arc<Self>, addresses: Addresses) -> (Entry, watch::Sender<PhaseEvent>) {
        let (phases, phase) = watch::channel(PhaseEvent::new(Phase::Version));
        let mut entries = self.lock();
        entries.last += 1;
        let session = Arc::new(Session {
            id: SessionId(entries.last),
            since: Instant::now(),
            addresses,
            phase,
            user: OnceLock::new(),
            meter: Arc::default(),
            gauges: Arc::new(Gauges::new()),
            connection: OnceLock::new(),
            kick: Notify::new(),
        });
        entries.live.insert(session.id, Arc::clone(&session));
        self.count.send_replace(entries.live.len());
        drop(entries);
        (Entry { registry: Arc::clone(self), session }, phases)
    }

    pub(super) fn infos(&self) -> Vec<SessionInfo> {
        self.live().iter().map(|session| session.info()).collect()
    }

    pub(super) fn live(&self) -> Vec<Arc<Session>> {
        self.lock().live.values().cloned().collect()
    }

    /// Of the connections that are and those that were.
    pub(super) fn totals(&self) -> Totals {
        let entries = self.lock();
        let mut totals = entries.ended;
        entries.live.values().for_each(|session| totals.add(&session.gauges));
        totals
    }

    pub(super) fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// Resolves when there is none.
    pub(super) async fn empty(&self) {
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Ends one; false if there is no such.
    pub(super) fn kick(&self, id: SessionId) -> bool {
        let session = self.lock().live.get(&id).cloned();
        session.inspect(|session| session.kick.notify_one()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is listed as long as this exists.
pub(super) struct Entry {
    registry: Arc<Registry>,
    session: Arc<Session>,
}

impl std::ops::Deref for Entry {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut entries = self.registry.lock();
        entries.live.remove(&self.session.id);
        entries.ended.add(&self.session.gauges);
        self.registry.count.send_replace(entries.live.len());
    }
}
