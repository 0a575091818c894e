//! How many connections there may be, and what those hear that are too many.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::{Client, ServeError};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Served, Ssh, eventually, read_all, soon};

const NONE: [Peer; 0] = [];
const NO_LIMIT: usize = usize::MAX;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("more_connections_than_allowed_are_told_and_closed", NONE, connections),
        peer_test("more_peers_without_login_than_allowed_are_told_and_closed", NONE, unauthenticated),
        peer_test("between_start_and_full_some_peers_are_dropped_and_some_are_not", NONE, early_drop),
        peer_test("more_peers_without_login_from_one_place_than_allowed_are_told", NONE, per_source),
        peer_test("more_connections_from_one_place_than_allowed_are_told", NONE, all_per_source),
        peer_test("streams_without_an_address_count_for_no_place", NONE, no_address),
        peer_test("a_stream_that_is_given_and_one_too_many_is_told", NONE, served_stream_is_told),
        peer_test("a_hundred_stuck_peers_delay_no_login", NONE, stuck_neighbours),
        peer_test(
            "a_hundred_stuck_peers_delay_a_login_by_less_than_its_own_time",
            NONE,
            stuck_neighbours_measured,
        )
        .with_ignored_flag(true),
        peer_test("peers_that_stop_after_hello_go_and_the_daemon_stays_usable", NONE, stop_after_hello),
        peer_test("ssh_that_is_one_too_many_is_told", [Peer::OpenSshClient], ssh_is_told),
        peer_test("wrong_caps_are_refused_by_field", NONE, wrong_caps),
    ]
}

async fn tcp(served: &Served) -> TcpStream {
    soon(TcpStream::connect(served.daemon.local_addr())).await.unwrap()
}

/// A peer that has been greeted and says nothing.
async fn greeted(served: &Served) -> TcpStream {
    let mut stream = tcp(served).await;
    let mut greeting = [0; 4];
    soon(stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"SSH-");
    stream
}

/// What a peer is told that is not served.
async fn told(served: &Served) -> String {
    soon(read_all(tcp(served).await)).await
}

/// OTP: max_sessions_ssh_connect_parallel/_sequential, max_sessions_sftp_start_channel_parallel/_sequential,
/// max_sessions_drops_tcp_connects.
async fn connections() {
    let served = Served::with(|config| config.router(router()).max_connections(3)).await;
    let (one, two) = tokio::join!(served.connect(), served.connect());
    let three = served.connect().await;
    for _ in 0..3 {
        assert_eq!(told(&served).await, "Too many connections\r\n");
    }
    let fourth = soon(Client::new(served.client_config()).connect()).await;
    assert!(fourth.is_err());
    let counters = served.daemon.info().counters;
    assert_eq!((counters.connections_accepted, counters.refused_connections), (3, 4));
    // Those inside do not notice, and channels are another matter.
    let channels: Vec<_> = futures::future::join_all((0..4).map(|_| one.session_channel(Quiet))).await;
    assert!(channels.iter().all(Result::is_ok));
    soon(three.close()).await;
    eventually(|| served.daemon.info().connections == 2).await;
    soon(served.connect().await.close()).await;
    soon(one.close()).await;
    soon(two.close()).await;
}

async fn unauthenticated() {
    let served = Served::with(|config| config.router(router()).max_unauthenticated(1)).await;
    let conn = served.connect().await;
    let silent = greeted(&served).await;
    assert_eq!(told(&served).await, "Exceeded MaxStartups\r\n");
    let info = served.daemon.info();
    assert_eq!((info.connections, info.unauthenticated), (2, 1));
    assert_eq!(info.counters.refused_unauthenticated, 1);
    conn.session_channel(Quiet).await.unwrap();
    drop(silent);
    eventually(|| served.daemon.info().unauthenticated == 0).await;
    soon(served.connect().await.close()).await;
    soon(conn.close()).await;
}

/// The chance that this fails by itself is below 2 in a billion.
async fn early_drop() {
    let served = Served::with(|config| {
        config.router(router()).max_startups(1, 50, 1_000_000).max_per_source(NO_LIMIT)
    })
    .await;
    let _first = greeted(&served).await;
    let mut stuck = Vec::new();
    for _ in 0..30 {
        let mut stream = tcp(&served).await;
        let mut greeting = [0; 4];
        soon(stream.read_exact(&mut greeting)).await.unwrap();
        if &greeting == b"SSH-" {
            stuck.push(stream);
        } else {
            assert_eq!(&greeting, b"Exce");
        }
    }
    let counters = served.daemon.info().counters;
    assert!(counters.refused_early > 0 && !stuck.is_empty(), "{counters:?}");
    assert_eq!(usize::try_from(counters.refused_early).unwrap() + stuck.len(), 30);
}

async fn per_source() {
    let served = Served::with(|config| {
        config.router(router()).max_startups(NO_LIMIT, 0, NO_LIMIT).listen(([127, 0, 0, 1], 0))
    })
    .await;
    let mut stuck = Vec::new();
    for _ in 0..16 {
        stuck.push(greeted(&served).await);
    }
    assert_eq!(told(&served).await, "Exceeded MaxStartups\r\n");
    let other = served.daemon.local_addrs()[1];
    let line = soon(read_all(TcpStream::connect(other).await.unwrap())).await;
    assert_eq!(line, "Exceeded MaxStartups\r\n", "all listeners count together");
    assert_eq!(served.daemon.info().counters.refused_per_source, 2);
    stuck.pop();
    eventually(|| served.daemon.info().unauthenticated == 15).await;
    // A login makes room.
    let first = served.connect().await;
    let second = served.connect().await;
    soon(first.close()).await;
    soon(second.close()).await;
}

