//! Where the channels of one peer are taken in: counted, given a port, handed to the connection actor; and what is
//! answered to their requests before a behaviour runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

mod awaited;
#[cfg(test)]
mod tests;
mod visitor;

use awaited::Awaited;
use visitor::{Mode, Routed, Visitor};

use super::lend::{LendLimits, Lender, Lending};
use super::listeners::Listeners;
use super::permissions::Permissions;
use super::request::{DirectStreamlocal, DirectTcpip, NewSession};
use super::router::{Made, Make, Router, guarded};
use super::session_limits::SessionLimits;
use crate::handle::intake::Intake;
use crate::handle::msg::{ConnectionMsg, StartChannel};
use crate::port::Port;
use crate::transport::door::{Admission, Door, Meter, NewChannel, Slot, Slots, Verdict};
use crate::wire::codes::OpenFailureReason;
use crate::wire::open::{ListenRequest, OpenRequest};

/// Who is on the other side, and what a login may do.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) permissions: Arc<Permissions>,
}

/// What all channels of a connection have in common.
pub(super) struct Reception {
    pub(super) intake: Intake,
    pub(super) router: Arc<Router>,
    pub(super) limits: SessionLimits,
    pub(super) lend_limits: LendLimits,
    /// What is lent to sessions of all connections.
    pub(super) lending: Arc<Lending>,
    /// How long a route may take to decide about an open.
    pub(super) open_timeout: Duration,
    /// How long a route may take to decide about a request, and what is lent to be made.
    pub(super) request_timeout: Duration,
    pub(super) login: Login,
}

/// The channels of one connection.
pub(super) struct ConnectionDoor {
    reception: Arc<Reception>,
    slots: Slots,
    sessions: Slots,
    opens: Meter,
    requests: Meter,
    /// What is listened on for the peer.
    listeners: Listeners,
    /// Channels so far.
    opened: u64,
    /// Nothing more is taken in.
    shut: bool,
    /// The connection was told to end.
    expelled: bool,
}

impl ConnectionDoor {
    /// `slots` are the connection's: what we open ourselves takes places, too.
    pub(super) fn new(reception: Reception, slots: Slots) -> Self {
        Self {
            slots,
            sessions: Slots::new(reception.limits.max_sessions),
            opens: Meter::new(reception.limits.opens),
            requests: Meter::new(reception.limits.requests),
            listeners: Listeners::new(&reception.limits),
            reception: Arc::new(reception),
            opened: 0,
            shut: false,
            expelled: false,
        }
    }

    /// A place for one more channel.
    fn one_more(&mut self) -> Option<Slot> {
        match self.opens.one_more() {
            Verdict::Fine if self.shut => None,
            Verdict::Fine if self.opened >= self.reception.limits.max_opens => {
                tracing::info!(opens = self.opened, "the connection has had its share of channels");
                self.shut = true;
                let _ = self.reception.intake.actor.cast(ConnectionMsg::Shutdown { grace: Duration::MAX });
                None
            }
            Verdict::Fine => {
                let slot = self.slots.take()?;
                self.opened += 1;
                Some(slot)
            }
            Verdict::TooMany => None,
            Verdict::Flood => {
                self.expel("too many channel opens per second");
                None
            }
        }
    }

    /// Ends the connection, once.
    fn expel(&mut self, why: &'static str) {
        self.shut = true;
        if !std::mem::replace(&mut self.expelled, true) {
            let _ = self.reception.intake.actor.cast(ConnectionMsg::Expel(why));
        }
    }

    fn session(&self, slot: Slot) -> Admission {
        let reception = &self.reception;
        if let Some(make) = &reception.router.session {
            let session = reception.session();
            return Reception::take_in(reception, make, session, OpenRequest::Session, slot, Mode::Whole);
        }
        let (chosen, start) = oneshot::channel();
        let port = reception.intake.port();
        let routed = Routed::new(Arc::clone(&port), chosen);
        let awaited = Awaited { choice: start, limit: reception.limits.first_request };
        let taken = reception.accept("session", port, Box::new(awaited), slot, Mode::Routed(routed));
        Admission::of(taken)
    }

    fn direct(&self, request: OpenRequest, slot: Slot) -> Admission {
        let reception = &self.reception;
        let Login { user, peer, local, permissions } = reception.login.clone();
        let asked = request.clone();
        match request {
            OpenRequest::DirectTcpip { host, port, originator_host, originator_port } => {
                let Some(make) = &reception.router.direct_tcpip else { return PROHIBITED };
                if !permissions.may_open(&host, port) {
                    return PROHIBITED;
                }
                let open = DirectTcpip {
                    user,
                    peer,
                    local,
                    permissions,
                    host,
                    port,
                    originator_host,
                    originator_port,
                };
                Reception::take_in(reception, make, open, asked, slot, Mode::Deaf)
            }
            OpenRequest::DirectStreamlocal { path } => {
                let Some(make) = &reception.router.direct_streamlocal else { return PROHIBITED };
                if !permissions.may_open_sockets() {
                    return PROHIBITED;
                }
                let open = DirectStreamlocal { user, peer, local, permissions, path };
                Reception::take_in(reception, make, open, asked, slot, Mode::Deaf)
            }
            _ => PROHIBITED,
        }
    }
}

