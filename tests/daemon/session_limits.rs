//! What a logged-in peer may ask for on its connection, and what it gets beyond.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::error::{OpenError, RequestError};
use ractor_ssh::wire::PtyRequest;
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::{ConnectionRef, Rate, Router, SessionLimits};

use tokio::net::TcpListener;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Served, eventually, open_when_free, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("max_channels_option_counts_opens_and_leaves_room_after_a_close", NONE, max_channels),
        peer_test("after_its_last_open_a_connection_drains_and_ends", NONE, max_opens),
        peer_test("opens_beyond_the_rate_get_resource_shortage_and_the_rate_recovers", NONE, open_rate),
        peer_test("a_flood_of_opens_ends_the_connection_and_no_other", NONE, open_flood),
        peer_test("a_flood_of_requests_ends_the_connection_and_no_other", NONE, request_flood),
        peer_test("requests_that_are_too_big_are_refused_and_the_channel_lives", NONE, too_big),
        peer_test("max_sessions_counts_sessions_and_no_other_channels", NONE, max_sessions),
        peer_test("a_session_that_is_never_used_is_closed", NONE, first_request),
        peer_test("a_limit_of_nothing_is_refused_by_name", NONE, bad_limits),
    ]
}

async fn with(change: impl FnOnce(&mut SessionLimits), routes: Router) -> Served {
    let mut limits = SessionLimits::default();
    change(&mut limits);
    Served::with(|config| config.router(routes).session_limits(limits)).await
}

