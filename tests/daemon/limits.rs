//! What a peer cannot do: stay without a login, reach channels before it, have more than its share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::error::OpenError;
use ractor_ssh::wire::codes::OpenFailureReason;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Served, USER, open_when_free, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("a_login_callback_that_never_answers_ends_with_the_login_grace", NONE, endless_callback),
        peer_test("nothing_of_the_connection_protocol_works_before_the_login", NONE, before_login),
        peer_test("refused_logins_are_counted_and_end_the_connection", NONE, attempts),
        peer_test("more_channels_than_allowed_are_refused_with_resource_shortage", NONE, channels),
    ]
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