async fn all_per_source() {
    let served = Served::with(|config| config.router(router()).max_connections_per_source(2)).await;
    let (first, second) = (served.connect().await, served.connect().await);
    assert_eq!(told(&served).await, "Exceeded MaxStartups\r\n");
    assert_eq!(served.daemon.info().counters.refused_per_source, 1);
    soon(first.close()).await;
    soon(second.close()).await;
}

/// A stream that tokio has not polled yet is told as well.
async fn served_stream_is_told() {
    let served = Served::with(|config| config.router(router()).max_connections(1)).await;
    let conn = served.connect().await;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, peer) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    let refused = served.daemon.serve_from(TcpStream::from_std(ours).unwrap(), peer, None);
    assert!(matches!(refused, Err(ServeError::TooManyConnections { limit: 1 })), "{refused:?}");
    assert_eq!(soon(read_all(theirs)).await, "Too many connections\r\n");
    soon(conn.close()).await;
}

async fn no_address() {
    let served = Served::with(|config| config.max_per_source(1).max_connections_per_source(1)).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let (ours, theirs) = tokio::io::duplex(1024);
        served.daemon.serve(theirs).unwrap();
        streams.push(ours);
    }
    let peer = ([192, 0, 2, 1], 1).into();
    let (_ours, theirs) = tokio::io::duplex(1024);
    served.daemon.serve_from(theirs, peer, None).unwrap();
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let refused = served.daemon.serve_from(theirs, peer, None);
    assert_eq!(refused, Err(ServeError::TooManyFromSource { limit: 1 }));
    let mut line = String::new();
    soon(ours.read_to_string(&mut line)).await.unwrap();
    assert_eq!(line, "Exceeded MaxStartups\r\n");
}

/// The login needs nothing of the stuck ones: all of them are still there, with all of their time, when it is done.
/// Prints how long a login takes, alone and beside a hundred that do not come to an end.
async fn stuck_neighbours_measured() {
    const LOGINS: usize = 41;
    let served = Served::with(|config| {
        config.router(router()).max_startups(NO_LIMIT, 0, 200).max_per_source(NO_LIMIT)
    })
    .await;
    let median = async || {
        let mut took = Vec::new();
        for _ in 0..LOGINS {
            let start = Instant::now();
            let conn = soon(served.connect()).await;
            took.push(start.elapsed());
            soon(conn.close()).await;
        }
        took.sort_unstable();
        took[LOGINS / 2]
    };
    let alone = median().await;
    let mut stuck = Vec::new();
    for _ in 0..100 {
        let mut stream = greeted(&served).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-stuck\r\n").await.unwrap();
        stuck.push(stream);
    }
    let beside = median().await;
    println!("a login takes {alone:?}, beside {} stuck ones {beside:?} (medians of {LOGINS})", stuck.len());
    assert!(beside <= alone * 2, "delayed by more than a login's own time: {alone:?}, {beside:?}");
}

async fn stuck_neighbours() {
    const STUCK: usize = 100;
    let served = Served::with(|config| {
        config.router(router()).max_startups(NO_LIMIT, 0, 200).max_per_source(NO_LIMIT)
    })
    .await;
    let mut stuck = Vec::new();
    for index in 0..STUCK {
        let mut stream = greeted(&served).await;
        if index % 2 == 0 {
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-stuck\r\n").await.unwrap();
        }
        stuck.push(stream);
    }
    for _ in 0..5 {
        let conn = soon(served.connect()).await;
        let info = served.daemon.info();
        assert_eq!((info.unauthenticated, info.counters.login_timeouts), (STUCK, 0));
        conn.session_channel(Quiet).await.unwrap().exec("cat").await.unwrap();
        soon(conn.close()).await;
    }
    assert_eq!(stuck.len(), STUCK);
}

/// OTP: client_close_after_hello (120 clients, room for 20), ssh_connect_negtimeout_parallel.
async fn stop_after_hello() {
    let served = Served::with(|config| {
        config
            .router(router())
            .max_connections(20)
            .max_startups(NO_LIMIT, 0, NO_LIMIT)
            .max_per_source(NO_LIMIT)
            .login_grace(Duration::from_secs(2))
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..120 {
        let mut stream = tcp(&served).await;
        // One that was turned away may be closed already.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-hello\r\n").await;
        clients.push(stream);
    }
    eventually(|| {
        let counters = served.daemon.info().counters;
        counters.refused_connections + counters.login_timeouts == 120
    })
    .await;
    eventually(|| served.daemon.info().connections == 0).await;
    assert!(served.daemon.info().counters.login_timeouts >= 20);
    assert!(served.daemon.sessions().is_empty());
    soon(served.connect().await.close()).await;
    drop(clients);
}

async fn ssh_is_told() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router()).max_unauthenticated(1)).await;
    let _silent = greeted(&served).await;
    let output = soon(ssh.command(&served).args(["-v", "127.0.0.1", "fail"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Exceeded MaxStartups"), "{stderr}");
    assert!(stderr.contains("Connection closed by"), "{stderr}");
}

async fn wrong_caps() {
    let config = || crate::support::config().0;
    for (config, field) in [
        (config().max_connections(0), "max_connections"),
        (config().max_unauthenticated(0), "max_unauthenticated"),
        (config().max_per_source(0), "max_per_source"),
        (config().max_connections_per_source(0), "max_connections_per_source"),
        (config().max_startups(1, 101, 10), "max_startups"),
        (config().max_startups(0, 100, 10), "max_startups"),
        (config().idle_timeout(Duration::ZERO), "idle_timeout"),
        (config().initial_idle_timeout(Duration::ZERO), "initial_idle_timeout"),
        (config().max_lifetime(Duration::ZERO), "max_lifetime"),
    ] {
        assert_eq!(config.check().unwrap_err().field, field);
    }
}
