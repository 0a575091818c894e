//! Channels that the server opens: what was asked for is taken in, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor_ssh::error::{ConnectionError, ForwardError, OpenError};
use ractor_ssh::session::stream_fn;
use ractor_ssh::test_util::{ScriptConfig, ScriptedPeer, scripted};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::{ListenRequest, OpenRequest};
use ractor_ssh::{ClientChannel, ConnectionRef, RemoteListener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::kit::{Probe, assert_clean, info, plain, settle};

const PROHIBITED: OpenFailureReason = OpenFailureReason::AdministrativelyProhibited;

fn at(address: &str, port: u16) -> OpenRequest {
    OpenRequest::ForwardedTcpip {
        address: address.into(),
        port,
        originator_address: "192.0.2.1".into(),
        originator_port: 4711,
    }
}

fn quiet() -> Probe {
    Probe::new().0
}

type Listening = JoinHandle<Result<RemoteListener, ForwardError>>;

fn listening(conn: &ConnectionRef, address: &'static str, port: u16) -> Listening {
    let conn = conn.clone();
    tokio::spawn(async move { conn.tcpip_forward(address, port, |_| Some(quiet())).await })
}

/// Has the peer listen.
async fn listener(conn: &ConnectionRef, peer: &mut ScriptedPeer, port: u16) -> RemoteListener {
    let listening = listening(conn, "localhost", port);
    peer.expect_listen().await.accept((port == 0).then_some(2000));
    listening.await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_not_asked_for_is_refused_and_counted() {
    let (conn, peer) = plain().await;
    let unasked = [
        OpenRequest::Session,
        at("localhost", 80),
        OpenRequest::ForwardedStreamlocal { path: "/run/s".into() },
        OpenRequest::AuthAgent,
        OpenRequest::X11 { originator_address: "localhost".into(), originator_port: 1 },
        OpenRequest::DirectStreamlocal { path: "/run/s".into() },
    ];
    let count = unasked.len() as u64;
    for request in unasked {
        assert_eq!(peer.open(request).await.unwrap_err(), PROHIBITED);
    }
    assert_eq!(info(&conn).await.counters.opens_refused, count);
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_of_a_listener_runs_its_behaviour_and_is_seen_as_others_are() {
    let (conn, mut peer) = plain().await;
    let listening = {
        let conn = conn.clone();
        tokio::spawn(async move {
            conn.tcpip_forward("localhost", 0, |open| {
                assert_eq!((open.originator_address.as_str(), open.originator_port), ("192.0.2.1", 4711));
                Some(stream_fn(|mut stream| async move {
                    let mut heard = Vec::new();
                    stream.read_to_end(&mut heard).await.unwrap();
                    heard.reverse();
                    stream.write_all(&heard).await.unwrap();
                }))
            })
            .await
        })
    };
    let asked = peer.expect_listen().await;
    assert_eq!(*asked.request(), ListenRequest::Tcpip { address: "localhost".into(), port: 0 });
    assert!(!asked.is_cancel());
    asked.accept(Some(2000));
    let listener = listening.await.unwrap().unwrap();
    assert_eq!((listener.address(), listener.port()), ("localhost", 2000));
    let mut channel = peer.open(at("localhost", 2000)).await.unwrap();
    let seen = info(&conn).await;
    assert_eq!(seen.channels[0].kind, "forwarded-tcpip");
    assert_eq!(seen.channels[0].command.as_deref(), Some("at localhost:2000"));
    channel.data("abc");
    channel.eof();
    assert_eq!(channel.expect_data().await, "cba");
    channel.expect_eof().await;
    channel.expect_close().await;
    channel.close();
    drop(listener);
    let cancel = peer.expect_listen().await;
    assert!(cancel.is_cancel());
    assert_eq!(*cancel.request(), ListenRequest::Tcpip { address: "localhost".into(), port: 2000 });
    cancel.accept(None);
    assert_clean(&conn, &peer).await;
    assert_eq!(peer.open(at("localhost", 2000)).await.unwrap_err(), PROHIBITED);
}

#[tokio::test(start_paused = true)]
async fn an_open_that_comes_before_the_answer_waits_for_it() {
    let (conn, mut peer) = plain().await;
    let listening = listening(&conn, "localhost", 0);
    let asked = peer.expect_listen().await;
    let (channel, listener) = tokio::join!(peer.open(at("localhost", 2000)), async {
        settle().await;
        assert!(info(&conn).await.channels.is_empty(), "taken in before it was known to be asked for");
        asked.accept(Some(2000));
        listening.await.unwrap().unwrap()
    });
    channel.unwrap();
    assert_eq!(listener.port(), 2000);
    assert_eq!(info(&conn).await.counters.opens_refused, 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_that_comes_before_a_refusal_is_refused() {
    let (conn, mut peer) = plain().await;
    let listening = listening(&conn, "localhost", 0);
    let asked = peer.expect_listen().await;
    let (channel, refused) = tokio::join!(peer.open(at("localhost", 2000)), async {
        settle().await;
        asked.refuse();
        listening.await.unwrap()
    });
    assert_eq!(channel.unwrap_err(), PROHIBITED);
    let error = refused.unwrap_err();
    assert!(matches!(&error, ForwardError::Refused { what } if what == "localhost:0"), "{error}");
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up_and_its_late_yes_is_cancelled() {
    let config = ScriptConfig::new().timeouts(|timeouts| timeouts.request = Duration::from_secs(5));
    let (conn, mut peer) = scripted(config).await;
    let listening = listening(&conn, "localhost", 0);
    let asked = peer.expect_listen().await;
    let error = listening.await.unwrap().unwrap_err();
    assert!(matches!(error, ForwardError::Timeout { after } if after == Duration::from_secs(5)), "{error}");
    asked.accept(Some(2000));
    let cancel = peer.expect_listen().await;
    assert!(cancel.is_cancel());
    assert_eq!(*cancel.request(), ListenRequest::Tcpip { address: "localhost".into(), port: 2000 });
    cancel.refuse();
    settle().await;
    assert_eq!(peer.open(at("localhost", 2000)).await.unwrap_err(), PROHIBITED);
}

#[tokio::test(start_paused = true)]
async fn a_yes_that_nobody_waits_for_is_cancelled() {
    let (conn, mut peer) = plain().await;
    let listening = listening(&conn, "localhost", 2000);
    let asked = peer.expect_listen().await;
    listening.abort();
    settle().await;
    asked.accept(None);
    assert!(peer.expect_listen().await.is_cancel());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_no_port_has_none() {
    let (conn, mut peer) = plain().await;
    for chosen in [None, Some(70_000)] {
        let listening = listening(&conn, "localhost", 0);
        peer.expect_listen().await.accept(chosen);
        assert!(matches!(listening.await.unwrap(), Err(ForwardError::NoPort)));
    }
}

#[tokio::test(start_paused = true)]
async fn connections_go_on_after_a_cancel_and_none_comes_after_its_answer() {
    let (conn, mut peer) = plain().await;
    let listener = listener(&conn, &mut peer, 0).await;
    let old = peer.open(at("localhost", 2000)).await.unwrap();
    let cancelling = tokio::spawn(listener.cancel());
    let cancel = peer.expect_listen().await;
    // The server had it before it heard of the cancel.
    let late = peer.open(at("localhost", 2000)).await.unwrap();
    cancel.accept(None);
    cancelling.await.unwrap().unwrap();
    assert_eq!(peer.open(at("localhost", 2000)).await.unwrap_err(), PROHIBITED);
    assert_eq!(info(&conn).await.channels.len(), 2);
    for mut channel in [old, late] {
        channel.close();
        channel.expect_close().await;
    }
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_behaviour_that_is_not_made_refuses_and_a_panic_harms_nothing() {
    let (conn, mut peer) = plain().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let asking =
        conn.tcpip_forward("localhost", 2000, move |_| match counted.fetch_add(1, Ordering::Relaxed) {
            0 => None,
            1 => panic!("on purpose"),
            _ => Some(quiet()),
        });
    let (listener, ()) = tokio::join!(asking, async { peer.expect_listen().await.accept(None) });
    let _listener = listener.unwrap();
    assert_eq!(peer.open(at("localhost", 2000)).await.unwrap_err(), PROHIBITED);
    assert_eq!(peer.open(at("localhost", 2000)).await.unwrap_err(), PROHIBITED);
    peer.open(at("localhost", 2000)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_servers_channels_and_ours_share_the_places() {
    let (conn, mut peer) = scripted(ScriptConfig::new().limits(|limits| limits.max_channels = 2)).await;
    let _listener = listener(&conn, &mut peer, 0).await;
    let first = peer.open(at("localhost", 2000)).await.unwrap();
    let _second = peer.open(at("localhost", 2000)).await.unwrap();
    let third = peer.open(at("localhost", 2000)).await.unwrap_err();
    assert_eq!(third, OpenFailureReason::ResourceShortage);
    let ours = conn.session_channel(quiet()).await;
    assert!(matches!(ours, Err(OpenError::TooManyChannels { limit: 2 })), "{ours:?}");
    first.close();
    settle().await;
    let (ours, _there) =
        tokio::join!(conn.session_channel(quiet()), async { peer.expect_open().await.confirm() });
    ours.unwrap();
    assert_eq!(peer.open(at("localhost", 2000)).await.unwrap_err(), OpenFailureReason::ResourceShortage);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_opens_ends_the_connection_and_less_does_not() {
    let (conn, peer) = plain().await;
    for _ in 0..4000 {
        assert_eq!(peer.open(at("localhost", 1)).await.unwrap_err(), PROHIBITED);
    }
    assert_eq!(peer.open(at("localhost", 1)).await.unwrap_err(), OpenFailureReason::ResourceShortage);
    assert_eq!(conn.phase(), ractor_ssh::error::Phase::Up);
    for _ in 0..40_000 {
        let _ = peer.open(at("localhost", 1)).await;
    }
    assert!(matches!(conn.closed().await, ConnectionError::Expelled(_)));
}

#[tokio::test(start_paused = true)]
async fn a_draining_connection_takes_nothing_in_and_asks_for_nothing() {
    let (conn, mut peer) = plain().await;
    let listener = listener(&conn, &mut peer, 0).await;
    let channel = peer.open(at("localhost", 2000)).await.unwrap();
    let draining = {
        let conn = conn.clone();
        tokio::spawn(async move { conn.shutdown(Duration::from_secs(60)).await })
    };
    settle().await;
    assert_eq!(peer.open(at("localhost", 2000)).await.unwrap_err(), PROHIBITED);
    assert!(matches!(listening(&conn, "localhost", 1).await.unwrap(), Err(ForwardError::Draining)));
    channel.close();
    draining.await.unwrap();
    assert!(matches!(listener.closed().await, ConnectionError::Closed));
    assert!(matches!(listener.cancel().await, Err(ForwardError::Connection(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_ends_what_waits_for_an_answer() {
    let (conn, mut peer) = plain().await;
    let held = listener(&conn, &mut peer, 0).await;
    let asking = listening(&conn, "localhost", 3000);
    let _asked = peer.expect_listen().await;
    let cancelling = tokio::spawn(held.cancel());
    let _cancel = peer.expect_listen().await;
    peer.vanish();
    assert!(matches!(asking.await.unwrap(), Err(ForwardError::Connection(_))));
    assert!(matches!(cancelling.await.unwrap(), Err(ForwardError::Connection(_))));
    assert!(matches!(listening(&conn, "localhost", 1).await.unwrap(), Err(ForwardError::Connection(_))));
}

#[tokio::test(start_paused = true)]
async fn a_listener_keeps_its_connection() {
    let (conn, mut peer) = plain().await;
    let listener = listener(&conn, &mut peer, 0).await;
    drop(conn);
    settle().await;
    let channel = peer.open(at("localhost", 2000)).await.unwrap();
    channel.close();
    settle().await;
    assert_eq!(listener.connection().phase(), ractor_ssh::error::Phase::Up);
    drop(listener);
    peer.expect_disconnect().await;
}

/// Only for the type: what a function makes is a behaviour like any other.
fn _is_a_behaviour() -> impl ClientChannel {
    stream_fn(|_| async {})
}
