//! Listening, and what there is of a running daemon from outside.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::accept::Acceptor;
use super::config::DaemonConfig;
use super::error::DaemonError;
use super::login::{Counters, LoginStats};
use super::peer::{Permits, Plan, attend, stopped};

/// Starts daemons.
///
/// ```
/// use ractor_ssh::wire::keys::generate_ed25519;
/// use ractor_ssh::{Daemon, DaemonConfig, ExecOutput, Router};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = DaemonConfig::new(([127, 0, 0, 1], 0))
///     .host_key(generate_ed25519())
///     .public_key(|attempt, key| async move { attempt.user == "ci" && key == known_key() })
///     .router(Router::new().exec_fn(|request| async move {
///         ExecOutput::ok(format!("you said {}\n", request.command()))
///     }));
/// let daemon = Daemon::start(config).await?;
/// println!("listening on {}", daemon.local_addr());
/// daemon.stop().await;
/// # Ok(())
/// # }
/// # fn known_key() -> ractor_ssh::wire::keys::PublicKey { unimplemented!() }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Daemon;

impl Daemon {
    /// Listens, and serves from then on. Every connection has a task of its own from the start: one that says nothing
    /// delays no other.
    ///
    /// # Cancel safety
    /// Nothing is left when the future is dropped.
    ///
    /// # Errors
    /// A wrong argument, or an address that cannot be listened on.
    pub async fn start(config: DaemonConfig) -> Result<DaemonRef, DaemonError> {
        let plan = Arc::new(Plan::new(config)?);
        let addr = plan.config.listen;
        let failed = |source| DaemonError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let (stop, stopping) = watch::channel(false);
        let (running, done) = watch::channel(());
        let logins = Arc::clone(&plan.logins);
        let work = Work { plan, stop: stopping, _running: running };
        let span = tracing::info_span!("ssh_daemon", listen = %local_addr);
        tokio::spawn(work.run(listener).instrument(span));
        Ok(DaemonRef { shared: Arc::new(Shared { local_addr, stop, done, logins }) })
    }
}

/// A running daemon. Cheap to clone; with the last of them it stops.
#[derive(Clone)]
#[must_use = "the daemon stops when this is dropped"]
pub struct DaemonRef {
    shared: Arc<Shared>,
}

struct Shared {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    /// Closed when the daemon is gone.
    done: watch::Receiver<()>,
    logins: Arc<Counters>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for DaemonRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonRef").field("local_addr", &self.shared.local_addr).finish_non_exhaustive()
    }
}

impl DaemonRef {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// How many logins there were.
    #[must_use]
    pub fn login_stats(&self) -> LoginStats {
        self.shared.logins.snapshot()
    }

    /// Stops listening and ends every connection: its channels get `Closed`, then it is told
    /// SSH_MSG_DISCONNECT. Returns when all of them have ended, at the latest after the close timeout. Idempotent.
    ///
    /// # Cancel safety
    /// The daemon stops even when the future is dropped.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let mut done = self.shared.done.clone();
        while done.changed().await.is_ok() {}
    }
}

/// The task behind a daemon.
struct Work {
    plan: Arc<Plan>,
    stop: watch::Receiver<bool>,
    _running: watch::Sender<()>,
}

impl Work {
    async fn run(mut self, listener: TcpListener) {
        let connections =
            Arc::new(Semaphore::new(self.plan.config.max_connections.min(Semaphore::MAX_PERMITS)));
        let unauthenticated =
            Arc::new(Semaphore::new(self.plan.config.max_unauthenticated.min(Semaphore::MAX_PERMITS)));
        let mut acceptor = Acceptor::new(listener);
        let mut tasks = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
                accepted = acceptor.next() => accepted,
            };
            if self.plan.penalties.is_barred(peer.ip()) {
                self.plan.logins.barred();
                tracing::debug!(%peer, "turned away for its refused logins");
                continue;
            }
            let permits = (
                Arc::clone(&connections).try_acquire_owned(),
                Arc::clone(&unauthenticated).try_acquire_owned(),
            );
            if let (Ok(connection), Ok(unauthenticated)) = permits {
                let permits = Permits { connection, unauthenticated };
                self.serve(&mut tasks, stream, peer, permits);
            } else {
                tracing::warn!(%peer, "too many connections; one was turned away");
            }
        }
        drop(acceptor);
        while tasks.join_next().await.is_some() {}
    }

    fn serve(&self, tasks: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr, permits: Permits) {
        let addresses = (Some(peer), stream.local_addr().ok());
        let connection = attend(Arc::clone(&self.plan), stream, addresses, permits, self.stop.clone());
        tasks.spawn(connection.instrument(tracing::info_span!("ssh_peer", %peer)));
    }
}
