//! A daemon, managed connections and channels of all kinds in one process, over pipes.

use std::sync::Arc;

use ractor_ssh::auth::Auth;
use ractor_ssh::config::{ChannelOptions, SlowConsumer};
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::observe::{Group, NodeKind, Observe, Tree};
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, Client, ClientChannel, ClientConfig, Daemon,
    DaemonConfig, DaemonRef, ManagedSpec, Next, Router, ServerChannel, ServerSide,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::kit::{SECOND, within};

/// Takes what comes and keeps the channel open.
struct Sink;

impl ServerChannel for Sink {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        if let ChannelMsg::Exec { want_reply: true, .. } = msg {
            ctx.reply_request(true)?;
        }
        Ok(Next::Continue)
    }
}

struct Runs(&'static str);

impl ClientChannel for Runs {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec(self.0).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn daemon() -> DaemonRef {
    let config = DaemonConfig::new(([127, 0, 0, 1], 0))
        .host_key(generate_ed25519())
        .danger_let_anyone_in()
        .router(Router::new().session(|_| Sink));
    Daemon::start(config).await.unwrap()
}

fn config() -> ClientConfig {
    ClientConfig::new("pipe", "somebody")
        .auth(Auth::new().none())
        .host_key(HostKeyPolicy::danger_accept_anything())
}

fn piped(daemon: &Arc<DaemonRef>) -> ClientConfig {
    let daemon = Arc::clone(daemon);
    config().dial_with(move || {
        let (near, far) = duplex(1 << 16);
        let served = daemon.serve(far).map(|_| near);
        async move { served.map_err(std::io::Error::other) }
    })
}

fn kinds(tree: &Tree) -> Vec<NodeKind> {
    tree.walk().map(|node| node.kind).collect()
}

#[tokio::test(start_paused = true)]
async fn both_ends_of_a_channel_are_in_one_tree_with_what_runs_on_it() {
    let daemon = Arc::new(daemon().await);
    let managed = Client::new(piped(&daemon)).manage(ManagedSpec::new()).await.unwrap();
    let supervised = managed.supervise(ChannelSpec::new(|_| Runs("follow the log"))).await.unwrap();
    within(60 * SECOND, supervised.up()).await.unwrap();
    let conn = managed.connection().await.unwrap();
    let free = conn.session_channel(Runs("once")).await.unwrap();
    let house = Group::new("house").with(Arc::clone(&daemon)).with(managed.clone());
    let tree = house.tree().await;
    use NodeKind::{Channel, Connection, Managed, Supervised};
    assert_eq!(
        kinds(&tree),
        [
            NodeKind::Group,
            NodeKind::Daemon,
            Connection,
            Channel,
            Channel,
            Managed,
            Connection,
            Channel,
            Supervised,
            Channel
        ],
        "{tree}"
    );
    let texts: Vec<_> = tree
        .walk()
        .filter(|node| node.kind == Channel)
        .filter_map(|node| node.get("runs"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(texts, ["follow the log", "once", "once", "follow the log"]);
    assert!(tree.walk().all(|node| node.stuck.is_empty()), "{tree}");

    let [session] = &daemon.sessions()[..] else { panic!("one connection") };
    let there = daemon.connection_info(session.id).await.unwrap();
    let commands: Vec<_> = there.channels.iter().filter_map(|channel| channel.command.as_deref()).collect();
    assert_eq!(commands, ["follow the log", "once"]);

    // By russh's book, the peer may still send a whole window; ours is known as far as one packet.
    let seen = free.info();
    assert_eq!(seen.receive_window, Some(2 << 20));
    assert_eq!(seen.send_window, Some(32 << 10));
    assert_eq!(seen.outbound.unwrap().limit, 1 << 20);
    managed.stop();
    managed.wait().await;
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_isolated_channel_is_below_its_supervised_channel_though_on_a_connection_of_its_own() {
    let daemon = Arc::new(daemon().await);
    let conn = Client::new(piped(&daemon)).connect().await.unwrap();
    let spec = ChannelSpec::new(|_| Runs("apart"))
        .options(ChannelOptions::new().slow_consumer(SlowConsumer::Isolate));
    let supervised = conn.supervise(spec).await.unwrap();
    within(60 * SECOND, supervised.up()).await.unwrap();
    let tree = conn.tree().await;
    assert_eq!(kinds(&tree), [NodeKind::Connection, NodeKind::Supervised, NodeKind::Channel], "{tree}");
    assert_eq!(tree.children[0].children[0].get("runs"), Some(&"apart".to_owned().into()));
    assert!(conn.info().await.unwrap().channels.is_empty());
    conn.close().await;
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_a_login_is_listed_with_its_phase() {
    let daemon = daemon().await;
    let (_silent, far) = duplex(1 << 16);
    daemon.serve(far).unwrap();
    sleep(2 * SECOND).await;
    let tree = Observe::tree(&daemon).await;
    assert_eq!(
        (tree.children[0].name.as_str(), tree.children[0].state.as_str()),
        ("no login", "version exchange")
    );
    daemon.stop().await;
}

/// Passes bytes on while the way is free.
async fn wire(near: DuplexStream, far: DuplexStream, free: watch::Receiver<bool>) {
    let (mut near_in, mut near_out) = tokio::io::split(near);
    let (mut far_in, mut far_out) = tokio::io::split(far);
    let there = async {
        let mut free = free.clone();
        let mut piece = vec![0; 1 << 14];
        while let Ok(len @ 1..) = near_in.read(&mut piece).await {
            let _ = free.wait_for(|free| *free).await;
            if far_out.write_all(&piece[..len]).await.is_err() {
                break;
            }
        }
    };
    let back = tokio::io::copy(&mut far_in, &mut near_out);
    tokio::join!(there, back).1.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_byte_stream_that_takes_nothing_is_told_of_connection_and_channel() {
    let daemon = daemon().await;
    let (near, left) = duplex(1 << 16);
    let (right, far) = duplex(1 << 16);
    let (free, is_free) = watch::channel(true);
    let wire = tokio::spawn(wire(left, right, is_free));
    daemon.serve(far).unwrap();
    let conn = Client::new(config()).connect_stream(near).await.unwrap();
    let request = (OpenRequest::Session, ChannelOptions::new().high_water(8 << 20));
    let channel = conn.open_channel(request.0, request.1, Runs("take")).await.unwrap();
    free.send_replace(false);
    channel.send(vec![0; 2 << 20]).await.unwrap();
    sleep(3 * SECOND).await;
    let tree = conn.tree().await;
    let [said] = &tree.stuck[..] else { panic!("{tree}") };
    assert!(said.starts_with("the byte stream takes nothing: ") && said.ends_with(" for 3 s"), "{said}");
    let [said] = &tree.children[0].stuck[..] else { panic!("{tree}") };
    assert!(said.starts_with("the connection's byte stream takes nothing: "), "{said}");
    free.send_replace(true);
    within(60 * SECOND, channel.flush()).await.unwrap();
    assert!(conn.tree().await.walk().all(|node| node.stuck.is_empty()));
    conn.close().await;
    wire.abort();
    daemon.stop().await;
}
