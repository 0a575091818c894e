//! Packets no client sends: they end their own channel, with a status, and no other.

use libtest_mimic::Trial;
use ractor_ssh::wire::codes::DataType;
use ractor_ssh::wire::request::ExitStatus;

use super::raw::{
    Body, DATA, EXTENDED, FOR_READING, INIT, NO_SUCH_FILE, OPEN, Raw, STAT, STATUS, UNSUPPORTED, packet,
    serve,
};
use crate::kit::{Peer, peer_test};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("sftp_a_malformed_packet_ends_its_channel_and_no_other", NONE, malformed),
        peer_test("sftp_requests_before_the_greeting_end_the_channel", NONE, before_the_greeting),
        peer_test("sftp_requests_nobody_knows_are_unsupported_and_the_session_goes_on", NONE, unknown),
        peer_test("sftp_ignores_extended_data", NONE, extended_data),
        peer_test("sftp_takes_a_request_byte_by_byte", NONE, trickle),
        peer_test("sftp_ends_with_status_0_at_eof_and_with_1_in_the_middle_of_a_packet", NONE, eof),
    ]
}

async fn malformed() {
    let root = tempfile::tempdir().unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let mut sibling = Raw::open(&conn).await;
    let cases: [(&str, Vec<u8>); 11] = [
        ("no type", vec![0, 0, 0, 0]),
        ("no number", vec![0, 0, 0, 4, STAT, 0, 0, 0]),
        ("longer than the cap by one", vec![0, 4, 0, 1]),
        ("as long as there are numbers", vec![0xff, 0xff, 0xff, 0xff, 1]),
        ("a second greeting", vec![0, 0, 0, 5, INIT, 0, 0, 0, 3]),
        ("a name longer than its packet", packet(STAT, 1, &Body(vec![0, 0, 0, 9, b'x']))),
        ("a name as long as there are numbers", packet(STAT, 1, &Body(vec![0xff, 0xff, 0xff, 0xff]))),
        ("an open without its flags", packet(OPEN, 1, &Body::new().text("x"))),
        ("attributes cut off", packet(OPEN, 1, &Body::new().text("x").u32(FOR_READING).u32(1).u32(0))),
        ("an answer", packet(DATA, 1, &Body::new().text("x"))),
        ("an extension without its values", packet(EXTENDED, 1, &Body::new().text("fsync@openssh.com"))),
    ];
    for (case, bytes) in cases {
        let mut raw = Raw::open(&conn).await;
        // What came before is answered.
        raw.request(STAT, &Body::new().text("none")).await;
        raw.send(&bytes).await;
        assert_eq!(raw.answer().await.code(), NO_SUCH_FILE, "{case}");
        assert_eq!(raw.ended().await, ExitStatus::Code(1), "{case}");
        assert_eq!(sibling.ask(STAT, &Body::new().text("/")).await.kind, 105, "{case}");
    }
}

async fn before_the_greeting() {
    let root = tempfile::tempdir().unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let cases = [
        packet(STAT, 1, &Body::new().text("/")),
        packet(150, 1, &Body::new()),
        vec![0, 0, 0, 5, INIT, 0, 0, 0, 2],
    ];
    for bytes in cases {
        let mut raw = Raw::silent(&conn).await;
        raw.send(&bytes).await;
        assert_eq!(raw.ended().await, ExitStatus::Code(1));
    }
}

async fn unknown() {
    let root = tempfile::tempdir().unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    for kind in [0, 21, 99, 150, 255] {
        let answer = raw.ask(kind, &Body::new().text("what")).await;
        assert_eq!((answer.kind, answer.code()), (STATUS, UNSUPPORTED));
    }
    let answer = raw.ask(EXTENDED, &Body::new().text("copy-data").u64(1)).await;
    assert_eq!(answer.code(), UNSUPPORTED);
    assert_eq!(raw.ask(STAT, &Body::new().text("/")).await.kind, 105);
}

async fn extended_data() {
    let root = tempfile::tempdir().unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    for _ in 0..200 {
        let junk = vec![0xff; 32 << 10];
        raw.stream.channel().send_typed(DataType::Stderr, junk.into()).await.unwrap();
    }
    // A packet is not taken apart by it either.
    let bytes = packet(STAT, 7, &Body::new().text("/"));
    raw.send(&bytes[..6]).await;
    raw.stream.channel().send_typed(DataType::Stderr, vec![0xff; 9].into()).await.unwrap();
    raw.send(&bytes[6..]).await;
    assert_eq!(raw.answer().await.kind, 105);
}

async fn trickle() {
    let root = tempfile::tempdir().unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    for byte in packet(STAT, 9, &Body::new().text("/")) {
        raw.send(&[byte]).await;
    }
    assert_eq!(raw.answer().await.id, 9);
}

async fn eof() {
    let root = tempfile::tempdir().unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    raw.request(STAT, &Body::new().text("/")).await;
    raw.stream.channel().send_eof().unwrap();
    assert_eq!(raw.answer().await.kind, 105);
    assert_eq!(raw.ended().await, ExitStatus::Code(0));

    let mut raw = Raw::open(&conn).await;
    raw.send(&[0, 0, 0]).await;
    raw.stream.channel().send_eof().unwrap();
    assert_eq!(raw.ended().await, ExitStatus::Code(1));
}
