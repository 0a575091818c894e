//! Supervised channels on many hosts.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::plan::FanOut;
use crate::behaviour::ClientChannel;
use crate::error::OpenError;
use crate::supervised::{ChannelSpec, NotUp, SupervisedRef};
use crate::target::Target;

/// A supervised channel on one host, or why there is none.
#[derive(Debug)]
#[non_exhaustive]
pub struct HostChannel<C: ClientChannel> {
    /// What the host is called.
    pub label: Arc<str>,
    /// The address of its channel, which was up when this was made.
    pub channel: Result<SupervisedRef<C>, HostChannelError>,
}

/// Why there is no supervised channel on a host.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HostChannelError {
    /// The specification or the target is wrong.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It will not be up any more.
    #[error(transparent)]
    NotUp(#[from] NotUp),
    /// It was not up in time, and was stopped.
    #[error("not up after {after:?}: {state}")]
    Deadline {
        /// The limit that was reached.
        after: Duration,
        /// Where it was instead.
        state: crate::supervised::SupervisedState,
    },
    /// Another host had failed; the channel was stopped.
    #[error("cancelled, as another host has failed")]
    Cancelled,
    /// Another host had failed before it was this one's turn. Nothing was sent.
    #[error("not started, as another host has failed")]
    NotStarted,
}

impl FanOut {
    /// Starts a supervised channel on every host, from the specification that is made for it, and waits until it is up.
    /// Gives them in the order of the hosts.
    ///
    /// A host counts as done when its channel is up, and has failed when there will be none, or none in time: channels
    /// that come up at the second try are no failure. With [`fail_fast`](Self::fail_fast) the first failure stops all
    /// channels, also those that are up.
    ///
    /// # Cancel safety
    /// Dropping the future stops all channels.
    pub async fn supervise<C: ClientChannel>(
        self,
        mut make: impl FnMut(&str) -> ChannelSpec<C>,
    ) -> Vec<HostChannel<C>> {
        let cancel = CancellationToken::new();
        let (fail_fast, deadline) = (self.fail_fast, self.deadline);
        let starts = self.hosts.into_iter().enumerate().map(|(host, (label, target))| {
            let (spec, cancel) = (make(&label), cancel.clone());
            async move {
                let channel = start(target, spec, deadline, &cancel).await;
                if fail_fast && channel.is_err() {
                    cancel.cancel();
                }
                (host, HostChannel { label, channel })
            }
        });
        let starts: Vec<_> = starts.collect();
        let at_work = stream::iter(starts).buffer_unordered(self.concurrency.get());
        let mut channels: Vec<_> = at_work.collect().await;
        channels.sort_by_key(|(host, _)| *host);
        let mut channels: Vec<_> = channels.into_iter().map(|(_, channel)| channel).collect();
        if cancel.is_cancelled() {
            for HostChannel { channel, .. } in &mut channels {
                if let Ok(up) = channel {
                    up.stop();
                    *channel = Err(HostChannelError::Cancelled);
                }
            }
        }
        channels
    }
}

async fn start<C: ClientChannel>(
    target: Target,
    spec: ChannelSpec<C>,
    deadline: Option<Duration>,
    cancel: &CancellationToken,
) -> Result<SupervisedRef<C>, HostChannelError> {
    if cancel.is_cancelled() {
        return Err(HostChannelError::NotStarted);
    }
    let channel = target.supervise(spec).await?;
    let limit = deadline.unwrap_or(Duration::MAX);
    let up = async { tokio::time::timeout(limit, channel.up()).await };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(HostChannelError::Cancelled),
        up = up => match up {
            Ok(up) => up.map(|_| channel).map_err(HostChannelError::from),
            Err(_) => Err(HostChannelError::Deadline { after: limit, state: channel.state() }),
        },
    }
}
