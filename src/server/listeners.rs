//! What is listened on for the peer of one connection: the sockets, and the channels that are opened for their connections.
//!
//! Each listener has tasks of its own, so nothing of it runs in the connection actor or in the session. They end with the
//! door, and as soon as the connection takes nothing new.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::door::{Login, Reception};
use super::forward;
use super::request::{StreamlocalForward, TcpipForward};
use super::router::Listens;
use super::session_limits::SessionLimits;
use crate::behaviour::ServerChannel;
use crate::channel::open::open_towards_client;
use crate::error::Phase;
use crate::handle::intake::InUse;
#[cfg(unix)]
use crate::listen::UnixSocket;
use crate::listen::{Acceptor, Listen};
use crate::transport::door::{Slot, Slots};
use crate::wire::open::{ListenRequest, OpenRequest};

/// Everything that is listened on for one peer.
pub(super) struct Listeners {
    slots: Slots,
    /// Connections at a time.
    connections: Arc<Semaphore>,
    open: Arc<Mutex<Vec<Listener>>>,
}

/// One of them. Dropping it closes its sockets; connections that were made go on.
struct Listener {
    /// What was asked for, with the port that it got.
    at: ListenRequest,
    _tasks: JoinSet<()>,
    _slot: Slot,
    _in_use: InUse,
}

impl Listeners {
    pub(super) fn new(limits: &SessionLimits) -> Self {
        let connections = limits.max_forwarded.min(Semaphore::MAX_PERMITS);
        Self {
            slots: Slots::new(limits.max_listeners),
            connections: Arc::new(Semaphore::new(connections)),
            open: Arc::default(),
        }
    }

    /// Listens, if the login and the router's policy allow it. Says on which port; 0 for a Unix socket.
    pub(super) fn listen(
        &self,
        reception: &Arc<Reception>,
        request: ListenRequest,
    ) -> BoxFuture<'static, Option<u16>> {
        let Some(slot) = self.slots.take() else {
            tracing::info!(%request, limit = self.slots.limit(), "too many listeners");
            return futures::future::ready(None).boxed();
        };
        let room = Room { reception: Arc::clone(reception), connections: Arc::clone(&self.connections) };
        let open = Arc::clone(&self.open);
        let asked = request.clone();
        let limit = reception.request_timeout;
        let opened = async move {
            match request {
                ListenRequest::Tcpip { address, port } => room.listen_tcpip(address, port).await,
                ListenRequest::Streamlocal { path } => room.listen_streamlocal(path).await,
            }
        };
        let ends = reception.ends();
        let (gauges, actor) = (Arc::clone(&reception.intake.gauges), reception.intake.actor.clone());
        async move {
            let opened = async { tokio::time::timeout(limit, opened).await.ok().flatten() };
            let (port, tasks) = tokio::select! {
                biased;
                () = ends => None,
                opened = opened => opened,
            }?;
            tracing::info!(%asked, port, "listening for the peer");
            let in_use = InUse::new(gauges, actor);
            lock(&open).push(Listener { at: asked.at(port), _tasks: tasks, _slot: slot, _in_use: in_use });
            Some(port)
        }
        .boxed()
    }

    /// Listens there no more. False if nothing was listened on there.
    pub(super) fn end(&self, at: &ListenRequest) -> bool {
        let mut open = lock(&self.open);
        let before = open.len();
        open.retain(|listener| listener.at != *at);
        open.len() < before
    }
}

fn lock(open: &Mutex<Vec<Listener>>) -> MutexGuard<'_, Vec<Listener>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reception {
    /// Resolves when the connection takes nothing new.
    fn ends(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.intake.phase.clone();
        async move {
            let _ = phase.wait_for(|event| event.phase != Phase::Up).await;
        }
    }
}

/// What the tasks of a listener share.
#[derive(Clone)]
struct Room {
    reception: Arc<Reception>,
    connections: Arc<Semaphore>,
}

impl Room {
    fn listens(&self) -> &Listens {
        &self.reception.router.listens
    }

