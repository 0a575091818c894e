//! A daemon, its connections and their channels, as a tree.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

use super::daemon::DaemonRef;
use super::session::{Session, SessionId, SessionInfo};
use crate::observe::{BYTES_IN, BYTES_OUT, ConnectionInfo, NodeKind, Observe, Tree, within};

impl From<&SessionInfo> for Tree {
    /// Of a connection that is not up yet.
    fn from(info: &SessionInfo) -> Self {
        let name = info.peer.map_or_else(|| "no login".to_owned(), |peer| format!("no login, {peer}"));
        Self::new(NodeKind::Connection, format!("session {}", info.id), name, info.phase.to_string())
            .fact("age", info.age)
            .fact("last activity", info.idle)
            .bytes(BYTES_IN, info.bytes_in)
            .bytes(BYTES_OUT, info.bytes_out)
    }
}

/// What the daemon knows of a connection beyond what that one says itself.
async fn session(session: Arc<Session>) -> Tree {
    let info = session.info();
    let Some(connection) = session.connection() else { return Tree::from(&info) };
    let mut node = connection
        .tree()
        .await
        .count("session", info.id.number())
        .count("opens refused", info.opens_refused)
        .count("requests refused", info.requests_refused);
    node.id = format!("session {}", info.id);
    node
}

/// # Looking in
impl DaemonRef {
    /// Everything there is to see of one connection, its channels too; `None` if there is no such, if nobody has logged in
    /// on it yet, or if it does not answer within [`ANSWER_LIMIT`](crate::observe::ANSWER_LIMIT).
    pub async fn connection_info(&self, id: SessionId) -> Option<ConnectionInfo> {
        let session = self.live().into_iter().find(|session| session.id() == id)?;
        within(session.connection()?.info()).await.ok()?.ok()
    }

    /// The daemon, its connections, those without a login included, and their channels.
    ///
    /// Answers in time, also when a connection does not: see [`ANSWER_LIMIT`](crate::observe::ANSWER_LIMIT).
    pub async fn tree(&self) -> Tree {
        let info = self.info();
        let sessions = join_all(self.live().into_iter().map(session)).await;
        let state = match info.listeners {
            0 => "not listening",
            _ => "listening",
        };
        let name: Vec<String> = self.local_addrs().iter().map(ToString::to_string).collect();
        let actor = self.actor();
        let counters = &info.counters;
        Tree::new(NodeKind::Daemon, actor.get_id().to_string(), name.join(", "), state)
            .actor(Some(actor))
            .fact("up for", info.uptime)
            .count("listeners", info.listeners as u64)
            .count("connections", info.connections as u64)
            .count("without a login", info.unauthenticated as u64)
            .count("accepted", counters.connections_accepted)
            .count("logins", counters.logins)
            .count("kicked", counters.kicked)
            .count("channels stalled", counters.channels_stalled)
            .children(sessions)
    }
}

impl Observe for DaemonRef {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        self.tree().boxed()
    }
}
