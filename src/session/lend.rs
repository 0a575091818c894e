//! What a command may use of this machine: its agent, its display.
//!
//! Before the channel is opened, [`offer`] finds what takes its time to find. When it is open, [`Offer::lend`] sees to it that
//! what the server opens because of it finds somebody, on the connection that the channel is on, however that was found; then
//! [`Asking::ask`] tells the server. Both are over with the channel.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::CommandError;
use super::stream::stream_fn;
use crate::auth::AgentForward;
use crate::error::{ConfigError, ConnectionError, OpenError, RequestError};
use crate::handle::loans::{AgentLease, Loans, NoLoan};
use crate::handle::route::Whereabouts;
use crate::wire::request::{ChannelRequest, X11Request};
use crate::x11::{MIT_MAGIC_COOKIE, Prepared, Registration, X11Forward};
use crate::{ChannelHandle, ConnectionRef};

/// What is to be asked of the server, and what is lent while this exists.
#[derive(Debug)]
pub(super) struct Asking {
    agent: Option<LentAgent>,
    display: Option<LentDisplay>,
}

#[derive(Debug)]
struct LentAgent {
    required: bool,
    loans: Arc<Loans>,
    _lease: AgentLease,
}

#[derive(Debug)]
struct LentDisplay {
    required: bool,
    /// Taken when it is sent.
    request: Option<X11Request>,
    _registration: Registration,
    // Takes its channels in. Dropped after the registration: what comes between is told why it is refused.
    _accepting: Accepting,
}

struct Accepting(#[expect(dead_code, reason = "its drop is what counts")] Box<dyn Any + Send>);

impl std::fmt::Debug for Accepting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accepting")
    }
}

/// What a command may use, before it is known on which connection it runs.
#[derive(Debug)]
pub(super) struct Offer {
    agent: Option<AgentForward>,
    display: Option<OfferedDisplay>,
    at: Whereabouts,
}

#[derive(Debug)]
struct OfferedDisplay {
    required: bool,
    prepared: Prepared,
}

/// Makes ready what is to be lent. `None` if nothing is.
pub(super) async fn offer(
    agent: Option<AgentForward>,
    display: Option<X11Forward>,
    at: &Whereabouts,
) -> Result<Option<Offer>, CommandError> {
    if agent.is_none() && display.is_none() {
        return Ok(None);
    }
    let display = match display {
        Some(forward) => prepare(&forward).await?,
        None => None,
    };
    Ok(Some(Offer { agent, display, at: at.clone() }))
}

async fn prepare(forward: &X11Forward) -> Result<Option<OfferedDisplay>, CommandError> {
    let required = forward.is_required();
    match forward.prepare().await {
        Ok(prepared) => Ok(Some(OfferedDisplay { required, prepared })),
        Err(error) if required => Err(CommandError::X11(error)),
        Err(error) => {
            tracing::warn!(%error, "the command runs without X11");
            Ok(None)
        }
    }
}

impl Offer {
    /// Lends it to the connection on which the command's channel was opened: what the server opens from now on finds
    /// somebody.
    pub(super) fn lend(self) -> Result<Asking, CommandError> {
        let Some(connection) = self.at.take() else {
            return Err(CommandError::Open(OpenError::Connection(ConnectionError::Closed)));
        };
        let agent = self.agent.map(|forward| lend_agent(&connection, &forward)).transpose()?;
        let display = self.display.map(|display| lend_display(&connection, display));
        Ok(Asking { agent, display })
    }
}

