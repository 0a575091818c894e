//! From its making to its end: bounds, close, shutdown, dropped handles, a killed actor.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::ConnectionRef;
use ractor_ssh::forward::{Forward, ForwardEnd, ForwardHandle, ForwardState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{
    Destination, Server, Which, any_port, becomes_true, echoes, enter, entrance, is_reset, soon,
};
use crate::kit::peer_test;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("life::no_more_connections_are_taken_than_allowed_and_the_next_ones_wait", [], bound),
        peer_test("life::close_cuts_connections_off_and_frees_the_port", [], close),
        peer_test("life::shutdown_lets_connections_end_within_the_grace", [], shutdown),
        peer_test("life::shutdown_cuts_off_what_is_left_after_the_grace", [], grace_over),
        peer_test("life::without_a_handle_nobody_is_listened_to_and_connections_go_on", [], dropped),
        peer_test("life::a_killed_actor_takes_everything_with_it_and_is_seen", [], killed),
        peer_test("life::a_forward_keeps_its_connection_open", [], keeps),
    ]
}

async fn set_up(spec: impl FnOnce(Forward) -> Forward) -> (Server, ConnectionRef, ForwardHandle) {
    let server = Server::start(Which::Ours).await;
    let conn = server.connect().await;
    let there = Destination::new().await.echo();
    let forward = conn.forward(spec(Forward::local(any_port(), there))).await.unwrap();
    (server, conn, forward)
}

async fn talking(forward: &ForwardHandle) -> TcpStream {
    let mut stream = enter(forward).await;
    echoes(&mut stream).await;
    stream
}

async fn nobody_listens(forward: &ForwardHandle) {
    assert!(TcpStream::connect(entrance(forward)).await.is_err());
    // The port is free again.
    drop(tokio::net::TcpListener::bind(entrance(forward)).await.unwrap());
}

async fn bound() {
    let (_server, conn, forward) = set_up(|spec| spec.max_connections(2)).await;
    let one = talking(&forward).await;
    let _two = talking(&forward).await;
    let mut three = enter(&forward).await;
    three.write_all(b"hello").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), three.read_u8()).await;
    assert!(early.is_err(), "it is served beyond the bound");
    assert_eq!((forward.counters().open, forward.counters().total), (2, 2));
    assert!(forward.tree().stuck[0].contains("2 connections"), "{:#}", forward.tree());
    drop(one);
    assert_eq!(soon("its turn", three.read_u8()).await.unwrap(), b'h');
    assert_eq!((forward.counters().open, forward.counters().total), (2, 3));
    soon("closing", conn.close()).await;
}

async fn close() {
    let (_server, conn, forward) = set_up(|spec| spec).await;
    let mut stream = talking(&forward).await;
    soon("closing", forward.close()).await;
    is_reset(&mut stream).await;
    nobody_listens(&forward).await;
    assert!(matches!(forward.state(), ForwardState::Ended(ForwardEnd::Closed)));
    assert_eq!((forward.counters().open, forward.counters().failed), (0, 1));
    soon("closing again", forward.close()).await;
    // The connection is not touched.
    let again = conn.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    talking(&again).await;
    soon("closing", conn.close()).await;
}

async fn shutdown() {
    let (_server, conn, forward) = set_up(|spec| spec).await;
    let mut stream = talking(&forward).await;
    let ending = tokio::spawn({
        let forward = forward.clone();
        async move { forward.shutdown(Duration::from_secs(20)).await }
    });
    soon("draining", async {
        let mut states = forward.states();
        states.wait_for(|state| matches!(state, ForwardState::Draining)).await.map(drop)
    })
    .await
    .unwrap();
    nobody_listens(&forward).await;
    echoes(&mut stream).await;
    assert!(!ending.is_finished());
    drop(stream);
    soon("the end", ending).await.unwrap();
    assert_eq!(forward.counters().failed, 0);
    soon("closing", conn.close()).await;
}

async fn grace_over() {
    let (_server, conn, forward) = set_up(|spec| spec).await;
    let mut stream = talking(&forward).await;
    soon("the end", forward.shutdown(Duration::from_millis(100))).await;
    is_reset(&mut stream).await;
    assert_eq!(forward.counters().failed, 1);
    // A stop can only become more urgent.
    let again = conn.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    let _stream = talking(&again).await;
    let patient = tokio::spawn({
        let again = again.clone();
        async move { again.shutdown(Duration::MAX).await }
    });
    soon("a close", again.close()).await;
    soon("a close", patient).await.unwrap();
    soon("closing", conn.close()).await;
}

async fn dropped() {
    let (_server, conn, forward) = set_up(|spec| spec).await;
    let mut stream = talking(&forward).await;
    let at = entrance(&forward);
    let mut states = forward.states();
    drop(forward.clone());
    drop(talking_again(&forward).await);
    drop(forward);
    soon("draining", states.wait_for(|state| matches!(state, ForwardState::Draining))).await.unwrap();
    assert!(TcpStream::connect(at).await.is_err());
    echoes(&mut stream).await;
    stream.shutdown().await.unwrap();
    assert_eq!(soon("its end", stream.read(&mut [0; 1])).await.unwrap(), 0);
    soon("the end", states.wait_for(|state| matches!(state, ForwardState::Ended(_)))).await.unwrap();
    soon("closing", conn.close()).await;
}

async fn talking_again(forward: &ForwardHandle) -> TcpStream {
    talking(forward).await
}

async fn killed() {
    let (_server, conn, forward) = set_up(|spec| spec).await;
    let mut stream = talking(&forward).await;
    forward.actor().kill();
    let end = soon("the end", forward.closed()).await;
    assert!(matches!(end, ForwardEnd::Actor(_)), "{end}");
    is_reset(&mut stream).await;
    becomes_true("nothing is left", || forward.counters().open == 0).await;
    nobody_listens(&forward).await;
    assert!(conn.tree().await.to_string().contains("killed"));
    soon("closing", conn.close()).await;
}

async fn keeps() {
    let (_server, conn, forward) = set_up(|spec| spec).await;
    let actor = conn.actor();
    drop(conn);
    talking(&forward).await;
    drop(forward);
    soon("the connection's end", actor.wait(None)).await.unwrap();
}
