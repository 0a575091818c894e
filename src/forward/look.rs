//! A forward as a tree.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::ActorId;

use super::handle::{Address, ForwardHandle};
use super::state::{ForwardInfo, ForwardState};
use crate::observe::{ChannelInfo, NodeKind, Observe, Tree, Watched};

impl ForwardInfo {
    /// Why connections get nowhere, if that is known.
    #[must_use]
    pub fn why_stuck(&self) -> Vec<String> {
        let mut why = Vec::new();
        if matches!(self.state, ForwardState::Waiting { .. }) {
            why.push(self.state.to_string());
        }
        if self.counters.open >= self.max_connections {
            why.push(format!("it takes no more than {} connections at a time", self.max_connections));
        }
        why
    }
}

impl From<&ForwardInfo> for Tree {
    /// Without its channels.
    fn from(info: &ForwardInfo) -> Self {
        let there = if info.remote { " on the server" } else { "" };
        let name = format!("{}{there} {}", info.listen, info.to);
        let counters = &info.counters;
        Self::new(NodeKind::Forward, name.clone(), name, info.state.to_string())
            .stuck(info.why_stuck())
            .fact("connections", format!("{} of {}", counters.open, info.max_connections))
            .count("connections in all", counters.total)
            .count("refused", counters.refused)
            .count("failed", counters.failed)
            .bytes("bytes to the server", counters.sent)
            .bytes("bytes from the server", counters.received)
    }
}

impl Watched for Address {
    fn supervisor(&self) -> ActorId {
        self.actor.get_id()
    }

    fn node(&self) -> Tree {
        let mut node = Tree::from(&self.shared.info()).actor(Some(self.actor.get_cell()));
        node.id = self.actor.get_id().to_string();
        node
    }

    fn channel(&self) -> Option<ChannelInfo> {
        None
    }
}

/// # Looking in
impl ForwardHandle {
    /// The forward and what it has counted. Its channels are in the tree of its connection, below it. Answered without
    /// asking an actor.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.address().node()
    }
}

impl Observe for ForwardHandle {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        std::future::ready(self.tree()).boxed()
    }
}
