//! A supervised channel and its running incarnation, as a tree.

use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::ActorId;
use tokio::time::Instant;

use super::state::{SupervisedInfo, SupervisedState};
use super::supervised_ref::{Address, SupervisedRef};
use crate::behaviour::ClientChannel;
use crate::observe::{ChannelInfo, NodeKind, Observe, Tree, Value, Watched, words};

impl SupervisedInfo {
    /// Why nothing is up, if that is so. What is in the way of the incarnation that is up is told by its
    /// [`ChannelInfo::why_stuck`].
    #[must_use]
    pub fn why_stuck(&self) -> Vec<String> {
        let mut why = Vec::new();
        match &self.state {
            SupervisedState::Waiting => {
                let what = self.waits_for.as_deref().unwrap_or("the connection");
                why.push(format!("it waits for {what}"));
            }
            SupervisedState::Backoff { attempt, at, .. } => {
                let left = words::time(at.saturating_duration_since(Instant::now()));
                let last =
                    self.last.as_ref().map_or_else(String::new, |end| format!("; the last end: {end}"));
                why.push(format!("restart {attempt} follows in {left}{last}"));
            }
            SupervisedState::GaveUp { .. } => why.push(self.state.to_string()),
            _ => {}
        }
        if self.queued > 0 {
            why.push(format!(
                "messages that wait for the next incarnation: {} of {}",
                self.queued, self.queue
            ));
        }
        why
    }
}

impl From<&SupervisedInfo> for Tree {
    /// Without its channel.
    fn from(info: &SupervisedInfo) -> Self {
        let name = match &info.command {
            Some(command) => format!("{} {command}", words::type_name(info.behaviour)),
            None => words::type_name(info.behaviour),
        };
        let id = info.supervisor.get_id().to_string();
        Self::new(NodeKind::Supervised, id, name, info.state.to_string())
            .stuck(info.why_stuck())
            .actor(Some(info.supervisor.clone()))
            .fact("behaviour", words::type_name(info.behaviour))
            .maybe("runs", info.command.as_deref().map(str::to_owned))
            .count("incarnation", info.incarnation)
            .count("restarts", info.restarts)
            .maybe("up for", info.up_for)
            .maybe("last end", info.last.as_ref().map(ToString::to_string))
            .fact("messages queued", format!("{} of {}", info.queued, info.queue))
            .fact("connection of its own", if info.isolated { "yes" } else { "no" })
            .maybe("escalations", (info.escalations > 0).then_some(Value::Count(info.escalations)))
    }
}

impl<C: ClientChannel> Address<C> {
    pub(super) fn info(&self) -> SupervisedInfo {
        self.door.info(self.orders.get_cell())
    }
}

impl<C: ClientChannel> Watched for Address<C> {
    fn supervisor(&self) -> ActorId {
        self.orders.get_id()
    }

    fn node(&self) -> Tree {
        Tree::from(&self.info())
    }

    fn channel(&self) -> Option<ChannelInfo> {
        self.door.present().map(|channel| channel.info())
    }
}

/// # Looking in
impl<C: ClientChannel> SupervisedRef<C> {
    /// The supervised channel, and the channel of the incarnation that is up, or still at what came before its connection
    /// was lost. Answered without asking an actor.
    #[must_use]
    pub fn tree(&self) -> Tree {
        let channel = Watched::channel(&*self.address);
        self.address.node().children(channel.as_ref().map(Tree::from))
    }
}

impl<C: ClientChannel> Observe for SupervisedRef<C> {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        std::future::ready(self.tree()).boxed()
    }
}
