//! A behaviour that is not chosen yet: the channel is open, and its first request says what runs on it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::behaviour::HandleTimeouts;
use crate::error::{CloseReason, OpenError, StopReason};
use crate::handle::msg::StartChannel;
use crate::handle::roster::Parent;
use crate::port::Port;

/// Starts what a route chooses, when it does.
pub(super) struct Awaited {
    pub(super) choice: oneshot::Receiver<Box<dyn StartChannel>>,
    /// How long that may take.
    pub(super) limit: Duration,
}

impl StartChannel for Awaited {
    fn start(
        self: Box<Self>,
        port: Arc<Port>,
        timeouts: HandleTimeouts,
        parent: Parent,
    ) -> BoxFuture<'static, bool> {
        async move {
            match tokio::time::timeout(self.limit, self.choice).await {
                Ok(Ok(start)) => start.start(port, timeouts, parent).await,
                Ok(Err(_)) | Err(_) => {
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
