//! Spawns a channel actor on a port.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::Actor;

use super::actor::{Arguments, ChannelActor, Opened, Unopened};
use crate::behaviour::{Behaviour, HandleTimeouts, Role};
use crate::config::WindowAdjust;
use crate::error::{CloseReason, OpenError, StopReason};
use crate::handle::msg::StartChannel;
use crate::handle::roster::Parent;
use crate::port::Port;

/// A behaviour on its way to its port.
pub(crate) struct Starter<C: Behaviour<R>, R: Role> {
    behaviour: Option<C>,
    adjust: WindowAdjust,
    /// Where the opener waits; without one, nobody does.
    opened: Option<Opened<C, R>>,
}

impl<C: Behaviour<R>, R: Role> Starter<C, R> {
    pub(crate) const fn new(behaviour: C, adjust: WindowAdjust, opened: Option<Opened<C, R>>) -> Self {
        Self { behaviour: Some(behaviour), adjust, opened }
    }

    fn give_back(&mut self, error: Option<OpenError>) {
        if let Some(opened) = self.opened.take() {
            let _ = opened.send(Err(Unopened { error, behaviour: self.behaviour.take() }));
        }
    }
}

impl<C: Behaviour<R>, R: Role> Drop for Starter<C, R> {
    /// Nobody has used it: the connection is gone.
    fn drop(&mut self) {
        self.give_back(None);
    }
}

impl<C: Behaviour<R>, R: Role> StartChannel for Starter<C, R> {
    fn start(
        mut self: Box<Self>,
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
            let Some(behaviour) = self.behaviour.take() else { return false };
            let args = Arguments {
                behaviour,
                port: Arc::clone(&port),
                timeouts,
                adjust: self.adjust,
                opened: self.opened.take(),
                roster: Arc::clone(&parent.roster),
                span: parent.span,
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

    fn refuse(mut self: Box<Self>, error: OpenError) {
        self.give_back(Some(error));
    }

    fn behaviour(&self) -> &'static str {
        std::any::type_name::<C>()
    }
}
