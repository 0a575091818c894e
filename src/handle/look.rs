//! A connection and all that belongs to it, as a tree.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::connection_ref::ConnectionRef;
use crate::observe::{ChannelInfo, Family, NodeKind, Observe, Tree, Watched, within};

/// # Looking in
impl ConnectionRef {
    /// The connection, the supervised channels that were declared on it, whatever state they are in, and its channels.
    ///
    /// Answers in time, also when the connection does not: see [`ANSWER_LIMIT`](crate::observe::ANSWER_LIMIT).
    pub async fn tree(&self) -> Tree {
        let (node, family) = self.look(&self.watched().all()).await;
        node.children(family.supervised).children(family.free)
    }

    /// The node of the connection, and its channels, below those of `watched` where they belong to one.
    pub(crate) async fn look(&self, watched: &[Arc<dyn Watched>]) -> (Tree, Family) {
        let (node, channels): (Tree, Vec<ChannelInfo>) = match within(self.info()).await {
            Ok(Ok(info)) => (Tree::from(&info), info.channels),
            Ok(Err(error)) => (self.bare_node(error.to_string()), Vec::new()),
            Err(silence) => (self.bare_node(silence.clone()).stuck(vec![silence]), Vec::new()),
        };
        (node, Family::of(watched, &channels))
    }

    fn bare_node(&self, state: String) -> Tree {
        let actor = self.actor();
        Tree::new(NodeKind::Connection, actor.get_id().to_string(), self.user(), state).actor(Some(actor))
    }
}

impl Observe for ConnectionRef {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        self.tree().boxed()
    }
}
