//! What the limits refuse is counted.

use libtest_mimic::Trial;
use ractor_ssh::Sftp;

use super::raw::{
    Body, CLOSE, CREATING, DENIED, FAILURE, FOR_READING, FOR_WRITING, MKDIR, OK, OPENDIR, REMOVE, RENAME,
    Raw, STAT, SYMLINK, WRITE, serve,
};
use crate::kit::{Peer, peer_test};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("sftp_what_the_limits_refuse_is_counted", NONE, counted),
        peer_test("sftp_clones_count_together_and_others_do_not", NONE, together),
    ]
}

/// Handles, paths, packets, changes.
fn counts(sftp: &Sftp) -> [u64; 4] {
    let seen = sftp.counters();
    [seen.refused_handles, seen.refused_paths, seen.refused_packets, seen.refused_changes]
}

async fn counted() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "x").unwrap();
    let sftp = Sftp::new(root.path()).max_handles(1).max_path(8).max_packet(40_000);
    let (_served, conn) = serve(root.path(), |_| sftp.clone()).await;
    let mut raw = Raw::open(&conn).await;
    let name = |name: &str| Body::new().text(name);
    // What works, or fails for another reason, is not counted.
    let handle = raw.handle("file", FOR_READING).await;
    assert_ne!(raw.ask(STAT, &name("none")).await.code(), OK);
    assert_eq!(raw.ask(STAT, &Body::new().text(b"\xff")).await.code(), FAILURE);
    assert_eq!(counts(&sftp), [0; 4]);

    assert_eq!(raw.open_file("file", FOR_READING).await.code(), FAILURE);
    assert_eq!(raw.ask(OPENDIR, &name("/")).await.code(), FAILURE);
    assert_eq!(counts(&sftp), [2, 0, 0, 0]);
    assert_eq!(raw.ask(CLOSE, &Body::new().text(&handle)).await.code(), OK);

    assert_eq!(raw.ask(STAT, &name("123456789")).await.code(), FAILURE);
    assert_eq!(raw.open_file("123456789", FOR_READING).await.code(), FAILURE);
    assert_eq!(counts(&sftp), [2, 2, 0, 0]);

    for (kind, body) in [
        (REMOVE, name("file")),
        (MKDIR, name("new").no_attributes()),
        (RENAME, name("file").text("new")),
        (WRITE, name("0").u64(0).text("x")),
    ] {
        assert_eq!(raw.ask(kind, &body).await.code(), DENIED);
    }
    assert_eq!(raw.open_file("new", FOR_WRITING | CREATING).await.code(), DENIED);
    assert_eq!(counts(&sftp), [2, 2, 0, 5]);

    raw.request(WRITE, &name("0").u64(0).text(vec![0; 40_000])).await;
    assert_eq!(raw.ended().await.code(), Some(1));
    assert_eq!(counts(&sftp), [2, 2, 1, 5]);
}

async fn together() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(two.path().join("second"), "x").unwrap();
    let sftp = Sftp::new(one.path()).max_path(8).read_only(false);
    let (_first, first) = serve(one.path(), |_| sftp.clone()).await;
    let (_second, second) = serve(two.path(), |_| sftp.clone().with_root(two.path())).await;
    let (_other, other) = serve(one.path(), |other| other.max_path(8)).await;
    for conn in [&first, &second, &other] {
        let mut raw = Raw::open(conn).await;
        assert_eq!(raw.ask(STAT, &Body::new().text("123456789")).await.code(), FAILURE);
    }
    assert_eq!(counts(&sftp), [0, 2, 0, 0]);

    // The other directory is served, with the values of the first.
    let mut raw = Raw::open(&second).await;
    assert_eq!(raw.ask(STAT, &Body::new().text("second")).await.code(), OK);
    let link = Body::new().text("123456789").text("link");
    assert_eq!(raw.ask(SYMLINK, &link).await.code(), FAILURE);
    assert_eq!(raw.ask(SYMLINK, &Body::new().text("second").text("link")).await.code(), OK);
    assert_eq!(counts(&sftp), [0, 3, 0, 0]);
}