    async fn listen_tcpip(self, address: String, port: u16) -> Option<(u16, JoinSet<()>)> {
        let policy = self.listens().tcpip.clone()?;
        let Login { user, peer, local, permissions } = self.reception.login.clone();
        if !permissions.may_listen(&address, port) {
            return None;
        }
        let asked = TcpipForward { user, peer, local, permissions, address: address.clone(), port };
        if !policy.allows(asked).await {
            return None;
        }
        let bound = self.listens().gateway.bind(&address, port).await;
        let (sockets, port) = bound
            .inspect_err(|error| tracing::info!(?address, port, %error, "cannot listen for the peer"))
            .ok()?;
        let mut tasks = JoinSet::new();
        for socket in sockets {
            let (room, address) = (self.clone(), address.clone());
            tasks.spawn(async move {
                let accepted = |permit, stream: TcpStream| {
                    let from = stream.peer_addr().ok();
                    let request = OpenRequest::ForwardedTcpip {
                        address: address.clone(),
                        port,
                        originator_address: from.map(|from| from.ip().to_string()).unwrap_or_default(),
                        originator_port: from.map_or(0, |from| from.port()),
                    };
                    forward::at_once(&stream);
                    room.open(request, forward::relay(stream, permit));
                };
                room.serve(Tcp(socket), accepted).await;
            });
        }
        Some((port, tasks))
    }

    #[cfg(not(unix))]
    async fn listen_streamlocal(self, _path: String) -> Option<(u16, JoinSet<()>)> {
        None
    }

    #[cfg(unix)]
    async fn listen_streamlocal(self, path: String) -> Option<(u16, JoinSet<()>)> {
        let policy = self.listens().streamlocal.clone()?;
        let Login { user, peer, local, permissions } = self.reception.login.clone();
        if !permissions.may_listen_on_sockets() || !forward::is_plain(&path) {
            return None;
        }
        let asked = StreamlocalForward { user, peer, local, permissions, path: path.clone() };
        if !policy.allows(asked).await {
            return None;
        }
        let place = std::path::Path::new(&path);
        let bound = match self.listens().bind_unlink {
            true => UnixSocket::listen(place).await,
            false => UnixSocket::listen_anew(place),
        };
        let socket =
            bound.inspect_err(|error| tracing::info!(?path, %error, "cannot listen for the peer")).ok()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let accepted = |permit, stream: tokio::net::UnixStream| {
                let request = OpenRequest::ForwardedStreamlocal { path: path.clone() };
                self.open(request, forward::relay(stream, permit));
            };
            self.serve(socket, accepted).await;
        });
        Some((0, tasks))
    }

    /// Accepts connections, not more at a time than there may be, until the connection takes nothing new.
    async fn serve<L: Listen>(&self, listener: L, mut accepted: impl FnMut(OwnedSemaphorePermit, L::Io)) {
        let mut acceptor = Acceptor::new(listener);
        let accepting = async {
            loop {
                let stream = acceptor.next(|| ()).await;
                // One waits here for its turn, the others in the operating system.
                let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
                accepted(permit, stream);
            }
        };
        tokio::select! {
            biased;
            () = self.reception.ends() => {}
            () = accepting => {}
        }
    }

    /// Opens a channel for a connection. If the peer does not want it, the connection is closed.
    fn open(&self, request: OpenRequest, relay: impl ServerChannel) {
        let actor = self.reception.intake.actor.clone();
        let options = self.reception.intake.options.clone();
        tokio::spawn(async move {
            if let Err(error) = open_towards_client(&actor, request, options, relay).await {
                tracing::debug!(%error, "a forwarded connection is closed");
            }
        });
    }
}

struct Tcp(TcpListener);

impl Listen for Tcp {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        self.0.accept().await.map(|(stream, _)| stream)
    }
}

#[cfg(unix)]
impl Listen for UnixSocket {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<Self::Io> {
        Self::accept(self).await
    }
}
