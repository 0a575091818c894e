//! Key re-exchange under load (RFC 4253 section 9), by either side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, RekeyLimit};
use ractor_ssh::session::ChannelStream;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{Client, ConnectionRef};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::common::{Echo, SOON, becomes_true, config, connect, counters, soon};
use crate::kit::{Peer, Sshd, peer_test};
use crate::transfer::load;

const MIB: u64 = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("rekey::the_server_may_rekey_every_64_kib_under_two_way_load", SERVER, by_the_server),
        peer_test("rekey::ours_every_64_kib_survives_8_downloads_and_8_uploads", SERVER, || ours(64 << 10)),
        peer_test("rekey::ours_every_1_mib_survives_8_downloads_and_8_uploads", SERVER, || ours(1 << 20)),
        peer_test("rekey::three_hundred_downloads_survive_ours_and_lose_no_byte", SERVER, hundreds),
        peer_test("rekey::channels_that_say_little_all_the_time_do_not_delay_ours", SERVER, chatty),
        peer_test("rekey::both_sides_may_ask_all_the_time_under_two_way_load", SERVER, both_sides),
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

/// Ours are asked for, the server's come by its limit; they meet.
async fn both_sides() {
    let sshd = Sshd::builder().max_sessions(20).rekey_limit("1M").start().unwrap();
    let limit = RekeyLimit::new(MIB, Duration::from_secs(3600));
    let conn = Client::new(config(&sshd).rekey(limit)).connect().await.unwrap();
    let asking = tokio::spawn(rekey_until_closed(conn.clone()));
    load(&conn, &sshd, 8, 8 * MIB).await;
    assert!(counters(&conn).await.rekeys >= 16);
    Echo::start(&conn).await.round().await;
    conn.close().await;
    soon("the last request", asking).await.unwrap();
}

/// Busy downloads beside channels that never use their window up.
async fn chatty() {
    let sshd = Sshd::builder().max_sessions(20).start().unwrap();
    let conn = connect(&sshd).await;
    let mut readers = JoinSet::new();
    let counts: Vec<Arc<AtomicU64>> = (0..8).map(|_| Arc::default()).collect();
    for count in &counts[..4] {
        let stream = conn.exec("while echo tick; do sleep 0.1; done").stream().await.unwrap();
        readers.spawn(count_bytes(stream, Arc::clone(count)));
    }
    for count in &counts[4..] {
        let stream = conn.exec("cat /dev/zero").stream().await.unwrap();
        readers.spawn(count_bytes(stream, Arc::clone(count)));
    }
    for _ in 0..3 {
        let before: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        becomes_true("all channels go on", || async {
            counts.iter().zip(&before).all(|(count, then)| count.load(Ordering::Relaxed) > *then)
        })
        .await;
        soon("an exchange", conn.rekey()).await.unwrap();
    }
    assert!(readers.try_join_next().is_none(), "a channel has ended");
}

async fn count_bytes(mut stream: ChannelStream, count: Arc<AtomicU64>) {
    while let Ok(Some(chunk)) = stream.chunk().await {
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
}

async fn ours(bytes: u64) {
    let sshd = Sshd::builder().max_sessions(20).start().unwrap();
    let limit = RekeyLimit::new(bytes, Duration::from_secs(3600));
    let conn = Client::new(config(&sshd).rekey(limit)).connect().await.unwrap();
    // An exchange waits for its moment; the trial's own time limits the rounds.
    while counters(&conn).await.rekeys < 3 {
        load(&conn, &sshd, 8, 8 * MIB).await;
    }
    Echo::start(&conn).await.round().await;
}

/// All these windows together are far more than russh keeps.
async fn hundreds() {
    const DOWNLOADS: usize = 300;
    const EXCHANGES: u64 = 4;
    let sshd = Sshd::builder().start().unwrap();
    let source = source().await;
    // Exchanges begin by themselves, too, while channels are being opened.
    let conn = Client::new(config(&sshd).rekey(RekeyLimit::new(256 * MIB, Duration::from_secs(3600))));
    let conn = conn.connect().await.unwrap();
    let counts: Vec<Arc<AtomicU64>> = (0..DOWNLOADS).map(|_| Arc::default()).collect();
    let mut readers = JoinSet::new();
    for count in &counts {
        let request = OpenRequest::DirectTcpip {
            host: source.ip().to_string(),
            port: source.port(),
            originator_host: "127.0.0.1".into(),
            originator_port: 1,
        };
        let stream = conn.open_stream(request, ChannelOptions::new()).await.unwrap();
        readers.spawn(read_on(stream, Arc::clone(count)));
    }
    let seen = || counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
    for _ in 0..EXCHANGES {
        let before = seen();
        becomes_true("all downloads go on", || async {
            seen().iter().zip(&before).all(|(now, then)| now > then)
        })
        .await;
        tokio::time::timeout(4 * SOON, conn.rekey()).await.expect("an exchange in time").unwrap();
    }
    let before = seen();
    becomes_true("all downloads go on", || async {
        seen().iter().zip(&before).all(|(now, then)| now > then)
    })
    .await;
    assert!(readers.try_join_next().is_none(), "a download has ended");
    assert!(counters(&conn).await.rekeys > EXCHANGES);
}

/// What every download is made of, over and over.
const BLOCK: [u8; 251] = {
    let mut block = [0; 251];
    let mut at = 0;
    while at < block.len() {
        #[expect(clippy::cast_possible_truncation, reason = "below 251")]
        let byte = at as u8;
        block[at] = byte;
        at += 1;
    }
    block
};

/// Sends whoever connects [`BLOCK`]s without end.
async fn source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let much = BLOCK.repeat(512);
        while let Ok((mut stream, _)) = listener.accept().await {
            let much = much.clone();
            tokio::spawn(async move { while stream.write_all(&much).await.is_ok() {} });
        }
    });
    addr
}

/// Reads [`BLOCK`]s until the stream ends.
async fn read_on(mut stream: ChannelStream, count: Arc<AtomicU64>) {
    let much = BLOCK.repeat(512);
    let mut at = 0;
    while let Ok(Some(chunk)) = stream.chunk().await {
        assert!(
            much[at..].starts_with(&chunk),
            "other bytes after {} of them",
            count.load(Ordering::Relaxed)
        );
        at = (at + chunk.len()) % BLOCK.len();
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
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
    becomes_true("keys were exchanged three times", || async { counters(&conn).await.rekeys >= 3 }).await;
    Echo::start(&conn).await.round().await;
}