const CLOSED: OpenFailureReason = OpenFailureReason::AdministrativelyProhibited;
const PROHIBITED: Admission = Admission::Refused(CLOSED);

impl Door for ConnectionDoor {
    fn open(&mut self, request: OpenRequest) -> Admission {
        let admission = match self.one_more() {
            None => Admission::Refused(OpenFailureReason::ResourceShortage),
            Some(_) if !self.reception.intake.is_up() => PROHIBITED,
            Some(slot) if request == OpenRequest::Session => match self.sessions.take() {
                Some(session) => self.session(slot.and(session)),
                None => Admission::Refused(OpenFailureReason::ResourceShortage),
            },
            Some(slot) => self.direct(request, slot),
        };
        if let Admission::Refused(reason) = admission {
            self.reception.refuse_open(reason);
        }
        admission
    }

    fn turn_away(&mut self) {
        if self.opens.one_more() == Verdict::Flood {
            self.expel("too many channel opens per second");
        }
        self.reception.refuse_open(OpenFailureReason::AdministrativelyProhibited);
    }

    fn listen(&mut self, request: ListenRequest) -> BoxFuture<'static, Option<u16>> {
        if !self.may_ask() {
            return futures::future::ready(None).boxed();
        }
        let gauges = Arc::clone(&self.reception.intake.gauges);
        let bound = self.listeners.listen(&self.reception, request);
        bound
            .inspect(move |bound| {
                if bound.is_none() {
                    gauges.refuse_request()
                }
            })
            .boxed()
    }

    fn unlisten(&mut self, request: ListenRequest) -> bool {
        self.may_ask() && self.listeners.end(&request)
    }

    fn may_ask(&mut self) -> bool {
        let verdict = self.requests.one_more();
        if verdict == Verdict::Flood {
            self.expel("too many channel requests per second");
        }
        if verdict != Verdict::Fine {
            self.reception.intake.gauges.refuse_request();
        }
        verdict == Verdict::Fine
    }
}

impl Reception {
    /// What those are told who decide about what is lent to a session.
    fn session(&self) -> NewSession {
        let Login { user, peer, local, permissions } = self.login.clone();
        NewSession { user, peer, local, permissions }
    }

    /// Opens channels for what is lent.
    fn lender(&self) -> Lender {
        Lender { actor: self.intake.actor.clone(), options: self.intake.options.clone() }
    }

    fn port_for(&self, request: &OpenRequest) -> Arc<Port> {
        let port = self.intake.port();
        port.notes().opened_for(request);
        port
    }

    /// Asks a route, and takes the channel in when it says yes, at once or later.
    fn take_in<T>(
        reception: &Arc<Self>,
        make: &Make<T>,
        asked: T,
        request: OpenRequest,
        slot: Slot,
        mode: Mode,
    ) -> Admission {
        let kind = request.channel_type();
        match guarded(make, asked, reception.intake.options.window_adjust) {
            Made::Now(choice) => {
                Admission::of(choice.and_then(|start| {
                    reception.accept(kind, reception.port_for(&request), start, slot, mode)
                }))
            }
            Made::Later(decision) => {
                let reception = Arc::clone(reception);
                Admission::Later(
                    async move {
                        let decision = tokio::time::timeout(reception.open_timeout, decision).await;
                        let choice = decision.unwrap_or(Err(OpenFailureReason::ConnectFailed));
                        // Meanwhile the connection may have begun to end.
                        let choice = choice
                            .and_then(|start| if reception.intake.is_up() { Ok(start) } else { Err(CLOSED) });
                        let taken = choice.and_then(|start| {
                            reception.accept(kind, reception.port_for(&request), start, slot, mode)
                        });
                        taken.inspect_err(|reason| reception.refuse_open(*reason))
                    }
                    .boxed(),
                )
            }
        }
    }

    fn accept(
        self: &Arc<Self>,
        kind: &'static str,
        port: Arc<Port>,
        start: Box<dyn StartChannel>,
        slot: Slot,
        mode: Mode,
    ) -> Result<NewChannel, OpenFailureReason> {
        let guest = Box::new(Visitor::new(Arc::clone(self), mode));
        self.intake.accept(kind, &port, start, slot)?;
        Ok(NewChannel { port, guest: Some(guest) })
    }

    fn refuse_open(&self, reason: OpenFailureReason) {
        tracing::debug!(user = self.login.user, %reason, "a channel is refused");
        self.intake.gauges.refuse_open();
    }
}

impl Admission {
    fn of(taken: Result<NewChannel, OpenFailureReason>) -> Self {
        taken.map_or_else(Self::Refused, Self::Now)
    }
}
