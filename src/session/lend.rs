//! What a command may use of this machine: its agent, its display.
//!
//! Before the channel is opened, [`lend`] sees to it that what the server opens because of it finds somebody; on the
//! channel, [`Asking::ask`] tells the server. Both are over with the channel.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::CommandError;
use super::stream::stream_fn;
use crate::auth::AgentForward;
use crate::config::{ChannelOptions, SlowConsumer};
use crate::error::{ConfigError, RequestError};
use crate::handle::loans::{AgentLease, Loans, NoLoan};
use crate::handle::route::Route;
use crate::wire::request::{ChannelRequest, X11Request};
use crate::x11::{MIT_MAGIC_COOKIE, Registration, X11Forward};
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

/// Makes ready what is lent. `None` if nothing is.
pub(super) async fn lend(
    route: &Route,
    options: &ChannelOptions,
    agent: Option<AgentForward>,
    display: Option<X11Forward>,
) -> Result<Option<Asking>, CommandError> {
    let field = match (&agent, &display) {
        (Some(_), _) => "forward_agent",
        (None, Some(_)) => "forward_x11",
        (None, None) => return Ok(None),
    };
    let Route::Here(connection) = route else {
        let problem = "the connection is only found when the channel is opened";
        return Err(ConfigError::new(field, problem, "run the command on a `ConnectionRef`").into());
    };
    if options.slow_consumer == SlowConsumer::Isolate {
        let problem = "an isolated channel has another connection";
        return Err(ConfigError::new(field, problem, "choose another `slow_consumer` for it").into());
    }
    let agent = agent.map(|forward| lend_agent(connection, &forward)).transpose()?;
    let display = match display {
        Some(forward) => lend_display(connection, &forward).await?,
        None => None,
    };
    Ok(Some(Asking { agent, display }))
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
            "forward the same one, or use another connection",
        ),
        NoLoan::Taken => wrong("agent channels are taken in already", "use another connection"),
    })?;
    Ok(LentAgent { required: forward.is_required(), loans: Arc::clone(loans), _lease: lease })
}

async fn lend_display(
    connection: &ConnectionRef,
    forward: &X11Forward,
) -> Result<Option<LentDisplay>, CommandError> {
    let prepared = match forward.prepare().await {
        Ok(prepared) => prepared,
        Err(error) if forward.is_required() => return Err(CommandError::X11(error)),
        Err(error) => {
            tracing::warn!(%error, "the command runs without X11");
            return Ok(None);
        }
    };
    let mut request = X11Request::new(MIT_MAGIC_COOKIE, prepared.fake.to_hex());
    request.single_connection = prepared.single_connection;
    request.screen = prepared.display.screen();
    let table = Arc::clone(connection.loans().displays());
    let registration = table.register(prepared);
    let accepting = connection.accept_x11(move |address, port| {
        let (table, from) = (Arc::clone(&table), format!("{}:{port}", address.escape_debug()));
        Some(stream_fn(move |stream| table.serve(stream, from)))
    });
    Ok(Some(LentDisplay {
        required: forward.is_required(),
        request: Some(request),
        _registration: registration,
        _accepting: Accepting(Box::new(accepting)),
    }))
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
