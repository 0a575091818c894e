//! What the tree of a pool shows.

use std::collections::HashSet;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::Timeouts;
use ractor_ssh::observe::{NodeKind, Tree};
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, Next, Pool, PoolConfig, Router,
};

use crate::kit::peer_test;
use crate::support::{Served, becomes_true, echo, soon};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("look::a_tree_has_all_of_a_pool_once_and_says_why_callers_wait", [], whole),
        peer_test("look::two_identities_at_one_host_can_be_told_apart", [], identities),
        peer_test("look::a_supervised_channel_that_is_stuck_at_its_start_is_seen", [], starting),
    ]
}

/// Runs a command, or does not come so far.
struct Runs(&'static str);

impl ClientChannel for Runs {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        match self.0 {
            "fail" => return Err("told to fail".into()),
            "hang" => std::future::pending().await,
            command => ctx.exec(command).await?,
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

fn runs(what: &'static str) -> ChannelSpec<Runs> {
    let backoff = Backoff::fixed(Duration::from_secs(600));
    ChannelSpec::new(move |_| Runs(what)).restart(RestartPolicy::permanent().never_give_up().backoff(backoff))
}

async fn holding() -> Served {
    Served::start(Router::new().exec_stream_fn(|_, mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        0
    }))
    .await
}

fn of(tree: &Tree, kind: NodeKind) -> Vec<&Tree> {
    tree.walk().filter(|node| node.kind == kind).collect()
}

/// No actor, and no id among the nodes beside it, is there twice.
fn all_once(tree: &Tree) {
    let mut actors = HashSet::new();
    for node in tree.walk() {
        let ids: HashSet<_> = node.children.iter().map(|child| (child.kind, &child.id)).collect();
        assert_eq!(ids.len(), node.children.len(), "{tree}");
        assert!(node.actor.as_ref().is_none_or(|actor| actors.insert(actor.get_id())), "{tree}");
    }
}

async fn whole() {
    use NodeKind::{Channel, Connection, Host, Managed, Supervised};
    let (busy, quiet) = (holding().await, Served::start(echo()).await);
    let pool = Pool::new(PoolConfig::new().sessions_per_connection(3).max_connections(1)).unwrap();
    let host = pool.get_as("build", busy.client());
    let other = pool.get(quiet.client());
    soon("output", other.exec("x").output()).await.unwrap();
    let up = host.supervise(runs("follow")).await.unwrap();
    soon("its start", up.up()).await.unwrap();
    let failing = host.supervise(runs("fail")).await.unwrap();
    becomes_true("it pauses", || matches!(failing.state(), SupervisedState::Backoff { .. })).await;
    let held = [
        soon("a place", host.exec("one").spawn()).await.unwrap(),
        soon("a place", host.exec("two").spawn()).await.unwrap(),
    ];
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.exec("late").spawn().await.map(drop) })
        })
        .collect();
    becomes_true("two wait", || host.info().waiting == 2).await;

    let tree = soon("the tree", pool.tree()).await;
    all_once(&tree);
    assert_eq!((tree.kind, &*tree.name, &*tree.state), (NodeKind::Pool, "2 hosts", "open"), "{tree}");
    let hosts = of(&tree, Host);
    let [build, rest] = match hosts[..] {
        [one, two] if one.name.ends_with(" as build") => [one, two],
        [one, two] => [two, one],
        _ => panic!("{tree}"),
    };
    let kinds = |node: &Tree| node.walk().map(|node| node.kind).collect::<Vec<_>>();
    assert_eq!(
        kinds(build),
        [Host, Managed, Connection, Channel, Channel, Supervised, Channel, Supervised],
        "{tree}"
    );
    assert_eq!(kinds(rest), [Host, Managed, Connection], "{tree}");
    assert_eq!(
        build.stuck,
        ["2 wait for a place: 3 of 3 on 1 connections are taken, 0 more are being made"],
        "{tree}"
    );
    assert!(rest.stuck.is_empty(), "{tree}");
    let commands: Vec<_> =
        of(build, Channel).iter().filter_map(|node| node.get("runs")).map(ToString::to_string).collect();
    assert_eq!(commands, ["one", "two", "follow"], "{tree}");
    let states: Vec<_> = of(build, Supervised).iter().map(|node| node.state.clone()).collect();
    assert_eq!(states, ["incarnation 1 is up", "restart 1 follows a pause of 600s"]);

    drop(held);
    for call in waiting {
        soon("their turn", call).await.unwrap().unwrap();
    }
    becomes_true("nobody waits", || host.info().why_stuck().is_empty()).await;
    pool.close().await;
    let tree = soon("the tree", pool.tree()).await;
    assert_eq!((&*tree.state, of(&tree, Connection).len()), ("closed", 0), "{tree}");
}

async fn identities() {
    let served = Served::start(echo()).await;
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let hosts = [pool.get(served.client()), pool.get(served.client())];
    for host in &hosts {
        soon("output", host.exec("x").output()).await.unwrap();
    }
    let tree = soon("the tree", pool.tree()).await;
    all_once(&tree);
    let ids = |tree: &Tree| of(tree, NodeKind::Host).iter().map(|node| node.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&tree), ids(&pool.tree().await), "they stay as they are");
    pool.close().await;
}

async fn starting() {
    let served = holding().await;
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let mut timeouts = Timeouts::default();
    timeouts.close = Duration::from_millis(200);
    let host = pool.get(served.config().timeouts(timeouts));
    let supervised = host.supervise(runs("hang")).await.unwrap();
    becomes_true("it has a place", || host.info().counters.granted == 1).await;
    let tree = soon("the channel", async {
        loop {
            let tree = pool.tree().await;
            if !of(&tree, NodeKind::Channel).is_empty() {
                break tree;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    all_once(&tree);
    let [node] = of(&tree, NodeKind::Supervised)[..] else { panic!("{tree}") };
    assert_eq!(of(node, NodeKind::Channel).len(), 1, "below what supervises it: {tree}");
    drop(supervised);
    pool.close().await;
}
