//! What a client lends to the processes of a session: its agent, its display. Each is a listener here; every connection to
//! it becomes a channel towards the client.
//!
//! Owned by the session channel that asked, and gone with it.

mod display;
#[cfg(unix)]
mod socket;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

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
#[derive(Debug, Default)]
pub(super) struct Lent {
    #[cfg(unix)]
    agent: Option<LentAgent>,
    display: Option<LentDisplay>,
}

impl Lent {
    /// Lends the agent. A few system calls; must be called within a runtime.
    #[cfg(unix)]
    pub(super) fn lend_agent(&mut self, lender: Lender) -> bool {
        if self.agent.is_none() {
            match LentAgent::start(lender) {
                Ok(agent) => self.agent = Some(agent),
                Err(error) => tracing::warn!(%error, "no socket for a forwarded agent"),
            }
        }
        self.agent.is_some()
    }

    #[cfg(not(unix))]
    pub(super) fn lend_agent(&mut self, _lender: Lender) -> bool {
        tracing::warn!("there are no Unix sockets here for a forwarded agent");
        false
    }

    /// Lends the display. As above; there is one a session.
    pub(super) fn lend_display(&mut self, lender: Lender, request: &X11Request) -> bool {
        if self.display.is_some() {
            return false;
        }
        match LentDisplay::start(lender, request) {
            Ok(display) => self.display = Some(display),
            Err(error) => tracing::warn!(%error, "no display for forwarded X11"),
        }
        self.display.is_some()
    }

    /// Where the agent is reached.
    pub(super) fn agent_socket(&self) -> Option<PathBuf> {
        #[cfg(unix)]
        return self.agent.as_ref().map(LentAgent::socket);
        #[cfg(not(unix))]
        None
    }

    /// How the display is reached.
    pub(super) fn x11(&self) -> Option<X11Session> {
        self.display.as_ref().map(LentDisplay::session)
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
