//! The requests on one channel: what a login may not have is refused, what is too big is refused, and the rest goes to
//! a route or to the behaviour.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use tokio::sync::oneshot;

use super::{Login, Reception};
use crate::handle::msg::StartChannel;
use crate::port::event::ChannelMsg;
use crate::port::{Outgoing, Port};
use crate::server::lend::{Kind, Loans, allows};
use crate::server::request::{SessionKind, SessionRequest};
use crate::server::router::Made;
use crate::transport::door::{Decision, Guest};
use crate::wire::pty::PtyRequest;
use crate::wire::request::X11Request;

/// What was asked for, when a login's command is forced upon it.
const ORIGINAL_COMMAND: &str = "SSH_ORIGINAL_COMMAND";

/// Who decides about the requests that are let through.
pub(super) enum Mode {
    /// The behaviour, which gets each of them.
    Whole,
    /// Nobody: this is no session.
    Deaf,
    /// The router.
    Routed(Routed),
}

/// One channel.
pub(super) struct Visitor {
    reception: Arc<Reception>,
    mode: Mode,
    env_vars: usize,
    env_bytes: usize,
}

impl Visitor {
    pub(super) const fn new(reception: Arc<Reception>, mode: Mode) -> Self {
        Self { reception, mode, env_vars: 0, env_bytes: 0 }
    }

    /// Whether the request is within the limits and the login's permissions.
    fn may(&mut self, request: &ChannelMsg) -> bool {
        let (limits, permissions) = (&self.reception.limits, &self.reception.login.permissions);
        let is_name = |text: &str| text.len() <= limits.name_bytes;
        let is_side = |side: &u32| *side <= limits.terminal_side;
        match request {
            ChannelMsg::Env { name, value, .. } => {
                let bytes = self.env_bytes.saturating_add(name.len()).saturating_add(value.len());
                if self.env_vars >= limits.env_vars || bytes > limits.env_bytes || self.is_reserved(name) {
                    return false;
                }
                (self.env_vars, self.env_bytes) = (self.env_vars + 1, bytes);
                true
            }
            ChannelMsg::Pty { request, .. } => {
                let sides = [request.columns, request.rows, request.width_px, request.height_px];
                permissions.pty && is_name(&request.term) && sides.iter().all(is_side)
            }
            ChannelMsg::WindowChange { size } => {
                [size.columns, size.rows, size.width_px, size.height_px].iter().all(is_side)
            }
            ChannelMsg::X11 { request, .. } => {
                permissions.x11_forwarding && request.text_len() <= 2 * limits.name_bytes
            }
            ChannelMsg::AuthAgent { .. } => permissions.agent_forwarding,
            ChannelMsg::Exec { command, .. } => command.len() <= limits.command_bytes,
            ChannelMsg::Subsystem { name, .. } => is_name(name),
            _ => true,
        }
    }

    /// Whether a variable is not the peer's to set.
    fn is_reserved(&self, name: &str) -> bool {
        let permissions = &self.reception.login.permissions;
        permissions.environment.iter().any(|(own, _)| own == name)
            || (permissions.force_command.is_some() && name == ORIGINAL_COMMAND)
    }
}

impl Guest for Visitor {
    fn request(&mut self, request: ChannelMsg) -> Decision {
        if !self.may(&request) {
            self.reception.intake.gauges.refuse_request();
            return Decision::Answer(false);
        }
        match &mut self.mode {
            Mode::Deaf => Decision::Answer(false),
            Mode::Whole => whole(&self.reception.login, request),
            Mode::Routed(routed) => routed.request(&self.reception, request),
        }
    }

    fn event(&mut self, event: &ChannelMsg) -> bool {
        let may = !matches!(self.mode, Mode::Deaf) && self.may(event);
        if !may {
            self.reception.intake.gauges.refuse_request();
        }
        may
    }
}

