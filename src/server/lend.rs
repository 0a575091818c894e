//! What a client lends to the processes of a session: its agent, its display. Each is a listener here; every connection to
//! it becomes a channel towards the client.
//!
//! Owned by the session channel that asked, and gone with it. Sockets and files are made, and removed, by threads that may
//! block.

mod account;
mod display;
#[cfg(unix)]
mod socket;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::ActorRef;
use tempfile::TempDir;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

pub(super) use self::account::{Kind, LendLimits, Lending, Place};
use self::display::LentDisplay;
#[cfg(unix)]
use self::socket::LentAgent;
use super::forward::relay;
use super::request::{NewSession, X11Session};
use crate::channel::open::open_towards_client;
use crate::config::ChannelOptions;
use crate::handle::msg::ConnectionMsg;
use crate::session::Socket;
use crate::wire::open::OpenRequest;
use crate::wire::request::X11Request;
use crate::x11::private_directory;

/// Whether a session may have something.
pub(super) type Policy = Arc<dyn Fn(&NewSession) -> bool + Send + Sync>;

/// Asks a policy. One that panics says no.
pub(super) fn allows(policy: Option<&Policy>, session: &NewSession) -> bool {
    let Some(policy) = policy else { return false };
    catch_unwind(AssertUnwindSafe(|| policy(session))).unwrap_or_else(|_| {
        tracing::error!("the function that decides about forwarding panicked");
        false
    })
}

/// What is lent to one session.
#[derive(Debug, Clone, Default)]
pub(super) struct Loans(Arc<Mutex<Lent>>);

#[derive(Debug, Default)]
struct Lent {
    #[cfg(unix)]
    agent: Option<LentAgent>,
    display: Option<LentDisplay>,
}

impl Loans {
    pub(super) fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Agent => self.agent_socket().is_some(),
            Kind::Display => self.x11().is_some(),
        }
    }

    /// Lends the agent. Done when its socket is there; must be called within a runtime.
    #[cfg(unix)]
    pub(super) async fn lend_agent(self, lender: Lender, place: Place) -> bool {
        match blocking(move || LentAgent::start(lender, place)).await {
            Ok(agent) => self.lock().agent = Some(agent),
            Err(error) => {
                tracing::warn!(%error, "no socket for a forwarded agent");
                return false;
            }
        }
        true
    }

    #[cfg(not(unix))]
    pub(super) async fn lend_agent(self, _lender: Lender, _place: Place) -> bool {
        tracing::warn!("there are no Unix sockets here for a forwarded agent");
        false
    }

    /// Lends the display. As above.
    pub(super) async fn lend_display(self, lender: Lender, request: X11Request, place: Place) -> bool {
        match blocking(move || LentDisplay::start(lender, &request, place)).await {
            Ok(display) => self.lock().display = Some(display),
            Err(error) => {
                tracing::warn!(%error, "no display for forwarded X11");
                return false;
            }
        }
        true
    }

    /// Where the agent is reached.
    pub(super) fn agent_socket(&self) -> Option<PathBuf> {
        #[cfg(unix)]
        return self.lock().agent.as_ref().map(LentAgent::socket);
        #[cfg(not(unix))]
        None
    }

    /// How the display is reached.
    pub(super) fn x11(&self) -> Option<X11Session> {
        self.lock().display.as_ref().map(LentDisplay::session)
    }

    fn lock(&self) -> MutexGuard<'_, Lent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what makes system calls that may take their time. It goes on when nobody waits for it any more, and what it made
/// is dropped there.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A directory of a session's own. It is removed by a thread that may block, if there is a runtime with such threads; then
/// its place is free again. Until then, the end of the daemon waits for it.
#[derive(Debug)]
struct Directory(Option<Made>);

#[derive(Debug)]
struct Made {
    // Dropped in this order.
    directory: TempDir,
    place: Place,
}

impl Directory {
    /// A few system calls.
    fn new(prefix: &str, place: Place) -> io::Result<Self> {
        private_directory(prefix).map(|directory| Self(Some(Made { directory, place })))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.as_ref().map(|made| made.directory.path().join(name)).unwrap_or_default()
    }

    /// Runs what listens for those that find this directory.
    fn listens(&self, task: impl Future<Output = ()> + Send + 'static) -> Listens {
        let lives = self.0.as_ref().map(|made| made.place.outlived());
        Listens(tokio::spawn(async move {
            // With its listener; dropped together, when it is aborted.
            let _lives = lives;
            task.await;
        }))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let made = self.0.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // One that shuts down drops it instead.
            drop(runtime.spawn_blocking(move || drop(made)));
        }
    }
}

/// The way to the client.
#[derive(Clone)]
pub(super) struct Lender {
    pub(super) actor: ActorRef<ConnectionMsg>,
    pub(super) options: ChannelOptions,
}

impl Lender {
    /// Opens a channel for a connection that somebody has made, and passes bytes on. If the client refuses, or there is no
    /// room for another channel, the connection is closed.
    fn open(&self, request: OpenRequest, socket: impl Socket + 'static, place: OwnedSemaphorePermit) {
        let (actor, options) = (self.actor.clone(), self.options.clone());
        // Its end is the answer, or that of the connection; there are as many as there are places.
        tokio::spawn(async move {
            let kind = request.channel_type();
            if let Err(error) = open_towards_client(&actor, request, options, relay(socket, place)).await {
                tracing::info!(%error, kind, "a connection to what the client lends is closed");
            }
        });
    }
}

/// A task that ends with this.
#[derive(Debug)]
struct Listens(JoinHandle<()>);

impl Drop for Listens {
    fn drop(&mut self) {
        self.0.abort();
    }
}
