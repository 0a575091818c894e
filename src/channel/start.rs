//! Spawns a channel actor on a port.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::Actor;

use super::actor::{Arguments, ChannelActor, NotOpened, Opened};
use crate::behaviour::{Behaviour, HandleTimeouts, Role};
use crate::config::WindowAdjust;
use crate::error::{CloseReason, OpenError, StopReason};
use crate::handle::msg::StartChannel;
use crate::handle::roster::Parent;
use crate::port::Port;

/// A behaviour on its way to its port.
pub(crate) struct Starter<C: Behaviour<R>, R: Role> {
    pub(crate) behaviour: C,
    pub(crate) adjust: WindowAdjust,
    /// Where the opener waits; without one, nobody does.
    pub(crate) opened: Option<Opened<C, R>>,
}

impl<C: Behaviour<R>, R: Role> StartChannel for Starter<C, R> {
    fn start(
        self: Box<Self>,
        port: Arc<Port>,
        timeouts: HandleTimeouts,
        parent: Parent,
    ) -> BoxFuture<'static, bool> {
        async move {
            if self.opened.as_ref().is_some_and(tokio::sync::oneshot::Sender::is_closed) {
                port.set_exit(StopReason::Stopped("its opener went away".into()));
                port.abandon(CloseReason::Local);
                return false;
            }
            let args = Arguments {
                behaviour: self.behaviour,
                port: Arc::clone(&port),
                timeouts,
                adjust: self.adjust,
                opened: self.opened,
                roster: Arc::clone(&parent.roster),
            };
            match Actor::spawn_linked(None, ChannelActor::<C, R>::new(), args, parent.supervisor).await {
                Ok(_) => true,
                Err(error) => {
                    tracing::debug!(channel = %port.key(), %error, "the channel actor did not start");
                    port.set_exit(StopReason::Stopped("its supervisor is stopping".into()));
                    parent.roster.strike(port.key());
                    port.abandon(CloseReason::Local);
                    false
                }
            }
        }
        .boxed()
    }

    fn refuse(self: Box<Self>, error: OpenError) {
        if let Some(opened) = self.opened {
            let _ = opened.send(Err(NotOpened { error, behaviour: Some(self.behaviour) }));
        }
    }

    fn behaviour(&self) -> &'static str {
        std::any::type_name::<C>()
    }
}
