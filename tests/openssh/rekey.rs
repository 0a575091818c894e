//! Key re-exchange under load (RFC 4253 section 9), by either side.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::RekeyLimit;
use ractor_ssh::{Client, ConnectionRef};

use crate::common::{Echo, config, connect, counters, soon};
use crate::kit::{Peer, Sshd, peer_test};
use crate::transfer::load;

const MIB: u64 = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("rekey::the_server_may_rekey_every_64_kib_under_two_way_load", SERVER, by_the_server),
        peer_test("rekey::ours_every_64_kib_survives_8_downloads_and_8_uploads", SERVER, || ours(64 << 10)),
        peer_test("rekey::ours_every_1_mib_survives_8_downloads_and_8_uploads", SERVER, || ours(1 << 20)),
        peer_test("rekey::on_request_completes_under_load", SERVER, on_request_under_load),
        peer_test("rekey::on_request_completes_on_an_idle_connection", SERVER, on_request_idle),
        peer_test("rekey::by_time_happens_on_an_idle_connection", SERVER, by_time),
    ]
}

async fn by_the_server() {
    let sshd = Sshd::builder().max_sessions(20).rekey_limit("64K").start().unwrap();
    let conn = connect(&sshd).await;
    load(&conn, &sshd, 4, 2 * MIB).await;
    let rekeys = counters(&conn).await.rekeys;
    assert!(rekeys >= 16, "only {rekeys} exchanges");
}

async fn ours(bytes: u64) {
    let sshd = Sshd::builder().max_sessions(20).start().unwrap();
    let limit = RekeyLimit::new(bytes, Duration::from_secs(3600));
    let conn = Client::new(config(&sshd).rekey(limit)).connect().await.unwrap();
    load(&conn, &sshd, 8, 16 * MIB).await;
    let rekeys = counters(&conn).await.rekeys;
    assert!(rekeys >= 2, "only {rekeys} exchanges");
    Echo::start(&conn).await.round().await;
}

async fn on_request_under_load() {
    let sshd = Sshd::builder().max_sessions(20).start().unwrap();
    let conn = connect(&sshd).await;
    let asking = tokio::spawn(rekey_until_closed(conn.clone()));
    load(&conn, &sshd, 8, 8 * MIB).await;
    let seen = counters(&conn).await.rekeys;
    conn.close().await;
    let asked = soon("the last request", asking).await.unwrap();
    // One may have been done after the look.
    assert!(asked >= 1 && seen + 1 >= asked, "{asked} asked for, {seen} seen");
}

/// One after the other, and says how many were done.
async fn rekey_until_closed(conn: ConnectionRef) -> u64 {
    let mut done = 0;
    while conn.rekey().await.is_ok() {
        done += 1;
    }
    done
}

async fn on_request_idle() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    for n in 1..=5 {
        soon("rekey", conn.rekey()).await.unwrap();
        assert_eq!(counters(&conn).await.rekeys, n);
    }
    let (one, two) = tokio::join!(conn.rekey(), conn.rekey());
    one.and(two).expect("one exchange serves both");
    Echo::start(&conn).await.round().await;
}

async fn by_time() {
    let sshd = Sshd::builder().start().unwrap();
    let limit = RekeyLimit::new(1 << 30, Duration::from_millis(100));
    let conn = Client::new(config(&sshd).rekey(limit)).connect().await.unwrap();
    crate::common::becomes_true("keys were exchanged three times", || async {
        counters(&conn).await.rekeys >= 3
    })
    .await;
    Echo::start(&conn).await.round().await;
}
