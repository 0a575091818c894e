//! A pool, its hosts, their connections and channels, as a tree.

use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use ractor::ActorId;

use super::desk::Desk;
use super::info::{Duty, HostInfo, PoolInfo, PooledInfo};
use super::pool_ref::Pool;
use crate::managed::ManagedRef;
use crate::observe::{BYTES_IN, BYTES_OUT, ChannelInfo, Family, NodeKind, Observe, Tree};

impl HostInfo {
    /// Why callers wait, if any do.
    #[must_use]
    pub fn why_stuck(&self) -> Vec<String> {
        let own = (self.waiting_isolated > 0).then(|| {
            let (waiting, isolated) = (self.waiting_isolated, self.isolated);
            format!("{waiting} wait for connections of their own: {isolated} are there, which is the most")
        });
        if self.waiting == 0 {
            return own.into_iter().collect();
        }
        let serving = self.connections.iter().filter(|pooled| pooled.duty == Duty::Serving);
        let up = |pooled: &&PooledInfo| pooled.managed.as_ref().is_some_and(|managed| managed.state.is_up());
        let (up, coming): (Vec<_>, Vec<_>) = serving.partition(up);
        let used: usize = up.iter().map(|pooled| pooled.sessions + pooled.lingering).sum();
        let mut why = vec![format!(
            "{} wait for a place: {used} of {} on {} connections are taken, {} more are being made",
            self.waiting,
            up.len().saturating_mul(self.limit),
            up.len(),
            coming.len(),
        )];
        why.extend(own);
        why.extend(coming.iter().filter_map(|pooled| pooled.managed.as_ref()).flat_map(|m| m.why_stuck()));
        why
    }
}

impl From<&HostInfo> for Tree {
    /// Without its connections and channels.
    fn from(info: &HostInfo) -> Self {
        let name = match &info.identity {
            Some(identity) => format!("{}@{} as {identity}", info.user, info.target),
            None => format!("{}@{}", info.user, info.target),
        };
        let state = format!("{} connections, {} waiting", info.connections.len(), info.waiting);
        Self::new(NodeKind::Host, name.clone(), name, state)
            .stuck(info.why_stuck())
            .count("sessions per connection", info.limit as u64)
            .maybe("learned from refusals", info.learned.map(|learned| learned.to_string()))
            .count("waiting", info.waiting as u64)
            .count("supervised channels", info.supervised as u64)
            .count("isolated channels", info.isolated as u64)
            .count("waiting to be isolated", info.waiting_isolated as u64)
            .count("handshakes", info.handshakes as u64)
            .count("places given", info.counters.granted)
            .count("put back", info.counters.put_back)
            .count("not opened", info.counters.not_opened)
            .count("turned away", info.counters.turned_away)
            .count("timed out", info.counters.timed_out)
            .count("evictions", info.counters.evictions)
    }
}

impl From<&PoolInfo> for Tree {
    /// Without its hosts.
    fn from(info: &PoolInfo) -> Self {
        let state = if info.is_closed { "closed" } else { "open" };
        Self::new(NodeKind::Pool, "pool", format!("{} hosts", info.hosts.len()), state)
            .count("handshakes", info.handshakes as u64)
            .count("handshakes at most", info.max_handshakes as u64)
            .count("places given", info.counters.granted)
            .count("connections begun", info.counters.connections)
            .count("connections failed", info.counters.failed)
            .count("evictions", info.counters.evictions)
            .count("closed when idle", info.counters.idled)
    }
}

/// # Looking in
impl Pool {
    /// The pool, its hosts, their connections with the channels on them, and the supervised channels of each host,
    /// whatever state they are in. Isolated channels that nobody supervises are only counted.
    ///
    /// Answers in time, also when connections do not: see [`ANSWER_LIMIT`](crate::observe::ANSWER_LIMIT).
    pub async fn tree(&self) -> Tree {
        let mut hosts: Vec<(HostInfo, Arc<Desk>)> =
            self.desks().into_iter().map(|desk| (desk.info(), desk)).collect();
        hosts.sort_by(|(a, _), (b, _)| {
            (&a.target, &a.user, &a.identity).cmp(&(&b.target, &b.user, &b.identity))
        });
        let nodes = join_all(hosts.iter().map(|(info, desk)| host(info, desk))).await;
        Tree::from(&self.info()).children(nodes)
    }
}

impl Observe for Pool {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        self.tree().boxed()
    }
}

async fn host(info: &HostInfo, desk: &Desk) -> Tree {
    let watched = desk.watched.all();
    let supervisors: HashSet<ActorId> = watched.iter().map(|channel| channel.supervisor()).collect();
    let connections = join_all(desk.managed().into_iter().map(|(number, managed)| {
        let duty = info.connections.iter().find(|pooled| pooled.number == number).map(|pooled| pooled.duty);
        let supervisors = &supervisors;
        async move { connection(number, duty, &managed, supervisors).await }
    }))
    .await;
    let (connections, channels): (Vec<_>, Vec<_>) = connections.into_iter().unzip();
    let channels: Vec<_> = channels.into_iter().flatten().collect();
    let mut node = Tree::from(info);
    node.id = desk.number.to_string();
    node.children(connections).children(Family::of(&watched, &channels).supervised)
}

/// A connection with the channels that nobody supervises, and the others.
async fn connection(
    number: u64,
    duty: Option<Duty>,
    managed: &ManagedRef,
    supervisors: &HashSet<ActorId>,
) -> (Tree, Vec<ChannelInfo>) {
    let keeper = managed.keeper();
    let mut node = Tree::from(&managed.info()).count("number", number).actor(Some(keeper.clone()));
    node.id = keeper.get_id().to_string();
    match duty {
        None | Some(Duty::Serving) => {}
        Some(Duty::Evicted(why)) => node.state = format!("{}; being drained: {why}", node.state),
        Some(Duty::Idle) => node.state = format!("{}; idle, being closed", node.state),
        Some(Duty::Closing) => node.state = format!("{}; being closed", node.state),
    }
    let Some(connection) = managed.current() else { return (node, Vec::new()) };
    let (there, channels) = connection.look_at().await;
    let (bytes_in, bytes_out) = (there.bytes_in(), there.bytes_out());
    let of_ours =
        |info: &ChannelInfo| info.supervised.is_some_and(|lineage| supervisors.contains(&lineage.supervisor));
    let (supervised, free): (Vec<_>, Vec<_>) = channels.into_iter().partition(of_ours);
    let there = there.children(free.iter().map(Tree::from));
    (node.bytes(BYTES_IN, bytes_in).bytes(BYTES_OUT, bytes_out).children([there]), supervised)
}
