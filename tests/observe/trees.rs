//! What the trees show, against a scripted peer and dialers that fail.

use std::io;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_ssh::auth::Auth;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::observe::{Group, NodeKind, Tree, Value};
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{ChannelEvent, ChannelSpec, Client, ClientConfig, ManagedSpec, ractor};
use tokio::time::sleep;

use crate::kit::{Act, Order, Probe, SECOND, open, plain, settle};

fn probes() -> ChannelSpec<Probe> {
    let policy = RestartPolicy::permanent().backoff(Backoff::fixed(10 * SECOND));
    ChannelSpec::new(|_| Probe::new().0).restart(policy)
}

/// Kinds and names from the root down.
fn outline(tree: &Tree) -> Vec<(NodeKind, String)> {
    tree.walk().map(|node| (node.kind, node.name.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_supervised_channel_is_listed_in_every_state_and_its_channel_below_it() {
    let (conn, mut peer) = plain().await;
    let bare = open(&conn, &mut peer).await;
    let supervised = conn.supervise(probes()).await.unwrap();
    let _there = peer.expect_open().await.confirm();
    supervised.up().await.unwrap();

    let tree = conn.tree().await;
    let kinds: Vec<_> = outline(&tree).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [NodeKind::Connection, NodeKind::Supervised, NodeKind::Channel, NodeKind::Channel]);
    let channel = &tree.children[0].children[0];
    assert_eq!(channel.state, "open, incarnation 1");
    assert_eq!(tree.children[1].id, bare.here.id().to_string());
    assert_eq!(tree.len(), 4);

    // The actor of the tree is the channel's.
    channel.actor.as_ref().unwrap().kill();
    let mut states = supervised.states();
    states.wait_for(|state| matches!(state, SupervisedState::Backoff { .. })).await.unwrap();
    sleep(3 * SECOND).await;
    let tree = conn.tree().await;
    let node = &tree.children[0];
    assert_eq!(node.kind, NodeKind::Supervised);
    assert_eq!(node.stuck, ["restart 1 follows in 7 s; the last end: killed"]);

    let _there = peer.expect_open().await.confirm();
    supervised.up().await.unwrap();
    let node = conn.tree().await.children.remove(0);
    assert_eq!(node.state, "incarnation 2 is up");
    assert_eq!(node.get("restarts"), Some(&Value::Count(1)));
    assert_eq!(node.children.last().unwrap().state, "open, incarnation 2");
    assert_eq!(supervised.tree().children[0].state, "open, incarnation 2");

    supervised.stop();
    drop(supervised);
    settle().await;
    let kinds: Vec<_> = conn.tree().await.children.into_iter().map(|node| node.kind).collect();
    assert!(!kinds.contains(&NodeKind::Supervised), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn an_incarnation_whose_init_runs_is_below_its_supervised_channel_already() {
    let (conn, mut peer) = plain().await;
    let _supervised =
        conn.supervise(ChannelSpec::new(|_| Probe::new().0.on_init(|_| Act::Hang))).await.unwrap();
    let _there = peer.expect_open().await.confirm();
    sleep(2 * SECOND).await;
    let tree = conn.tree().await;
    let node = &tree.children[0];
    assert_eq!(node.state, "incarnation 1 is starting");
    assert_eq!(node.children[0].stuck, ["its behaviour has been in `init` for 2 s"]);
}

/// Owns a bare channel, and does nothing with it.
struct Owner;

enum Note {
    Event(#[expect(dead_code, reason = "its credit goes back when it is dropped")] ChannelEvent),
}

impl From<ChannelEvent> for Note {
    fn from(event: ChannelEvent) -> Self {
        Self::Event(event)
    }
}

impl Actor for Owner {
    type Msg = Note;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Note>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_bare_channel_shows_its_owner_and_a_forwarding_its_target() {
    let (conn, mut peer) = plain().await;
    let (owner, _) = Actor::spawn(None, Owner, ()).await.unwrap();
    let request = OpenRequest::DirectTcpip {
        host: "db.internal".to_owned(),
        port: 5432,
        originator_host: "localhost".to_owned(),
        originator_port: 1,
    };
    let (channel, _there) =
        tokio::join!(conn.open_bare(request, ChannelOptions::new(), owner.clone()), async {
            peer.expect_open().await.confirm()
        });
    let seen = channel.unwrap().info();
    assert_eq!(seen.owner, Some(owner.get_id()));
    assert_eq!((seen.kind, seen.command.as_deref()), ("direct-tcpip", Some("to db.internal:5432")));
    let text = format!("{:#}", conn.tree().await);
    assert!(text.contains(&format!("owner: {}", owner.get_id())), "{text}");
    assert!(text.contains("#1 to db.internal:5432: open"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_channel_without_a_connection_says_what_it_waits_for() {
    let config = ClientConfig::new("nowhere", "somebody")
        .auth(Auth::new().none())
        .host_key(HostKeyPolicy::danger_accept_anything())
        .dial_with(|| async {
            Err::<tokio::io::DuplexStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
        });
    let pauses = RestartPolicy::permanent().never_give_up().backoff(Backoff::fixed(5 * SECOND));
    let managed = Client::new(config).manage(ManagedSpec::new().restart(pauses)).await.unwrap();
    let supervised = managed.supervise(probes()).await.unwrap();
    settle().await;
    sleep(8 * SECOND).await;
    let tree = Group::new("house").with(managed.clone()).tree().await;
    let managed_node = &tree.children[0];
    let [said] = &managed_node.stuck[..] else { panic!("{managed_node:#?}") };
    assert!(said.starts_with("attempt 2 follows in 1") && said.contains("connection refused"), "{said}");
    let [channel] = &managed_node.children[..] else { panic!("{tree}") };
    assert_eq!(channel.stuck, [format!("it waits for the connection: {said}")]);
    assert_eq!(supervised.info().waits_for, Some(format!("the connection: {said}")));
    managed.stop();
    managed.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_tree_reads_as_lines_with_what_is_stuck_below() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    channel.there.data("1234");
    channel.here.cast(Order::new(|_| Act::Hang)).unwrap();
    sleep(5 * SECOND).await;
    let text = conn.tree().await.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("connection scripted: up (in "), "{text}");
    assert_eq!(lines[1], "└─ channel #1 Probe: open (in 4 B, out 0 B)");
    assert_eq!(lines[2], "     ! its behaviour has held one callback (`handle_msg`) for 5 s");
    assert_eq!(lines.len(), 3, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_gone_is_shown_with_its_end() {
    let (conn, peer) = plain().await;
    peer.vanish();
    conn.closed().await;
    settle().await;
    let tree = conn.tree().await;
    assert_eq!(tree.state, "the connection was lost: the byte stream ended");
}
