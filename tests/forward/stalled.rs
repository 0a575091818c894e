//! A connection whose client does not read, beside others.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, SlowConsumer};
use ractor_ssh::forward::{Forward, ForwardHandle};
use ractor_ssh::{ConnectionRef, Router};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::bytes;
use crate::common::{
    Destination, Server, Which, any_port, becomes_true, both, echoes, enter, is_reset, soon,
};
use crate::kit::{Peer, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        peer_test("stalled::an_upload_that_nobody_reads_holds_nobody_up", [Peer::OpenSshServer], upload),
        peer_test("stalled::uploads_to_a_daemon_that_nobody_reads_make_way", [], upload_to_ours),
        peer_test("stalled::a_daemon_can_say_when_uploads_make_way", [], upload_to_ours_soon),
    ];
    trials.extend(both("stalled::a_download_that_nobody_reads_makes_way_for_its_siblings", beside));
    trials.extend(both("stalled::a_slow_download_is_only_slow", slow));
    trials.extend(both("stalled::a_very_slow_download_is_only_slow", very_slow));
    trials
}

/// What comes from here never ends.
async fn endless() -> std::net::SocketAddr {
    Destination::new().await.serve(|mut stream| async move {
        flood(&mut stream).await;
    })
}

/// Writes for ever, as fast as it can.
async fn flood(stream: &mut TcpStream) {
    let some = bytes::piece(1, 0, 1 << 20);
    while stream.write_all(&some).await.is_ok() {}
}

async fn beside(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let stalled = conn.forward(Forward::local(any_port(), endless().await)).await.unwrap();
    let talk = conn.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    let mut active = enter(&talk).await;
    echoes(&mut active).await;
    let mut stuck = enter(&stalled).await;
    let mut longest = Duration::ZERO;
    let began = Instant::now();
    while stalled.counters().failed == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "it is not ended");
        let before = Instant::now();
        echoes(&mut active).await;
        longest = longest.max(before.elapsed());
    }
    // What is waited for is its patience, once: 5 s.
    assert!(longest < Duration::from_secs(7), "the sibling was held up for {longest:?}");
    assert_eq!((talk.counters().failed, stalled.counters().open), (0, 0));
    is_reset(&mut stuck).await;
    assert!(conn.info().await.unwrap().counters.stalled >= 1);
    soon("closing", conn.close()).await;
}

async fn upload() {
    let (conn, stalled, mut active, _destination) = uploading(Server::start(Which::OpenSsh).await).await;
    for _ in 0..20 {
        let before = Instant::now();
        echoes(&mut active).await;
        assert!(before.elapsed() < Duration::from_secs(2), "the sibling was held up");
    }
    assert_eq!(stalled.counters().open, 1, "it waits, and is not ended");
    soon("closing", conn.close()).await;
}

/// A daemon's budgets are its own: by default it stops reading for its stall timeout.
async fn upload_to_ours() {
    let server = Server::ours(Router::new().forward_tcpip(|_| true)).await;
    let (conn, stalled, mut active, _destination) = uploading(server).await;
    let mut longest = Duration::ZERO;
    let began = Instant::now();
    while stalled.counters().failed == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "it is not ended");
        let before = Instant::now();
        echoes(&mut active).await;
        longest = longest.max(before.elapsed());
    }
    assert!(longest < Duration::from_secs(7), "the sibling was held up for {longest:?}");
    soon("closing", conn.close()).await;
}

async fn upload_to_ours_soon() {
    let patience = SlowConsumer::Yield(Duration::from_millis(500));
    let options = ChannelOptions::new().slow_consumer(patience);
    let router = Router::new().forward_tcpip(|_| true);
    let server = Server::ours_with(router, |config| config.channel_options(options)).await;
    let (conn, stalled, mut active, _destination) = uploading(server).await;
    for _ in 0..20 {
        let before = Instant::now();
        echoes(&mut active).await;
        assert!(before.elapsed() < Duration::from_secs(2), "the sibling was held up");
    }
    becomes_true("it makes way", || stalled.counters().failed == 1).await;
    soon("closing", conn.close()).await;
}

/// An upload whose destination does not read, until nothing moves any more.
async fn uploading(
    server: Server,
) -> (ConnectionRef, ForwardHandle, TcpStream, (Server, ForwardHandle, TcpStream)) {
    let conn = server.connect().await;
    let there = Destination::new().await;
    let stalled = conn.forward(Forward::local(any_port(), there.addr)).await.unwrap();
    let talk = conn.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    let mut active = enter(&talk).await;
    echoes(&mut active).await;
    let mut stuck = enter(&stalled).await;
    let theirs = there.accept().await;
    tokio::spawn(async move { flood(&mut stuck).await });
    let mut before = u64::MAX;
    while stalled.counters().sent != before {
        before = stalled.counters().sent;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (conn, stalled, active, (server, talk, theirs))
}

/// One that reads all the time, if slowly, is not taken for one that is stalled.
async fn slow(which: Which) {
    reads_slowly(which, 256 << 10, Duration::from_secs(9)).await;
}

/// What the system's buffers hold would last for 30 s and more.
async fn very_slow(which: Which) {
    reads_slowly(which, 1000, Duration::from_secs(12)).await;
}

async fn reads_slowly(which: Which, at_once: usize, time: Duration) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let slow = conn.forward(Forward::local(any_port(), endless().await)).await.unwrap();
    let talk = conn.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    let mut stream = enter(&slow).await;
    let mut active = enter(&talk).await;
    let began = Instant::now();
    let mut buffer = vec![0; at_once];
    let mut paused = 0;
    while began.elapsed() < time || paused == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        soon("some bytes", tokio::io::AsyncReadExt::read(&mut stream, &mut buffer)).await.unwrap();
        paused = conn.info().await.unwrap().counters.stalled.max(u64::from(began.elapsed() >= time));
    }
    assert_eq!(slow.counters().failed, 0);
    drop(stream);
    becomes_true("it has ended", || slow.counters().open == 0).await;
    echoes(&mut active).await;
    soon("closing", conn.close()).await;
}
