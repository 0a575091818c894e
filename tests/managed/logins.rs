//! Who is at the other end, and who we are: looked at anew at each login.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::ConnectError;
use ractor_ssh::auth::{Auth, AuthError};
use ractor_ssh::managed::{ManagedEnd, ManagedState};

use crate::common::{auth, config, config_by, fails, is_backoff, is_up, manage, reaches, spec};
use crate::kit::{Peer, Sshd, peer_test};
use crate::proxy::Proxy;

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("logins::a_host_key_that_has_changed_is_the_end_and_nothing_is_sent", SERVER, changed_key),
        peer_test("logins::a_host_key_that_has_changed_is_tried_again_when_told_so", SERVER, changed_back),
        peer_test("logins::refused_credentials_are_the_end", SERVER, refused),
        peer_test("logins::refused_credentials_are_tried_again_when_told_so", SERVER, refused_for_a_while),
        peer_test("logins::the_provider_is_asked_at_each_login", SERVER, provider),
        peer_test("logins::a_provider_that_fails_is_asked_again", SERVER, provider_fails),
    ]
}

/// Counts the logins.
struct Counted {
    asked: Arc<AtomicUsize>,
    config: ractor_ssh::ClientConfig,
}

/// With a provider, by way of the proxy.
fn counted(sshd: &Sshd, port: u16) -> Counted {
    let asked = Arc::new(AtomicUsize::new(0));
    let (auth, count) = (auth(sshd), Arc::clone(&asked));
    let config = config_by(sshd, port).auth_with(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let auth = auth.clone();
        async move { Ok(auth) }
    });
    Counted { asked, config }
}

fn is_host_key(end: &ManagedEnd) -> bool {
    matches!(end, ManagedEnd::NotConnected(error) if matches!(**error, ConnectError::HostKey(_)))
}

fn is_refusal(end: &ManagedEnd) -> bool {
    matches!(end, ManagedEnd::NotConnected(error)
        if matches!(**error, ConnectError::Auth(AuthError::Refused { .. })))
}

async fn changed_key() {
    let (sshd, other) = (Sshd::builder().start().unwrap(), Sshd::builder().start().unwrap());
    // It would let us in.
    other.authorize(&sshd.user_key().public_line().unwrap()).unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    let Counted { asked, config } = counted(&sshd, proxy.port());
    let managed = manage(config, spec()).await;
    is_up(&managed, 1).await;
    proxy.lead_to(other.port());
    let before = proxy.upwards();
    proxy.reset_once();
    let end = fails(&managed).await;
    assert!(is_host_key(&end), "{end}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "no credentials are asked for");
    let sent = proxy.upwards() - before;
    assert!(sent < 10_000, "{sent} bytes were sent");
    // The end is final: nobody tries again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((managed.info().attempts, proxy.accepted()), (2, 2));
    assert_eq!(managed.info().failures.kex, 1);
    other.wait_for_log("[preauth]", Duration::from_secs(10)).await.unwrap();
    let log = other.log();
    assert!(
        !log.contains("Accepted") && !log.contains(sshd.user_key().fingerprint().unwrap().as_str()),
        "{log}"
    );
    match managed.connection().await {
        Err(error) if !error.is_retryable() => {}
        other => panic!("{other:?}"),
    }
}

async fn changed_back() {
    let (sshd, other) = (Sshd::builder().start().unwrap(), Sshd::builder().start().unwrap());
    other.authorize(&sshd.user_key().public_line().unwrap()).unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    let Counted { asked, config } = counted(&sshd, proxy.port());
    let managed = manage(config, spec().retry_untrusted_host(true)).await;
    is_up(&managed, 1).await;
    proxy.lead_to(other.port());
    proxy.reset_once();
    reaches(&managed, "refusing", |_| managed.info().failures.kex >= 3).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    proxy.lead_to(sshd.port());
    is_up(&managed, 2).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(!other.log().contains("Accepted"));
}

/// What was authorized is so no more, and who is logged in is thrown out.
fn lock_out(sshd: &Sshd) {
    std::fs::write(sshd.directory().join("authorized_keys"), "").unwrap();
    tokio::task::block_in_place(|| sshd.kill_sessions());
}

async fn refused() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec()).await;
    is_up(&managed, 1).await;
    lock_out(&sshd);
    let end = fails(&managed).await;
    assert!(is_refusal(&end), "{end}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let info = managed.info();
    assert_eq!((info.attempts, info.connects, info.failures.auth), (2, 1, 1));
}

async fn refused_for_a_while() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec().retry_refused_login(true)).await;
    is_up(&managed, 1).await;
    lock_out(&sshd);
    let state =
        reaches(&managed, "refused", |state| is_backoff(state) && managed.info().failures.auth >= 2).await;
    match state {
        ManagedState::Backoff { why, .. } => assert!(is_refusal(&why), "{why}"),
        other => panic!("{other}"),
    }
    sshd.authorize(&sshd.user_key().public_line().unwrap()).unwrap();
    is_up(&managed, 2).await;
}

async fn provider() {
    let sshd = Sshd::builder().start().unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    let Counted { asked, config } = counted(&sshd, proxy.port());
    let managed = manage(config, spec()).await;
    for number in 1..=5 {
        is_up(&managed, number).await;
        assert_eq!(asked.load(Ordering::SeqCst) as u64, number);
        proxy.reset_once();
    }
}

async fn provider_fails() {
    let sshd = Sshd::builder().start().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let (good, count) = (auth(&sshd), Arc::clone(&asked));
    let config = config(&sshd).auth_with(move || {
        let time = count.fetch_add(1, Ordering::SeqCst);
        let good: Auth = good.clone();
        async move { if time < 3 { Err("the vault is sealed".into()) } else { Ok(good) } }
    });
    let managed = manage(config, spec()).await;
    is_up(&managed, 1).await;
    assert_eq!((asked.load(Ordering::SeqCst), managed.info().failures.auth), (4, 3));
}
