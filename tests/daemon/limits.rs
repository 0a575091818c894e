//! What a peer cannot do: stay without a login, reach channels before it, have more than its share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::error::OpenError;
use ractor_ssh::wire::codes::OpenFailureReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Anything, Served, USER, open_when_free, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("a_peer_that_trickles_is_cut_off_at_the_login_grace", NONE, trickle),
        peer_test("a_silent_peer_is_cut_off_at_the_version_timeout", NONE, silent),
        peer_test("a_login_callback_that_never_answers_ends_with_the_login_grace", NONE, endless_callback),
        peer_test("nothing_of_the_connection_protocol_works_before_the_login", NONE, before_login),
        peer_test("refused_logins_are_counted_and_end_the_connection", NONE, attempts),
        peer_test("more_channels_than_allowed_are_refused_with_resource_shortage", NONE, channels),
        peer_test("more_connections_than_allowed_are_closed_at_once", NONE, connections),
        peer_test("more_peers_without_login_than_allowed_are_closed_at_once", NONE, unauthenticated),
        peer_test("a_peer_stuck_before_its_login_delays_nobody", NONE, stuck_neighbours),
    ]
}

/// SSH_MSG_IGNORE without encryption (RFC 4253 sections 6 and 11.2).
fn ignore_packet() -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 12, 6, 2, 0, 0, 0, 0];
    packet.resize(16, 0);
    packet
}

/// How long the daemon keeps a peer that sends `piece` again and again.
async fn kept(served: &Served, first: &[u8], piece: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    let start = Instant::now();
    stream.write_all(first).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut buffer = [0; 4096];
    soon(async {
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => if matches!(read, Ok(0) | Err(_)) {
                    return start.elapsed();
                },
                _ = ticks.tick() => if stream.write_all(piece).await.is_err() {
                    return start.elapsed();
                }
            }
        }
    })
    .await
}

async fn trickle() {
    let grace = Duration::from_millis(700);
    let served = Served::with(|config| config.login_grace(grace)).await;
    let kept = kept(&served, b"SSH-2.0-trickle\r\n", &ignore_packet()).await;
    assert!(kept >= grace && kept < grace * 4, "{kept:?}");
}

async fn silent() {
    let limit = Duration::from_millis(300);
    let served = Served::with(|config| {
        let mut timeouts = ractor_ssh::config::Timeouts::default();
        timeouts.version = limit;
        config.timeouts(timeouts)
    })
    .await;
    let kept = kept(&served, b"", b"").await;
    assert!(kept >= limit && kept < limit * 10, "{kept:?}");
}

async fn endless_callback() {
    let served = Served::with(|config| {
        config
            .login_grace(Duration::from_millis(700))
            .password(|_, _| async { std::future::pending::<bool>().await })
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    let login = soon(handle.authenticate_password(USER, "x")).await;
    assert!(!matches!(login, Ok(result) if result.success()));
}

async fn before_login() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let served = Served::with(|config| {
        config.session_channel(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            crate::ours::Report::new(&tokio::sync::mpsc::unbounded_channel().0)
        })
    })
    .await;
    let handle = served.plain_unauthenticated().await;
    let opened = tokio::time::timeout(Duration::from_millis(500), handle.channel_open_session()).await;
    assert!(!matches!(opened, Ok(Ok(_))), "a channel was opened without a login");
    assert_eq!(made.load(Ordering::SeqCst), 0);
    let known = served.connect_plain().await;
    known.channel_open_session().await.unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

async fn attempts() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let served = Served::with(|config| {
        config.max_auth_attempts(3).public_key(move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            async { false }
        })
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    let key = Arc::new(served.identity.clone());
    for _ in 0..10 {
        let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::clone(&key), None);
        match soon(handle.authenticate_publickey(USER, key)).await {
            Ok(result) => assert!(!result.success()),
            Err(_) => break,
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert!(handle.is_closed(), "still connected after 10 refused logins");
}

async fn channels() {
    let served = Served::with(|config| config.router(router()).max_channels(3)).await;
    let conn = served.connect().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(conn.session_channel(Quiet).await.unwrap());
    }
    let Err(OpenError::Refused { reason, .. }) = conn.session_channel(Quiet).await else {
        panic!("a fourth channel was opened")
    };
    assert_eq!(reason, OpenFailureReason::ResourceShortage);
    open.pop().unwrap().close();
    open_when_free(&conn).await;
    soon(conn.close()).await;
}

async fn connections() {
    let served = Served::with(|config| config.router(router()).max_connections(1)).await;
    let first = served.connect().await;
    let config = russh::client::Config::default();
    let addr = served.daemon.local_addr();
    assert!(soon(russh::client::connect(config.into(), addr, Anything)).await.is_err());
    soon(first.close()).await;
    let again = async {
        loop {
            let client = ractor_ssh::Client::new(served.client_config());
            if let Ok(conn) = client.connect().await {
                return conn;
            }
        }
    };
    soon(soon(again).await.close()).await;
}

async fn unauthenticated() {
    let served = Served::with(|config| config.router(router()).max_unauthenticated(1)).await;
    let conn = served.connect().await;
    let mut silent = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    let mut greeting = [0; 4];
    soon(silent.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"SSH-");
    let mut second = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    assert!(matches!(soon(second.read(&mut greeting)).await, Ok(0) | Err(_)));
    conn.session_channel(Quiet).await.unwrap();
    soon(conn.close()).await;
}

async fn stuck_neighbours() {
    let served = Served::start(router()).await;
    let mut stuck = Vec::new();
    for _ in 0..40 {
        stuck.push(TcpStream::connect(served.daemon.local_addr()).await.unwrap());
    }
    let start = Instant::now();
    let conn = soon(served.connect()).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    soon(conn.close()).await;
}
