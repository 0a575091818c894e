//! Starting a daemon, and what there is of a running one from outside.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::DaemonConfig;
use super::error::{DaemonError, ServeError};
use super::house::House;
use super::listen::Socket;
use super::login::LoginStats;
use super::peer::FAR;
use super::session::{Addresses, Session, SessionId, SessionInfo};
use super::tally::DaemonInfo;
use super::tree::{DaemonActor, DaemonArgs, DaemonMsg};
use crate::error::ConfigError;

/// Starts daemons.
///
/// ```
/// use ractor_ssh::wire::keys::generate_ed25519;
/// use ractor_ssh::{Daemon, DaemonConfig, ExecOutput, Router};
///
/// # async fn example(known: ractor_ssh::wire::keys::PublicKey) -> Result<(), Box<dyn std::error::Error>> {
/// let config = DaemonConfig::new(([127, 0, 0, 1], 0))
///     .host_key(generate_ed25519())
///     .public_key(move |attempt, key| {
///         let yes = attempt.user == "ci" && key == known;
///         async move { yes }
///     })
///     .router(Router::new().exec_fn(|request| async move {
///         ExecOutput::ok(format!("you said {}\n", request.command()))
///     }));
/// let daemon = Daemon::start(config).await?;
/// println!("listening on {}", daemon.local_addr());
/// daemon.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Daemon;

impl Daemon {
    /// Listens on every address of the configuration, and serves from then on. Every connection has a task of its own
    /// from the start: one that says nothing delays no other.
    ///
    /// # Cancel safety
    /// Nothing is left when the future is dropped.
    ///
    /// # Errors
    /// A wrong argument, or an address that cannot be listened on; then none of them is.
    pub async fn start(config: DaemonConfig) -> Result<DaemonRef, DaemonError> {
        let house = Arc::new(House::new(config)?);
        let plan = house.plan();
        let (open, opened) = watch::channel(());
        let sockets = listen(&plan.config, &opened).await?;
        drop(opened);
        let local_addrs: Arc<[SocketAddr]> = sockets.iter().filter_map(Socket::local_addr).collect();
        let listening = Arc::new(AtomicUsize::new(0));
        let args = DaemonArgs { house: Arc::clone(&house), sockets, listening: Arc::clone(&listening) };
        let (actor, _) = Actor::spawn(None, DaemonActor, args)
            .await
            .map_err(|error| DaemonError::Actor(error.to_string().into()))?;
        tracing::info!(listen = ?local_addrs, "the daemon has started");
        Ok(DaemonRef { shared: Arc::new(Shared { house, actor, local_addrs, listening, sockets: open }) })
    }
}

async fn listen(config: &DaemonConfig, open: &watch::Receiver<()>) -> Result<Vec<Socket>, DaemonError> {
    let v4 = config.listen.iter().any(SocketAddr::is_ipv4);
    let mut sockets = Vec::new();
    for &addr in &config.listen {
        let socket = Socket::tcp(addr, v4, open.clone());
        sockets.push(socket.map_err(|source| DaemonError::Listen { addr, source })?);
    }
    #[cfg(unix)]
    for path in &config.listen_unix {
        let socket = Socket::unix(path, open.clone()).await;
        sockets.push(socket.map_err(|source| DaemonError::ListenUnix { path: path.clone(), source })?);
    }
    Ok(sockets)
}

/// What there is at least for the removal of files, when connections took their time to end.
const REMOVAL: Duration = Duration::from_secs(1);

/// A running daemon. Cheap to clone; with the last of them it stops.
#[derive(Clone)]
#[must_use = "the daemon stops when this is dropped"]
pub struct DaemonRef {
    shared: Arc<Shared>,
}

struct Shared {
    house: Arc<House>,
    actor: ActorRef<DaemonMsg>,
    local_addrs: Arc<[SocketAddr]>,
    listening: Arc<AtomicUsize>,
    /// Closed when all sockets are.
    sockets: watch::Sender<()>,
}

impl Shared {
    fn end(&self) {
        self.house.stop();
        let _ = self.actor.cast(DaemonMsg::Stop);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for DaemonRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonRef").field("local_addrs", &self.shared.local_addrs).finish_non_exhaustive()
    }
}

