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
        let (node, channels) = self.look_at().await;
        (node, Family::of(watched, &channels))
    }

    /// The node of the connection alone, and its channels.
    pub(crate) async fn look_at(&self) -> (Tree, Vec<ChannelInfo>) {
        match within(self.info()).await {
            Ok(Ok(info)) => (Tree::from(&info), info.channels),
            Ok(Err(error)) => (self.bare_node(error.to_string()), Vec::new()),
            Err(silence) => (self.bare_node(silence.clone()).stuck(vec![silence]), Vec::new()),
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ractor::{Actor, ActorProcessingErr, ActorRef};
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::*;
    use crate::error::Phase;
    use crate::handle::msg::ConnectionMsg;
    use crate::observe::{ANSWER_LIMIT, Facts, Group, PhaseEvent};

    /// Takes a message and never comes back from it.
    struct Stuck;

    impl Actor for Stuck {
        type Msg = ConnectionMsg;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            _message: Self::Msg,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            std::future::pending().await
        }
    }

    async fn stuck() -> (ConnectionRef, watch::Sender<PhaseEvent>) {
        let (actor, _) = Actor::spawn(None, Stuck, ()).await.unwrap();
        let (phases, phase) = watch::channel(PhaseEvent::new(Phase::Up));
        let facts = Facts { user: "somebody".to_owned(), ..Facts::default() };
        (ConnectionRef::new(actor, Arc::new(facts), phase, None, Arc::default()), phases)
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_do_not_answer_are_shown_as_that_and_all_at_once() {
        let (one, _phases_of_one) = stuck().await;
        let (two, _phases_of_two) = stuck().await;
        let began = Instant::now();
        let tree = Group::new("both").with(one).with(two).tree().await;
        assert_eq!(began.elapsed(), ANSWER_LIMIT);
        for node in &tree.children {
            assert_eq!((node.name.as_str(), node.state.as_str()), ("somebody", "did not answer within 1 s"));
            assert_eq!(node.stuck, ["did not answer within 1 s"]);
        }
    }
}