/// What is to run, if this request says so.
fn kind_of(request: &ChannelMsg) -> Option<SessionKind> {
    match request {
        ChannelMsg::Exec { command, .. } => Some(SessionKind::Exec { command: command.clone() }),
        ChannelMsg::Shell { .. } => Some(SessionKind::Shell),
        ChannelMsg::Subsystem { name, .. } => Some(SessionKind::Subsystem { name: name.clone() }),
        _ => None,
    }
}

/// What runs instead of what was asked for, and the variables that the login's permissions set.
fn imposed(login: &Login, asked: SessionKind) -> (SessionKind, Vec<(String, String)>) {
    let mut environment = login.permissions.environment.clone();
    let Some(command) = login.permissions.force_command.clone() else { return (asked, environment) };
    let original = match asked {
        SessionKind::Exec { command } => Some(String::from_utf8_lossy(&command).into_owned()),
        SessionKind::Subsystem { name } => Some(name),
        SessionKind::Shell => None,
    };
    environment.retain(|(name, _)| name != ORIGINAL_COMMAND);
    environment.extend(original.map(|original| (ORIGINAL_COMMAND.to_owned(), original)));
    (SessionKind::Exec { command }, environment)
}

/// For a behaviour that gets every request.
fn whole(login: &Login, request: ChannelMsg) -> Decision {
    if matches!(request, ChannelMsg::AuthAgent { .. }) {
        // Over russh it is answered here and now: the behaviour could not say no, and has no way to the agent.
        return Decision::Answer(false);
    }
    let Some(asked) = kind_of(&request) else { return Decision::Deliver { before: Vec::new(), request } };
    let (kind, environment) = imposed(login, asked);
    let variable = |(name, value)| ChannelMsg::Env { want_reply: false, name, value };
    let before = environment.into_iter().map(variable).collect();
    let request = match kind {
        SessionKind::Exec { command } => ChannelMsg::Exec { want_reply: true, command },
        SessionKind::Shell => ChannelMsg::Shell { want_reply: true },
        SessionKind::Subsystem { name } => ChannelMsg::Subsystem { want_reply: true, name },
    };
    Decision::Deliver { before, request }
}

type Chosen = oneshot::Sender<Box<dyn StartChannel>>;

/// A channel that waits for the request that says what runs on it.
pub(super) struct Routed {
    port: Arc<Port>,
    env: Vec<(String, String)>,
    pty: Option<PtyRequest>,
    /// What the peer lends, if anything.
    loans: Option<Loans>,
    /// Where the connection actor waits; nothing while a route decides, and once it runs.
    chosen: Arc<Mutex<Option<Chosen>>>,
    /// Dropped with the channel: a route that still decides need not go on.
    decides: Option<oneshot::Sender<Infallible>>,
}

impl Routed {
    pub(super) fn new(port: Arc<Port>, chosen: Chosen) -> Self {
        Self {
            port,
            env: Vec::new(),
            pty: None,
            loans: None,
            chosen: Arc::new(Mutex::new(Some(chosen))),
            decides: None,
        }
    }

    fn request(&mut self, reception: &Reception, request: ChannelMsg) -> Decision {
        if lock(&self.chosen).is_none() {
            return Decision::Answer(false);
        }
        if let Some(kind) = kind_of(&request) {
            return self.start(reception, kind);
        }
        Decision::Answer(match request {
            ChannelMsg::Env { name, value, .. } => {
                self.env.push((name, value));
                true
            }
            ChannelMsg::Pty { request, .. } => {
                self.pty = Some(request);
                true
            }
            ChannelMsg::AuthAgent { .. } => return self.lend(reception, None),
            ChannelMsg::X11 { request, .. } => return self.lend(reception, Some(request)),
            _ => false,
        })
    }