impl DaemonRef {
    /// The first TCP address it was started on, with the port the operating system has chosen; `0.0.0.0:0` if it was
    /// started on none.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addrs.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into())
    }

    /// Every TCP address it was started on, in the order of the configuration.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.shared.local_addrs
    }

    /// Serves a byte stream that is connected already: a pipe, a tunnel, a socket that somebody else has accepted.
    ///
    /// Returns at once. It counts as a connection, but for no source address. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The daemon has as many connections as it may, or takes no more; the peer is told, and the stream closed.
    pub fn serve<IO>(&self, io: IO) -> Result<SessionId, ServeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.shared.house.take_in(io, Addresses::default())
    }

    /// As [`serve`](Self::serve), for a stream whose peer is known: logins, hooks and caps see this address.
    ///
    /// # Errors
    /// As those of [`serve`](Self::serve).
    pub fn serve_from<IO>(
        &self,
        io: IO,
        peer: SocketAddr,
        local: Option<SocketAddr>,
    ) -> Result<SessionId, ServeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.shared.house.take_in(io, Addresses { peer: Some(peer), local })
    }

    /// Replaces everything but the addresses, for connections from now on; those that exist keep what they have.
    /// Counts go on: a lower cap ends nobody.
    ///
    /// # Errors
    /// A wrong argument; then nothing is changed.
    pub fn reconfigure(&self, config: DaemonConfig) -> Result<(), ConfigError> {
        self.shared.house.reconfigure(config)
    }

    /// The connections there are, those without a login included, oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.house.sessions.infos()
    }

    /// The connections there are, for those who look.
    pub(super) fn live(&self) -> Vec<Arc<Session>> {
        self.shared.house.sessions.live()
    }

    /// Ends a connection: as [`ConnectionRef::close`](crate::ConnectionRef::close) does, or, without a login, at once.
    /// False if there is no such.
    #[must_use = "the connection may not exist"]
    pub fn kick(&self, id: SessionId) -> bool {
        self.shared.house.sessions.kick(id)
    }

    /// What it counts, and how many connections there are.
    #[must_use]
    pub fn info(&self) -> DaemonInfo {
        self.shared.house.info(self.shared.listening.load(Ordering::Relaxed))
    }

    /// How many logins there were.
    #[must_use]
    pub fn login_stats(&self) -> LoginStats {
        self.shared.house.logins.snapshot()
    }

    /// The actor that supervises the acceptors, one per listener, to link or monitor.
    ///
    /// An acceptor that ends is started again; connections do not notice, and those that wait to be accepted are. When
    /// this actor itself is stopped or killed, the daemon is.
    #[must_use]
    pub fn actor(&self) -> ActorCell {
        self.shared.actor.get_cell()
    }

    /// Stops listening; connections that exist live on, and streams can still be [served](Self::serve). When it
    /// returns, another daemon can listen on the same addresses. Idempotent.
    ///
    /// # Cancel safety
    /// Listening ends even when the future is dropped.
    pub async fn stop_listener(&self) {
        let _ = self.shared.actor.cast(DaemonMsg::StopListening);
        self.shared.sockets.closed().await;
    }

    /// Drains the daemon: takes no more connections, ends those without a login, and shuts the others down with this
    /// grace, as [`ConnectionRef::shutdown`](crate::ConnectionRef::shutdown) does: they end with their last channel, and
    /// channels that are left when the grace is over get eof and CLOSE. Returns how many connections there were then.
    ///
    /// Returns when nothing is left of the daemon: at the latest `grace` and the
    /// [close timeout](crate::config::Timeouts::close) later, whatever the peers do. A second call, and
    /// [`stop`](Self::stop), can only shorten it.
    ///
    /// # Cancel safety
    /// Connections still end as they would when the future is dropped; the daemon stops with its last address.
    pub async fn shutdown(&self, grace: Duration) -> usize {
        let house = &self.shared.house;
        let until = Instant::now() + grace.min(FAR);
        house.drain(until);
        let work = async {
            self.stop_listener().await;
            house.sessions.empty().await;
        };
        tokio::pin!(work);
        let left = match tokio::time::timeout_at(until, &mut work).await {
            Ok(()) => 0,
            Err(_) => {
                let left = house.sessions.len();
                let _ = tokio::time::timeout(house.plan().config.timeouts.close, work).await;
                left
            }
        };
        self.stop().await;
        left
    }

    /// Stops listening and ends every connection: its channels get `Closed`, then it is told
    /// SSH_MSG_DISCONNECT. Returns when all of them have ended, and what was made for their sessions is removed: sockets of
    /// agents, displays and their cookies. At the latest after the [close timeout](crate::config::Timeouts::close), or a second
    /// after the last connection has ended if that is later. Idempotent.
    ///
    /// # Cancel safety
    /// The daemon stops even when the future is dropped.
    pub async fn stop(&self) {
        let house = &self.shared.house;
        let until = Instant::now() + house.plan().config.timeouts.close.min(FAR);
        self.shared.end();
        self.shared.sockets.closed().await;
        house.sessions.empty().await;
        let _ = self.shared.actor.get_cell().wait(None).await;
        let until = until.max(Instant::now() + REMOVAL);
        if tokio::time::timeout_at(until, house.lending.empty()).await.is_err() {
            tracing::warn!("files of lent agents or displays are not removed yet");
        }
    }
}