async fn refusal(conn: &ConnectionRef) -> OpenFailureReason {
    match soon(conn.session_channel(Quiet)).await {
        Err(OpenError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

async fn max_channels() {
    let served = Served::with(|config| config.router(router()).max_channels(2)).await;
    let conn = served.connect().await;
    // Open, and not used for anything: they count.
    let first = conn.session_channel(Quiet).await.unwrap();
    let mut cat = soon(conn.exec("cat").spawn()).await.unwrap();
    assert_eq!(refusal(&conn).await, OpenFailureReason::ResourceShortage);
    first.close();
    soon(first.wait()).await;
    let again = open_when_free(&conn).await;
    again.exec("cat").await.unwrap();
    assert_eq!(refusal(&conn).await, OpenFailureReason::ResourceShortage);
    drop(cat.stdin.take());
    assert!(soon(cat.wait()).await.unwrap().success());
    soon(conn.close()).await;
}

async fn max_opens() {
    let served = with(|limits| limits.max_opens = 3, router()).await;
    let conn = served.connect().await;
    for _ in 0..2 {
        assert_eq!(soon(conn.exec("fail").output()).await.unwrap().status.code(), Some(7));
    }
    let mut last = soon(conn.exec("cat").stream()).await.unwrap();
    assert_eq!(refusal(&conn).await, OpenFailureReason::ResourceShortage);
    last.send("still served").await.unwrap();
    assert_eq!(&soon(last.chunk()).await.unwrap().unwrap()[..], b"still served");
    assert!(soon(last.finish()).await.unwrap().success());
    soon(conn.closed()).await;
    soon(served.connect().await.close()).await;
}

async fn max_sessions() {
    let routes = router().forward_tcpip(|_| true);
    let served = with(|limits| limits.max_sessions = 2, routes).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port().into();
    let handle = served.connect_plain().await;
    let first = handle.channel_open_session().await.unwrap();
    let _second = handle.channel_open_session().await.unwrap();
    let mut forwarded = Vec::new();
    for _ in 0..5 {
        let channel = handle.channel_open_direct_tcpip("127.0.0.1", port, "127.0.0.1", 1).await.unwrap();
        forwarded.push((channel, soon(listener.accept()).await.unwrap()));
    }
    match handle.channel_open_session().await {
        Err(russh::Error::ChannelOpenFailure(reason)) => {
            assert_eq!(reason, russh::ChannelOpenFailure::ResourceShortage);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(served.daemon.info().counters.opens_refused, 1);
    assert_eq!(served.daemon.sessions().first().map(|session| session.opens_refused), Some(1));
    first.close().await.unwrap();
    soon(async { while handle.channel_open_session().await.is_err() {} }).await;
}

async fn first_request() {
    let limit = Duration::from_millis(300);
    let served = with(|limits| limits.first_request = limit, router()).await;
    let conn = served.connect().await;
    let mut used = soon(conn.exec("cat").stream()).await.unwrap();
    let unused = conn.session_channel(Quiet).await.unwrap();
    assert!(soon(unused.wait()).await.is_normal());
    used.send("still served").await.unwrap();
    assert_eq!(&soon(used.chunk()).await.unwrap().unwrap()[..], b"still served");
    soon(conn.close()).await;
}

async fn open_rate() {
    let served = with(|limits| limits.opens = Rate::new(50, 3), router()).await;
    let conn = served.connect().await;
    let mut refused = 0;
    let mut open = Vec::new();
    for _ in 0..20 {
        match soon(conn.session_channel(Quiet)).await {
            Ok(channel) => open.push(channel),
            Err(OpenError::Refused { reason: OpenFailureReason::ResourceShortage, .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(open.len() >= 3 && refused > 0, "{} opened, {refused} refused", open.len());
    open_when_free(&conn).await;
    soon(conn.close()).await;
}

/// Opens until the connection ends.
async fn open_flood() {
    let served = with(|limits| limits.opens = Rate::new(1, 10), router()).await;
    let bystander = served.connect().await;
    let mut cat = soon(bystander.exec("cat").stream()).await.unwrap();
    let handle = served.connect_plain().await;
    let (mut opened, mut refused) = (Vec::new(), 0);
    soon(async {
        loop {
            match handle.channel_open_session().await {
                Ok(channel) => opened.push(channel),
                Err(russh::Error::ChannelOpenFailure(reason)) => {
                    assert_eq!(reason, russh::ChannelOpenFailure::ResourceShortage);
                    refused += 1;
                }
                Err(_) => break,
            }
        }
    })
    .await;
    assert!(opened.len() >= 10 && opened.len() < 20, "{}", opened.len());
    assert!(refused >= 80, "{refused}");
    eventually(|| served.daemon.info().counters.expelled == 1).await;
    // The connection is gone, and what it counted is not.
    assert!(served.daemon.info().counters.opens_refused >= refused);
    cat.send("untouched").await.unwrap();
    assert_eq!(&soon(cat.chunk()).await.unwrap().unwrap()[..], b"untouched");
    soon(bystander.close()).await;
}

async fn request_flood() {
    let served = with(|limits| limits.requests = Rate::new(10, 20), router()).await;
    let bystander = served.connect().await;
    let mut cat = soon(bystander.exec("cat").stream()).await.unwrap();
    let handle = served.connect_plain().await;
    let mut channel = handle.channel_open_session().await.unwrap();
    let flood = async {
        while channel.window_change(80, 24, 0, 0).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), flood).await.expect("nobody stopped it");
    soon(async { while channel.wait().await.is_some() {} }).await;
    eventually(|| served.daemon.info().counters.expelled == 1).await;
    assert!(served.daemon.info().counters.requests_refused >= 180);
    cat.send("untouched").await.unwrap();
    assert_eq!(&soon(cat.chunk()).await.unwrap().unwrap()[..], b"untouched");
    soon(bystander.close()).await;
}

async fn too_big() {
    let change = |limits: &mut SessionLimits| {
        (limits.command_bytes, limits.env_vars, limits.env_bytes, limits.name_bytes) = (100, 3, 1000, 16);
    };
    let served = with(change, router()).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let long = "x".repeat(101);
    let refused = [
        channel.exec(long.clone()).await,
        channel.subsystem(long.clone()).await,
        channel.ptty_alloc(PtyRequest::new(long.clone())).await,
        channel.ptty_alloc(PtyRequest::new("vt100").size(100_000, 24)).await,
        channel.setenv("BIG", "x".repeat(1001)).await,
    ];
    for answer in refused {
        assert!(matches!(answer, Err(RequestError::Refused { .. })), "{answer:?}");
    }
    for number in 0..5 {
        let answer = channel.setenv(format!("V{number}"), "x").await;
        assert_eq!(answer.is_ok(), number < 3, "{answer:?}");
    }
    assert_eq!(served.daemon.info().counters.requests_refused, 7);
    channel.exec("cat").await.unwrap();
    soon(conn.close()).await;
}

async fn bad_limits() {
    let mut limits = SessionLimits::default();
    limits.opens = Rate::new(0, 1);
    let (config, _, _) = crate::support::config();
    let error = config.session_limits(limits).check().unwrap_err();
    assert_eq!(error.field, "opens");
}
