//! Where the channels of one peer are taken in: counted, given a port, handed to the connection actor; and what is
//! answered to their requests before a behaviour runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::{ActorCell, ActorId, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::permissions::Permissions;
use super::request::{NewSession, SessionKind, SessionRequest};
use super::router::{Router, Sessions, guarded};
use crate::behaviour::HandleTimeouts;
use crate::config::{ChannelOptions, SlowConsumer, WindowAdjust};
use crate::error::{CloseReason, OpenError, StopReason};
use crate::handle::msg::{AcceptCommand, ConnectionMsg, StartChannel};
use crate::port::budget::{ChannelBudget, ConnectionBudget};
use crate::port::event::ChannelMsg;
use crate::port::{Keys, Port, PortSetup};
use crate::transport::door::{Decision, Door, Guest, NewChannel};
use crate::wire::codes::OpenFailureReason;
use crate::wire::pty::PtyRequest;

/// Environment variables kept for a channel, and their bytes.
const MAX_ENV: usize = 256;
const MAX_ENV_BYTES: usize = 64 << 10;

/// The channels of one connection.
pub(super) struct ConnectionDoor {
    pub(super) actor: ActorRef<ConnectionMsg>,
    pub(super) budget: Arc<ConnectionBudget>,
    pub(super) keys: Arc<Keys>,
    pub(super) slots: Slots,
    pub(super) sessions: Sessions,
    pub(super) options: ChannelOptions,
    pub(super) close_timeout: Duration,
    pub(super) user: String,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) permissions: Arc<Permissions>,
}

impl Door for ConnectionDoor {
    fn open_session(&mut self) -> Result<NewChannel, OpenFailureReason> {
        let slot = self.slots.take().ok_or(OpenFailureReason::ResourceShortage)?;
        let adjust = self.options.window_adjust;
        let (start, guest): (Box<dyn StartChannel>, Box<dyn Guest>) = match &self.sessions {
            Sessions::Routed(router) => {
                let (chosen, start) = oneshot::channel();
                (Box::new(Awaited(start)), Box::new(self.routed(Arc::clone(router), chosen)))
            }
            Sessions::Whole(make) => {
                let session = NewSession { user: self.user.clone(), peer: self.peer };
                let start = guarded(make, session, adjust);
                (start.ok_or(OpenFailureReason::ConnectFailed)?, Box::new(Whole))
            }
        };
        let port = self.port();
        let accept =
            AcceptCommand { kind: "session", port: Arc::clone(&port), start, keeps: Some(Box::new(slot)) };
        self.actor.cast(ConnectionMsg::Accept(accept)).map_err(|_| OpenFailureReason::ConnectFailed)?;
        Ok(NewChannel { port, guest })
    }
}

impl ConnectionDoor {
    fn port(&self) -> Arc<Port> {
        let key = self.keys.next();
        let actor = self.actor.clone();
        Port::new(PortSetup {
            key,
            budget: ChannelBudget::new(Arc::clone(&self.budget), self.options.receive_budget),
            high_water: self.options.high_water,
            fail_over_budget: self.options.slow_consumer == SlowConsumer::Fail,
            close_timeout: self.close_timeout,
            epoch: Instant::now(),
            on_gone: Box::new(move || {
                let _ = actor.cast(ConnectionMsg::Gone(key));
            }),
        })
    }

    fn routed(&self, router: Arc<Router>, chosen: oneshot::Sender<Box<dyn StartChannel>>) -> Routed {
        Routed {
            router,
            adjust: self.options.window_adjust,
            user: self.user.clone(),
            peer: self.peer,
            local: self.local,
            permissions: Arc::clone(&self.permissions),
            env: Vec::new(),
            env_bytes: 0,
            pty: None,
            chosen: Some(chosen),
        }
    }
}

/// How many channels there may be. One is counted until it is over on the wire and its actor has ended.
pub(super) struct Slots {
    used: Arc<AtomicUsize>,
    limit: usize,
}

struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    fn take(&self) -> Option<Slot> {
        if self.used.fetch_add(1, Ordering::AcqRel) >= self.limit {
            self.used.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Slot(Arc::clone(&self.used)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A channel whose behaviour gets every request.
struct Whole;

impl Guest for Whole {
    fn request(&mut self, request: ChannelMsg) -> Decision {
        Decision::Deliver(request)
    }
}

/// A channel that waits for the request that says what runs on it.
struct Routed {
    router: Arc<Router>,
    adjust: WindowAdjust,
    user: String,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    permissions: Arc<Permissions>,
    env: Vec<(String, String)>,
    env_bytes: usize,
    pty: Option<PtyRequest>,
    /// Where the connection actor waits; nothing once it runs.
    chosen: Option<oneshot::Sender<Box<dyn StartChannel>>>,
}

impl Guest for Routed {
    fn request(&mut self, request: ChannelMsg) -> Decision {
        if self.chosen.is_none() {
            return Decision::Answer(false);
        }
        Decision::Answer(match request {
            ChannelMsg::Env { name, value, .. } => self.keep_env(name, value),
            ChannelMsg::Pty { .. } if !self.permissions.pty => false,
            ChannelMsg::Pty { request, .. } => {
                self.pty = Some(request);
                true
            }
            ChannelMsg::Exec { command, .. } => self.start(SessionKind::Exec { command }),
            ChannelMsg::Shell { .. } => self.start(SessionKind::Shell),
            ChannelMsg::Subsystem { name, .. } => self.start(SessionKind::Subsystem { name }),
            _ => false,
        })
    }
}

impl Routed {
    fn keep_env(&mut self, name: String, value: String) -> bool {
        let bytes = self.env_bytes + name.len() + value.len();
        if self.env.len() >= MAX_ENV || bytes > MAX_ENV_BYTES {
            return false;
        }
        self.env_bytes = bytes;
        self.env.push((name, value));
        true
    }

    fn start(&mut self, kind: SessionKind) -> bool {
        let request = SessionRequest {
            user: self.user.clone(),
            peer: self.peer,
            local: self.local,
            kind,
            env: self.env.clone(),
            environment: self.permissions.environment.clone(),
            pty: self.pty.clone(),
        };
        let Some(start) = self.router.route(request, self.adjust) else { return false };
        self.chosen.take().is_some_and(|chosen| chosen.send(start).is_ok())
    }
}

/// Starts what a route chooses, when it does.
struct Awaited(oneshot::Receiver<Box<dyn StartChannel>>);

impl StartChannel for Awaited {
    fn start(
        self: Box<Self>,
        port: Arc<Port>,
        timeouts: HandleTimeouts,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Option<ActorId>> {
        async move {
            match self.0.await {
                Ok(start) => start.start(port, timeouts, supervisor).await,
                Err(_) => {
                    port.set_exit(StopReason::Stopped("the channel ended before it was used".into()));
                    port.abandon(CloseReason::Local);
                    None
                }
            }
        }
        .boxed()
    }

    /// Nobody waits for an answer.
    fn refuse(self: Box<Self>, _error: OpenError) {}

    fn behaviour(&self) -> &'static str {
        "chosen by the router"
    }
}
