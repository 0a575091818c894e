//! What the server is asked to listen on. The asking, and the waiting, are done beside the actor.

use std::sync::{Arc, OnceLock};

use ractor::ActorRef;

use super::actor::State;
use crate::error::{ConnectionError, ForwardError, Phase};
use crate::handle::acceptance::Ticket;
use crate::handle::msg::{ConnectionMsg, ListenCommand, Listening, UnlistenCommand};
use crate::observe::Gauges;
use crate::transport::ListenRefused;
use crate::wire::open::ListenRequest;

impl State {
    pub(super) fn listen(&self, myself: &ActorRef<ConnectionMsg>, command: ListenCommand) {
        let ListenCommand { request, ticket, answer } = command;
        if let Err(error) = self.may_listen() {
            let _ = answer.send(Err(error));
            return;
        }
        let (transport, down) = (Arc::clone(&self.args.transport), Arc::clone(&self.args.down));
        let limit = self.args.timeouts.request;
        let (myself, gauges) = (myself.clone(), Arc::clone(&self.args.gauges));
        tokio::spawn(async move {
            let mut asking = transport.listen(request.clone());
            match tokio::time::timeout(limit, &mut asking).await {
                // If nobody waits for it any more, dropping it cancels.
                Ok(Ok(chosen)) => drop(answer.send(settle(myself, gauges, request, ticket, chosen))),
                Ok(Err(refused)) => drop(answer.send(Err(error(refused, &request, &down)))),
                Err(_) => {
                    let _ = answer.send(Err(ForwardError::Timeout { after: limit }));
                    if let Ok(chosen) = asking.await {
                        drop(settle(myself, gauges, request, ticket, chosen));
                    }
                }
            }
        });
    }

    pub(super) fn unlisten(&self, command: UnlistenCommand) {
        let UnlistenCommand { request, ticket, answer } = command;
        let (transport, down) = (Arc::clone(&self.args.transport), Arc::clone(&self.args.down));
        let limit = self.args.timeouts.request;
        tokio::spawn(async move {
            let asked = tokio::time::timeout(limit, transport.unlisten(request.clone())).await;
            drop(ticket);
            let result = match asked {
                Ok(Ok(())) => Ok(()),
                Ok(Err(refused)) => Err(error(refused, &request, &down)),
                Err(_) => Err(ForwardError::Timeout { after: limit }),
            };
            if let (Err(error), None) = (&result, &answer) {
                tracing::debug!(%request, %error, "the server may go on listening");
            }
            if let Some(answer) = answer {
                let _ = answer.send(result);
            }
        });
    }

    fn may_listen(&self) -> Result<(), ForwardError> {
        if let Some(error) = self.args.down.get().or(self.closing.as_ref()) {
            return Err(ForwardError::Connection(error.clone()));
        }
        if self.phase != Phase::Up {
            return Err(ForwardError::Draining);
        }
        Ok(())
    }
}

/// The server listens: from now on its opens are taken in.
fn settle(
    actor: ActorRef<ConnectionMsg>,
    gauges: Arc<Gauges>,
    request: ListenRequest,
    ticket: Ticket,
    chosen: Option<u32>,
) -> Result<Listening, ForwardError> {
    let request = match (&request, chosen) {
        (ListenRequest::Tcpip { port: 0, .. }, chosen) => {
            let port = chosen.and_then(|port| u16::try_from(port).ok()).ok_or(ForwardError::NoPort)?;
            request.at(port)
        }
        _ => request,
    };
    ticket.settle(request.clone());
    Ok(Listening::new(actor, gauges, request, ticket))
}

fn error(refused: ListenRefused, request: &ListenRequest, down: &OnceLock<ConnectionError>) -> ForwardError {
    match refused {
        ListenRefused::ByPeer => ForwardError::Refused { what: request.to_string() },
        ListenRefused::Unsupported => ForwardError::NotAClient,
        ListenRefused::Lost => {
            ForwardError::Connection(down.get().cloned().unwrap_or(ConnectionError::Closed))
        }
    }
}