fn lend_agent(connection: &ConnectionRef, forward: &AgentForward) -> Result<LentAgent, ConfigError> {
    let wrong = |problem, fix| ConfigError::new("forward_agent", problem, fix);
    let loans = connection.loans();
    // Unbound, a forwarded agent would take the server for this machine, and use keys that are not for it.
    let binding = loans.binding().ok_or_else(|| {
        wrong("the key exchange left nothing to bind the agent to", "connect in another way, or leave it out")
    })?;
    let lease = loans.lend_agent(forward, || {
        let places = Arc::new(Semaphore::new(forward.limit().min(Semaphore::MAX_PERMITS)));
        let (forward, binding) = (forward.clone(), Arc::clone(binding));
        // A connection that was made in time must not have the agent for as long as the server likes.
        let over = CancellationToken::new();
        let ends = over.clone().drop_guard();
        let accepting = connection.accept_agent(move || {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!("a connection to the forwarded agent is refused: there are too many");
                return None;
            };
            let (forward, binding, over) = (forward.clone(), Arc::clone(&binding), over.clone());
            Some(stream_fn(move |stream| async move {
                if over.run_until_cancelled(forward.serve(stream, binding)).await.is_none() {
                    tracing::debug!("a connection to the forwarded agent outlived what it was lent to");
                }
                drop(place);
            }))
        });
        accepting.ok().map(|accepting| Box::new((accepting, ends)) as Box<dyn Any + Send>)
    });
    let lease = lease.map_err(|why| match why {
        NoLoan::Another => wrong(
            "another agent is forwarded on this connection, and nothing would tell them apart",
            "forward the same one, use another connection, or isolate the command's channel (`SlowConsumer::Isolate`)",
        ),
        NoLoan::Taken => wrong(
            "agent channels are taken in already",
            "use another connection, or isolate the command's channel (`SlowConsumer::Isolate`)",
        ),
    })?;
    Ok(LentAgent { required: forward.is_required(), loans: Arc::clone(loans), _lease: lease })
}

fn lend_display(connection: &ConnectionRef, display: OfferedDisplay) -> LentDisplay {
    let OfferedDisplay { required, prepared } = display;
    let mut request = X11Request::new(MIT_MAGIC_COOKIE, prepared.fake.to_hex());
    request.single_connection = prepared.single_connection;
    request.screen = prepared.display.screen();
    let table = Arc::clone(connection.loans().displays());
    let registration = table.register(prepared);
    let accepting = connection.accept_x11(move |address, port| {
        let (table, from) = (Arc::clone(&table), format!("{}:{port}", address.escape_debug()));
        Some(stream_fn(move |stream| table.serve(stream, from)))
    });
    LentDisplay {
        required,
        request: Some(request),
        _registration: registration,
        _accepting: Accepting(Box::new(accepting)),
    }
}

impl Asking {
    /// Asks the server (`x11-req`, RFC 4254 section 6.3.1; `auth-agent-req@openssh.com`), and waits for its answers.
    pub(super) async fn ask(&mut self, handle: &ChannelHandle) -> Result<(), CommandError> {
        let display = async {
            let Some(display) = &mut self.display else { return Ok(()) };
            let Some(request) = display.request.take() else { return Ok(()) };
            let answer = handle.request(ChannelRequest::X11(request)).await;
            accept(answer, display.required, "X11")
        };
        let agent = async {
            let Some(agent) = &self.agent else { return Ok(()) };
            match handle.request(ChannelRequest::AuthAgent).await {
                Ok(()) => {
                    agent.loans.agent_granted();
                    Ok(())
                }
                // OpenSSH's server agrees once, for all channels of the connection.
                Err(RequestError::Refused { .. }) if agent.loans.was_agent_granted() => Ok(()),
                answer => accept(answer, agent.required, "the agent"),
            }
        };
        // Queued in this order, which is OpenSSH's.
        let (display, agent) = futures::join!(display, agent);
        display.and(agent)
    }
}

/// A refusal is an error, or a word in the log.
fn accept(answer: Result<(), RequestError>, required: bool, what: &str) -> Result<(), CommandError> {
    match answer {
        Err(error @ RequestError::Refused { .. }) if !required => {
            tracing::warn!(%error, "the command runs without {what}");
            Ok(())
        }
        answer => answer.map_err(CommandError::Request),
    }
}
