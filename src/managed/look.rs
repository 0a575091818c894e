//! A managed connection, the connection that is up, and the channels, as a tree.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::managed_ref::ManagedRef;
use super::state::{ManagedInfo, ManagedState};
use crate::observe::{BYTES_IN, BYTES_OUT, Family, NodeKind, Observe, Tree};

impl ManagedInfo {
    /// Why there is no connection, if there is none.
    #[must_use]
    pub fn why_stuck(&self) -> Vec<String> {
        match &self.state {
            ManagedState::Up { .. } | ManagedState::Stopped => Vec::new(),
            ManagedState::Connecting { attempt } => {
                let last = self.last.as_ref().map_or_else(String::new, |end| format!("; before that: {end}"));
                vec![format!("connecting, attempt {attempt}, at this phase: {}{last}", self.phase)]
            }
            state => vec![state.now()],
        }
    }
}

impl From<&ManagedInfo> for Tree {
    /// Without its connection and channels.
    fn from(info: &ManagedInfo) -> Self {
        let name = format!("{}@{}", info.user, info.target);
        Self::new(NodeKind::Managed, name.clone(), name, info.state.to_string())
            .stuck(info.why_stuck())
            .fact("phase", info.phase.to_string())
            .count("attempts", info.attempts)
            .count("connects", info.connects)
            .count("failures", info.failures.total())
            .count("losses", info.losses)
            .count("escalations", info.escalations)
            .maybe("up for", info.up_for)
            .fact("up in all", info.uptime)
            .maybe("last end", info.last.as_ref().map(ToString::to_string))
            .count("supervised channels", info.channels as u64)
            .count("of them waiting", info.waiting as u64)
    }
}

/// # Looking in
impl ManagedRef {
    /// The managed connection, the connection that is up with the channels that were opened on it by others, and the
    /// supervised channels, whatever state they are in.
    ///
    /// Answers in time, also when the connection does not: see [`ANSWER_LIMIT`](crate::observe::ANSWER_LIMIT).
    pub async fn tree(&self) -> Tree {
        let keeper = self.keeper();
        let mut node = Tree::from(&self.info()).actor(Some(keeper.clone()));
        node.id = keeper.get_id().to_string();
        let watched = self.watched();
        match self.current() {
            Some(connection) => {
                let (there, Family { supervised, free }) = connection.look(&watched).await;
                // Beside its channels, whose bytes it counts too.
                let (bytes_in, bytes_out) = (there.bytes_in(), there.bytes_out());
                let node = node.bytes(BYTES_IN, bytes_in).bytes(BYTES_OUT, bytes_out);
                node.children([there.children(free)]).children(supervised)
            }
            None => node.children(Family::of(&watched, &[]).supervised),
        }
    }
}

impl Observe for ManagedRef {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        self.tree().boxed()
    }
}