    /// Lends the display, or without one the agent. What is asked for next may be what needs it, so that waits.
    fn lend(&mut self, reception: &Reception, display: Option<X11Request>) -> Decision {
        let (kind, policy) = match display {
            None => (Kind::Agent, &reception.router.agent),
            Some(_) => (Kind::Display, &reception.router.x11),
        };
        if !allows(policy.as_ref(), &reception.session()) {
            return Decision::Answer(false);
        }
        let loans = self.loans.get_or_insert_default();
        if loans.has(kind) {
            // An agent is an agent; a second display would be another one.
            return Decision::Answer(kind == Kind::Agent);
        }
        let (lending, user) = (&reception.lending, &reception.login.user);
        let Some(place) = lending.take(&reception.lend_limits, user, kind) else {
            reception.intake.gauges.refuse_request();
            return Decision::Answer(false);
        };
        let (lender, loans) = (reception.lender(), loans.clone());
        let lends = match display {
            None => loans.lend_agent(lender, place).boxed(),
            Some(request) => loans.lend_display(lender, request, place).boxed(),
        };
        let limit = reception.request_timeout;
        Decision::Wait(
            async move {
                tokio::time::timeout(limit, lends).await.unwrap_or_else(|_| {
                    tracing::warn!(?kind, ?limit, "what is to be lent was not made in time");
                    false
                })
            }
            .boxed(),
        )
    }

    fn start(&mut self, reception: &Reception, asked: SessionKind) -> Decision {
        let Login { user, peer, local, permissions } = reception.login.clone();
        let (kind, environment) = imposed(&reception.login, asked);
        note(&self.port, &kind);
        let (env, pty) = (self.env.clone(), self.pty.clone());
        let loans = self.loans.as_ref();
        let (agent_socket, x11) = (loans.and_then(Loans::agent_socket), loans.and_then(Loans::x11));
        let request =
            SessionRequest { user, peer, local, permissions, kind, env, environment, pty, agent_socket, x11 };
        match reception.router.route(request, reception.intake.options.window_adjust) {
            Made::Now(Ok(start)) => Decision::Answer(run(&self.chosen, start)),
            Made::Now(Err(_)) => Decision::Answer(false),
            Made::Later(decision) => {
                let (decides, mut gone) = oneshot::channel();
                self.decides = Some(decides);
                let (port, chosen) = (Arc::clone(&self.port), Arc::clone(&self.chosen));
                let waiting = lock(&chosen).take();
                let (limit, gauges) = (reception.request_timeout, Arc::clone(&reception.intake.gauges));
                Decision::Later(
                    async move {
                        let choice = tokio::select! {
                            biased;
                            _ = &mut gone => return,
                            choice = tokio::time::timeout(limit, decision) => choice,
                        };
                        if choice.is_err() {
                            gauges.refuse_request();
                        }
                        let start = choice.ok().and_then(Result::ok);
                        let answer = Outgoing::Reply { success: start.is_some() };
                        match (start, waiting) {
                            // The answer goes first, then what the behaviour says.
                            (Some(start), Some(waiting)) => {
                                let _ = port.push(answer);
                                drop(waiting.send(start));
                            }
                            // Who hears a no may ask for something else at once.
                            (None, waiting) => {
                                *lock(&chosen) = waiting;
                                let _ = port.push(answer);
                            }
                            // Nothing waits for it.
                            (Some(_), None) => drop(port.push(Outgoing::Reply { success: false })),
                        }
                    }
                    .boxed(),
                )
            }
        }
    }
}

/// Notes what runs on the channel, for those who look.
fn note(port: &Port, kind: &SessionKind) {
    match kind {
        SessionKind::Exec { command } => port.notes().runs_command(command),
        SessionKind::Shell => port.notes().runs_shell(),
        SessionKind::Subsystem { name } => port.notes().runs_subsystem(name),
    }
}

fn lock(chosen: &Mutex<Option<Chosen>>) -> MutexGuard<'_, Option<Chosen>> {
    chosen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// False when the channel has ended meanwhile.
fn run(chosen: &Mutex<Option<Chosen>>, start: Box<dyn StartChannel>) -> bool {
    let chosen = lock(chosen).take();
    chosen.is_some_and(|chosen| chosen.send(start).is_ok())
}
