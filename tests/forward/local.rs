//! Local listeners: what goes through them.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::forward::{Endpoint, Forward};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{Router, observe::NodeKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::bytes;
use crate::common::{Destination, Server, Which, any_port, becomes_true, both, echoes, enter, soon};
use crate::kit::{Peer, peer_test};

const LARGE: u64 = 64 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        peer_test("local::a_unix_socket_leads_to_a_unix_socket", [Peer::OpenSshServer], unix),
        peer_test("local::a_port_leads_to_a_unix_socket", [Peer::OpenSshServer], tcp_to_unix),
        peer_test("local::the_server_is_told_where_a_connection_comes_from", [], originator),
    ];
    trials.extend(both("local::what_is_said_comes_back", echo));
    trials.extend(both("local::each_direction_ends_by_itself_and_no_byte_is_lost", half_close));
    trials.extend(both("local::both_directions_at_once_are_byte_exact", duplex));
    trials.extend(both("local::fifty_connections_at_once_keep_their_bytes_apart", fifty));
    trials.extend(both("local::the_tree_shows_the_forward_its_counters_and_its_channels", tree));
    trials.extend(both("local::a_single_stream_needs_no_listener", single));
    trials.extend(both("local::a_slow_reader_holds_the_writer_up", back_pressure));
    trials
}

async fn echo(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let forward = conn.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    assert_ne!(forward.local_addr().port(), Some(0), "the port that was chosen is told");
    let mut stream = enter(&forward).await;
    echoes(&mut stream).await;
    drop(stream);
    becomes_true("the connection has ended", || forward.counters().open == 0).await;
    let counters = forward.counters();
    assert_eq!((counters.total, counters.refused, counters.failed), (1, 0, 0));
    assert_eq!((counters.sent, counters.received), (5, 5));
    soon("closing", forward.close()).await;
    soon("closing", conn.close()).await;
}

async fn unix() {
    let server = Server::start(Which::OpenSsh).await;
    let conn = server.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| directory.path().join(name).display().to_string());
    let target = UnixListener::bind(&there).unwrap();
    let forward = conn.forward(Forward::local(Endpoint::unix(&here), Endpoint::unix(&there))).await.unwrap();
    let mut ours = UnixStream::connect(&here).await.unwrap();
    let mut theirs = soon("a connection", target.accept()).await.unwrap().0;
    let both = async {
        ours.write_all(b"question").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "question");
        bytes::write(&mut theirs, 3, 1 << 20).await.unwrap();
        drop(theirs);
    };
    let mut back = UnixStream::connect(&here).await.unwrap();
    soon("one way", both).await;
    assert_eq!(soon("the answer", bytes::read(&mut ours, 3)).await.unwrap(), 1 << 20);
    // The socket is there as long as the forward, and whoever is on it is not touched by a shutdown in its grace.
    let mut second = soon("another connection", target.accept()).await.unwrap().0;
    let ending = {
        let forward = forward.clone();
        tokio::spawn(async move { forward.shutdown(Duration::from_secs(20)).await })
    };
    becomes_true("the socket is gone", || !std::path::Path::new(&here).exists()).await;
    back.write_all(b"x").await.unwrap();
    assert_eq!(soon("a byte", second.read_u8()).await.unwrap(), b'x');
    drop((back, second));
    soon("the end", ending).await.unwrap();
    soon("closing", conn.close()).await;
}

async fn tcp_to_unix() {
    let server = Server::start(Which::OpenSsh).await;
    let conn = server.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let there = directory.path().join("there").display().to_string();
    let target = UnixListener::bind(&there).unwrap();
    let forward = conn.forward(Forward::local(any_port(), Endpoint::unix(&there))).await.unwrap();
    let mut ours = enter(&forward).await;
    let mut theirs = soon("a connection", target.accept()).await.unwrap().0;
    theirs.write_all(b"welcome").await.unwrap();
    drop(theirs);
    let mut heard = String::new();
    soon("a welcome", ours.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "welcome");
    soon("closing", conn.close()).await;
}

async fn originator() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new().forward_tcpip(move |open| {
        let _ = tell.send((open.originator_host.clone(), open.originator_port, open.host.clone()));
        true
    });
    let server = Server::ours(router).await;
    let conn = server.connect().await;
    let there = Destination::new().await.echo();
    let forward = conn.forward(Forward::local(any_port(), ("localhost", there.port()))).await.unwrap();
    let mut stream = enter(&forward).await;
    echoes(&mut stream).await;
    let from = stream.local_addr().unwrap();
    let expected = (from.ip().to_string(), from.port(), "localhost".to_owned());
    assert_eq!(soon("the open", told.recv()).await.unwrap(), expected, "names are looked up there");
    soon("closing", conn.close()).await;
}

