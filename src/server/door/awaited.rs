//! A behaviour that is not chosen yet: the channel is open, and its first request says what runs on it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::behaviour::HandleTimeouts;
use crate::error::{CloseReason, OpenError, StopReason};
use crate::handle::msg::StartChannel;
use crate::handle::roster::Parent;
use crate::port::Port;

/// Starts what a route chooses, when it does.
pub(super) struct Awaited(pub(super) oneshot::Receiver<Box<dyn StartChannel>>);

impl StartChannel for Awaited {
    fn start(
        self: Box<Self>,
        port: Arc<Port>,
        timeouts: HandleTimeouts,
        parent: Parent,
    ) -> BoxFuture<'static, bool> {
        async move {
            match self.0.await {
                Ok(start) => start.start(port, timeouts, parent).await,
                Err(_) => {
                    port.set_exit(StopReason::Stopped("the channel ended before it was used".into()));
                    port.abandon(CloseReason::Local);
                    false
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
