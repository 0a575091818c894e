//! The way of a transport's events to the connection actor.

use std::sync::{Arc, OnceLock};

use ractor::ActorRef;

use crate::error::ConnectionError;
use crate::handle::msg::ConnectionMsg;
use crate::transport::{EventSink, TransportEvent};

/// Carries the transport's events to the connection actor, which comes to be later than the transport.
#[derive(Clone, Default)]
pub(crate) struct Sink {
    down: Arc<OnceLock<ConnectionError>>,
    actor: Arc<OnceLock<ActorRef<ConnectionMsg>>>,
}

impl Sink {
    /// For the transport.
    pub(crate) fn events(&self) -> EventSink {
        let sink = self.clone();
        Box::new(move |event| {
            if let TransportEvent::Down(error) = &event {
                let _ = sink.down.set(error.clone());
            }
            if let Some(actor) = sink.actor.get() {
                let _ = actor.cast(ConnectionMsg::Transport(event));
            }
        })
    }

    /// Where the reason of the end stands before the actor hears of it.
    pub(crate) fn reason(&self) -> Arc<OnceLock<ConnectionError>> {
        Arc::clone(&self.down)
    }

    /// From now on the actor hears everything; of what was before, the end is told again.
    pub(crate) fn attach(&self, actor: ActorRef<ConnectionMsg>) {
        let _ = self.actor.set(actor.clone());
        if let Some(error) = self.down.get() {
            let _ = actor.cast(ConnectionMsg::Transport(TransportEvent::Down(error.clone())));
        }
    }
}
