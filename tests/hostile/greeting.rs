//! The version exchange (RFC 4253 section 4.2): what is no identification string ends the connection at once, and who
//! says none in time as well.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::config::Timeouts;

use crate::peer::Peer;
use crate::rules::{Memory, alone, test};
use crate::target::Target;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("what_is_no_identification_string_ends_the_connection_at_once", junk),
        test("half_an_identification_string_is_waited_for_no_longer_than_the_version_timeout", half),
        test("a_version_that_trickles_in_ends_with_the_version_timeout", trickle),
        alone("an_endless_greeting_costs_no_memory", endless),
    ]
}

async fn junk() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let long = format!("SSH-2.0-{}\r\n", "x".repeat(300));
    let cases: [(&str, &[u8]); 9] = [
        ("a web browser", b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n\n\n"),
        ("an old protocol", b"SSH-1.5-ancient\r\n"),
        ("a banner, which only servers may send", b"hello\r\nSSH-2.0-x\r\n"),
        ("nothing but line ends", b"\r\n\r\n\r\n\r\n"),
        ("a line of more than 255 bytes", long.as_bytes()),
        ("bytes without a line end", &[0xa5; 4096]),
        ("zeros", &[0; 300]),
        ("no text", b"SSH-2.0-\xff\xfe\xfd\r\n"),
    ];
    for (what, bytes) in cases {
        let mut peer = Peer::connect(target.addr()).await;
        let addr = peer.local_addr();
        let start = Instant::now();
        let _ = peer.send_raw(bytes).await;
        peer.until_closed().await;
        assert!(start.elapsed() < Duration::from_secs(5), "{what}: {:?}", start.elapsed());
        target.says_why(addr, "version exchange failed").await;
        bystander.lives().await;
    }
}

async fn impatient() -> (Target, Duration) {
    let limit = Duration::from_millis(400);
    let target = Target::with(|config| {
        let mut timeouts = Timeouts::default();
        timeouts.version = limit;
        config.timeouts(timeouts)
    });
    (target.await, limit)
}

async fn half() {
    let (target, limit) = impatient().await;
    for bytes in [&b""[..], b"S", b"SSH-2.0-no line end"] {
        let start = Instant::now();
        let mut peer = Peer::connect(target.addr()).await;
        peer.send_raw(bytes).await.unwrap();
        peer.until_closed().await;
        let kept = start.elapsed();
        assert!(kept >= limit && kept < limit * 10, "{bytes:?}: {kept:?}");
        target.says_why(peer.local_addr(), "was not done in").await;
    }
}

async fn trickle() {
    let (target, limit) = impatient().await;
    let start = Instant::now();
    let mut peer = Peer::connect(target.addr()).await;
    peer.send_raw(b"SSH-2.0-").await.unwrap();
    while peer.send_raw(b"x").await.is_ok() && !peer.ends_within(Duration::from_millis(20)).await {}
    let kept = start.elapsed();
    assert!(kept >= limit && kept < limit * 10, "{kept:?}");
}

async fn endless() {
    let target = Target::start().await;
    let memory = Memory::now();
    for piece in [&b"banner\r\n".repeat(8192)[..], &[b'x'; 64 << 10], b"\n".repeat(64 << 10).as_slice()] {
        let mut peer = Peer::connect(target.addr()).await;
        let mut sent = 0;
        while peer.send_raw(piece).await.is_ok() && sent < 64 << 20 {
            sent += piece.len();
        }
        assert!(sent < 64 << 20, "all of an endless greeting was taken");
    }
    memory.grew_at_most(16);
    target.bystander().await.lives().await;
}