async fn half_close(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let there = Destination::new().await;
    let forward = conn.forward(Forward::local(any_port(), there.addr)).await.unwrap();
    let mut ours = enter(&forward).await;
    let mut theirs = there.accept().await;
    // We end first, and go on hearing; then the other way round.
    let up = async {
        bytes::write(&mut ours, 1, LARGE).await.unwrap();
        ours.shutdown().await.unwrap();
    };
    let (heard, ()) = soon("one way", async { tokio::join!(bytes::read(&mut theirs, 1), up) }).await;
    assert_eq!(heard.unwrap(), LARGE);
    let down = async {
        bytes::write(&mut theirs, 2, LARGE).await.unwrap();
        theirs.shutdown().await.unwrap();
    };
    let (heard, ()) = soon("the other way", async { tokio::join!(bytes::read(&mut ours, 2), down) }).await;
    assert_eq!(heard.unwrap(), LARGE);
    becomes_true("the connection has ended", || forward.counters().open == 0).await;
    assert_eq!(forward.counters().failed, 0);

    let mut ours = enter(&forward).await;
    let mut theirs = there.accept().await;
    theirs.shutdown().await.unwrap();
    assert_eq!(soon("their end", bytes::read(&mut ours, 0)).await.unwrap(), 0);
    let up = async {
        bytes::write(&mut ours, 4, 1 << 20).await.unwrap();
        drop(ours);
    };
    let (heard, ()) = soon("after it", async { tokio::join!(bytes::read(&mut theirs, 4), up) }).await;
    assert_eq!(heard.unwrap(), 1 << 20);
    soon("closing", conn.close()).await;
}

async fn duplex(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let there = Destination::new().await;
    let forward = conn.forward(Forward::local(any_port(), there.addr)).await.unwrap();
    let (mut our_read, mut our_write) = enter(&forward).await.into_split();
    let (mut their_read, mut their_write) = there.accept().await.into_split();
    let say = async {
        bytes::write(&mut our_write, 5, LARGE / 4).await.unwrap();
        our_write.shutdown().await.unwrap();
    };
    let answer = async {
        bytes::write(&mut their_write, 6, LARGE / 4).await.unwrap();
        their_write.shutdown().await.unwrap();
    };
    let all =
        async { tokio::join!(say, answer, bytes::read(&mut their_read, 5), bytes::read(&mut our_read, 6)) };
    let ((), (), there, here) = soon("both ways", all).await;
    assert_eq!((there.unwrap(), here.unwrap()), (LARGE / 4, LARGE / 4));
    soon("closing", conn.close()).await;
}

async fn fifty(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let forward = conn.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    let each = (0..50_u64).map(|n| {
        let forward = forward.clone();
        tokio::spawn(async move {
            let (mut from, mut to) = enter(&forward).await.into_split();
            let say = async {
                bytes::write(&mut to, n, 256 << 10).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let (heard, ()) = tokio::join!(bytes::read(&mut from, n), say);
            assert_eq!(heard.unwrap(), 256 << 10);
        })
    });
    for one in soon("all of them", futures::future::join_all(each)).await {
        one.unwrap();
    }
    becomes_true("all have ended", || forward.counters().open == 0).await;
    let counters = forward.counters();
    assert_eq!((counters.total, counters.refused, counters.failed), (50, 0, 0));
    assert_eq!((counters.sent, counters.received), (50 * (256 << 10), 50 * (256 << 10)));
    soon("closing", conn.close()).await;
}

async fn tree(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let there = Destination::new().await.echo();
    let forward = conn.forward(Forward::local(any_port(), there)).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = enter(&forward).await;
        echoes(&mut stream).await;
        streams.push(stream);
    }
    let tree = conn.tree().await;
    let [node] = tree.children.as_slice() else { panic!("{tree:#}") };
    assert_eq!((node.kind, node.state.as_str()), (NodeKind::Forward, "listening"));
    assert!(node.name.contains(&there.to_string()), "{tree:#}");
    assert_eq!(node.children.iter().filter(|child| child.kind == NodeKind::Channel).count(), 3, "{tree:#}");
    assert!(tree.to_string().contains("forward") || format!("{tree:#}").contains("3 of 1024"), "{tree:#}");
    assert_eq!(node.actor.as_ref().unwrap().get_id(), forward.actor().get_id());
    soon("closing", forward.close()).await;
    drop(forward);
    becomes_true("it is not listed", || true).await;
    assert!(conn.tree().await.children.iter().all(|node| node.kind != NodeKind::Forward));
    soon("closing", conn.close()).await;
}

async fn single(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let there = Destination::new().await.echo();
    let request = OpenRequest::DirectTcpip {
        host: there.ip().to_string(),
        port: there.port(),
        originator_host: "127.0.0.1".into(),
        originator_port: 9,
    };
    let mut stream = soon("a stream", conn.open_stream(request, ChannelOptions::new())).await.unwrap();
    stream.write_all(b"alone").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = String::new();
    soon("an echo", stream.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "alone");
    soon("closing", conn.close()).await;
}

/// What is written into a forward whose other end does not read comes to a stand, and nothing is lost of it.
async fn back_pressure(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let there = Destination::new().await;
    let forward = conn.forward(Forward::local(any_port(), there.addr)).await.unwrap();
    let mut ours = enter(&forward).await;
    let mut theirs = there.accept().await;
    let writing = tokio::spawn(async move {
        bytes::write(&mut ours, 7, 2 * LARGE).await.unwrap();
        ours
    });
    let mut before = u64::MAX;
    while forward.counters().sent != before {
        before = forward.counters().sent;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Our daemon takes 64 MiB for a connection before it stops reading: russh grants windows on receipt.
    assert!(before < LARGE + LARGE / 2, "{before} bytes were taken, and nobody reads");
    assert!(!writing.is_finished());
    let heard = async {
        let ours = async { drop(writing.await.unwrap()) };
        tokio::join!(bytes::read(&mut theirs, 7), ours).0
    };
    assert_eq!(soon("the rest", heard).await.unwrap(), 2 * LARGE);
    soon("closing", conn.close()).await;
}
