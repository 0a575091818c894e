//! Handles, names, packets, and what piles up for a client that does not read.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::{Daemon, DaemonConfig, Router, Sftp};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::raw::{
    APPENDING, Body, CLOSE, CREATING, DATA, EOF, EXCLUSIVE, EXTENDED, FAILURE, FOR_READING, FOR_WRITING,
    FSETSTAT, FSTAT, HANDLE, INIT, NO_SUCH_FILE, OK, OPENDIR, READ, READDIR, REALPATH, RENAME, Raw, SETSTAT,
    STAT, STATUS, WRITE, packet, serve,
};
use crate::kit::{Peer, peer_test};
use crate::support::{Served, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("sftp_a_session_has_so_many_handles_and_only_its_own", NONE, handles),
        peer_test("sftp_a_long_name_is_refused_and_the_session_goes_on", NONE, long_names),
        peer_test("sftp_a_write_as_long_as_the_cap_is_taken", NONE, longest_packet),
        peer_test("sftp_says_its_limits", NONE, limits),
        peer_test("sftp_what_a_client_does_not_read_is_bounded_and_comes_when_it_reads", NONE, unread),
        peer_test("sftp_files_are_closed_when_the_connection_is_lost", NONE, lost),
        peer_test("sftp_without_its_root_does_not_start", NONE, no_root),
        peer_test("sftp_flags_and_attributes_do_what_they_say", NONE, flags),
        peer_test("sftp_a_fifo_holds_nobody_up", NONE, fifo),
        peer_test("sftp_a_big_directory_comes_in_batches", NONE, big_directory),
        peer_test("sftp_a_directory_in_which_nothing_can_be_looked_at_is_listed", NONE, only_readable),
    ]
}

async fn handles() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "x").unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp.max_handles(2).read_only(false)).await;
    let mut raw = Raw::open(&conn).await;
    let first = raw.handle("file", FOR_READING).await;
    let directory = raw.ask(OPENDIR, &Body::new().text("/")).await;
    assert_eq!(directory.kind, HANDLE);
    assert_eq!(raw.open_file("new", FOR_WRITING | CREATING).await.code(), FAILURE);
    assert_eq!(raw.ask(OPENDIR, &Body::new().text("/")).await.code(), FAILURE);
    assert!(!root.path().join("new").exists());
    assert_eq!(raw.ask(READDIR, &Body::new().text(&first)).await.code(), FAILURE);
    let read = Body::new().text(directory.text(0)).u64(0).u32(1);
    assert_eq!(raw.ask(READ, &read).await.code(), FAILURE);

    let read = |handle: &[u8]| Body::new().text(handle).u64(0).u32(1);
    let mut other = Raw::open(&conn).await;
    assert_eq!(other.ask(READ, &read(&first)).await.code(), FAILURE);
    for handle in ["", "0x0", "../file", &"9".repeat(5000)] {
        assert_eq!(raw.ask(READ, &read(handle.as_bytes())).await.code(), FAILURE);
    }

    assert_eq!(raw.ask(CLOSE, &Body::new().text(&first)).await.code(), OK);
    assert_eq!(raw.ask(CLOSE, &Body::new().text(&first)).await.code(), FAILURE);
    let second = raw.handle("file", FOR_READING).await;
    assert_ne!(first, second);
    assert_eq!(raw.ask(READ, &read(&first)).await.code(), FAILURE);
    assert_eq!(raw.ask(READ, &read(&second)).await.kind, DATA);
}

async fn long_names() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("12345678"), "x").unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp.max_path(8).read_only(false)).await;
    let mut raw = Raw::open(&conn).await;
    assert_eq!(raw.ask(STAT, &Body::new().text("12345678")).await.kind, 105);
    assert_eq!(raw.ask(STAT, &Body::new().text("./12345678")).await.code(), FAILURE);
    assert_eq!(raw.ask(RENAME, &Body::new().text("12345678").text("123456789")).await.code(), FAILURE);
    assert_eq!(raw.ask(REALPATH, &Body::new().text("a".repeat(200_000))).await.code(), FAILURE);
    assert_eq!(raw.ask(STAT, &Body::new().text(b"\xff")).await.code(), FAILURE);
    assert_eq!(raw.ask(STAT, &Body::new().text(b"a\0b")).await.code(), FAILURE);
    assert_eq!(raw.ask(STAT, &Body::new().text("12345678")).await.kind, 105);
}

async fn longest_packet() {
    const CAP: usize = 40_000;
    let root = tempfile::tempdir().unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp.max_packet(40_000).read_only(false)).await;
    let mut raw = Raw::open(&conn).await;
    let handle = raw.handle("file", FOR_WRITING | CREATING).await;
    let around = packet(WRITE, 0, &Body::new().text(&handle).u64(0).text("")).len() - 4;
    let data = vec![7; CAP - around];
    assert_eq!(raw.ask(WRITE, &Body::new().text(&handle).u64(0).text(&data)).await.code(), OK);
    assert_eq!(std::fs::read(root.path().join("file")).unwrap(), data);
    let data = vec![8; CAP - around + 1];
    raw.request(WRITE, &Body::new().text(&handle).u64(0).text(&data)).await;
    assert_eq!(raw.ended().await.code(), Some(1));
    assert_eq!(std::fs::read(root.path().join("file")).unwrap()[0], 7);
}

async fn limits() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), vec![1; 50_000]).unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp.max_packet(40_000).max_handles(5)).await;
    let mut raw = Raw::open(&conn).await;
    let answer = raw.ask(EXTENDED, &Body::new().text("limits@openssh.com")).await;
    let expected = Body::new().u64(40_000).u64(40_000 - 1024).u64(40_000 - 1024).u64(5);
    assert_eq!((answer.kind, answer.body), (201, expected.0));
    let handle = raw.handle("file", FOR_READING).await;
    let data = raw.ask(READ, &Body::new().text(&handle).u64(0).u32(u32::MAX)).await;
    assert_eq!(data.text(0).len(), 40_000 - 1024);
    let data = raw.ask(READ, &Body::new().text(&handle).u64(49_999).u32(u32::MAX)).await;
    assert_eq!(data.text(0), [1]);
    for offset in [50_000, u64::MAX] {
        let answer = raw.ask(READ, &Body::new().text(&handle).u64(offset).u32(9)).await;
        assert_eq!(answer.kind, STATUS);
    }
    let at_end = raw.ask(READ, &Body::new().text(&handle).u64(50_000).u32(9)).await;
    assert_eq!(at_end.code(), EOF);
}

/// Asks for half a GiB at once, with a window of 64 KiB and nobody reading.
async fn unread() {
    const EACH: u32 = 255 << 10;
    const READS: u32 = 2000;
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), vec![5; EACH as usize]).unwrap();
    let served = Served::start(Router::new().sftp(Sftp::new(root.path()))).await;
    let config = russh::client::Config { window_size: 64 << 10, ..Default::default() };
    let addr = served.daemon.local_addr();
    let mut handle = russh::client::connect(config.into(), addr, crate::support::Anything).await.unwrap();
    let key = std::sync::Arc::new(served.identity.clone());
    let key = russh::keys::PrivateKeyWithHashAlg::new(key, None);
    assert!(handle.authenticate_publickey(crate::support::USER, key).await.unwrap().success());
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();

    let mut bytes = vec![0, 0, 0, 5, INIT, 0, 0, 0, 3];
    bytes.extend(packet(3, 0, &Body::new().text("file").u32(FOR_READING).no_attributes()));
    for id in 0..READS {
        // The first handle is known to be 0 here; a wrong guess would show below.
        bytes.extend(packet(READ, id, &Body::new().text("0").u64(0).u32(EACH)));
    }
    let before = resident();
    channel.data_bytes(bytes).await.unwrap();
    // Time enough for all of it, if nothing held it back.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB for a client that does not read", grown >> 20);

    let mut seen = 0;
    let wanted = READS as usize * (EACH as usize + 13);
    soon(async {
        while seen < wanted {
            match channel.wait().await.expect("the channel is open") {
                russh::ChannelMsg::Data { data } => seen += data.len(),
                russh::ChannelMsg::Success => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

/// Resident memory of this process, in bytes, where the system tells.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).map_or(0, |kib| kib.parse::<usize>().unwrap() * 1024)
}

async fn lost() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    for _ in 0..20 {
        raw.handle("file", FOR_READING).await;
    }
    let open = || {
        let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        entries.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == file)).count()
    };
    assert_eq!(open(), 20);
    soon(conn.close()).await;
    soon(async {
        while open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn no_root() {
    let root = tempfile::tempdir().unwrap();
    let none = root.path().join("none");
    let config = DaemonConfig::new(([127, 0, 0, 1], 0))
        .host_key(ractor_ssh::wire::keys::generate_ed25519())
        .router(Router::new().sftp(Sftp::new(&none)));
    let error = Daemon::start(config).await.unwrap_err().to_string();
    assert!(error.contains("root") && error.contains("none"), "{error}");

    // A root that goes away later is the end of a session, and of no more.
    std::fs::create_dir(&none).unwrap();
    let (_served, conn) = serve(&none, |sftp| sftp).await;
    let mut first = Raw::open(&conn).await;
    std::fs::remove_dir(&none).unwrap();
    assert_eq!(Raw::silent(&conn).await.ended().await.code(), Some(1));
    assert_eq!(first.ask(STAT, &Body::new().text("x")).await.code(), NO_SUCH_FILE);
}

async fn flags() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    let text = || std::fs::read_to_string(&file).unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp.read_only(false).start_directory("/x/..")).await;
    let mut raw = Raw::open(&conn).await;
    let write = |handle: &[u8], at, data: &str| Body::new().text(handle).u64(at).text(data);
    assert_eq!(raw.open_file("file", FOR_WRITING).await.code(), NO_SUCH_FILE);
    let handle = raw.handle("file", FOR_WRITING | CREATING | EXCLUSIVE).await;
    assert_eq!(raw.ask(WRITE, &write(&handle, 0, "abc")).await.code(), OK);
    assert_eq!(raw.open_file("file", FOR_WRITING | CREATING | EXCLUSIVE).await.code(), FAILURE);
    let append = raw.handle("file", FOR_WRITING | APPENDING).await;
    assert_eq!(raw.ask(WRITE, &write(&append, 0, "def")).await.code(), OK);
    assert_eq!(text(), "abcdef");
    assert_eq!(raw.ask(READ, &Body::new().text(&append).u64(0).u32(1)).await.code(), FAILURE);
    assert_eq!(raw.open_file("/", FOR_READING).await.code(), FAILURE);
    assert_eq!(raw.open_file("file", 0).await.code(), FAILURE);
    assert_eq!(raw.open_file("file", FOR_WRITING | EXCLUSIVE).await.code(), FAILURE);

    let (size, owner, mode, times) = (1, 2, 4, 8);
    let name = || Body::new().text("file");
    let by_handle = || Body::new().text(&handle);
    assert_eq!(raw.ask(SETSTAT, &name().u32(size).u64(5)).await.code(), OK);
    assert_eq!(raw.ask(FSETSTAT, &by_handle().u32(size).u64(4)).await.code(), OK);
    assert_eq!(text(), "abcd");
    for (kind, body) in [(SETSTAT, name()), (FSETSTAT, by_handle())] {
        let body = body.u32(owner).u32(0).u32(0);
        assert_eq!(raw.ask(kind, &body).await.code(), super::raw::DENIED);
    }
    for (kind, body, bits) in [(SETSTAT, name(), 0o4640), (FSETSTAT, by_handle(), 0o6604)] {
        assert_eq!(raw.ask(kind, &body.u32(mode).u32(bits)).await.code(), OK);
        let found = std::fs::metadata(&file).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&found) & 0o7777, bits & 0o777);
    }
    for (kind, body, at) in [(SETSTAT, name(), 1_000_000), (FSETSTAT, by_handle(), 2_000_000_000)] {
        assert_eq!(raw.ask(kind, &body.u32(times).u32(at).u32(at)).await.code(), OK);
        let attrs = raw.ask(FSTAT, &by_handle()).await;
        assert_eq!((attrs.number(24), attrs.number(28)), (at, at), "{attrs:?}");
    }
}

async fn fifo() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("fifo");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let fifo = || Body::new().text("fifo");
    let reader = || rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let (_served, conn) = serve(root.path(), |sftp| sftp.read_only(false)).await;
    let mut raw = Raw::open(&conn).await;
    for flags in [FOR_READING, FOR_WRITING, FOR_READING | FOR_WRITING] {
        assert_eq!(raw.open_file("fifo", flags).await.code(), FAILURE, "flags {flags}");
    }
    assert_eq!(raw.ask(OPENDIR, &fifo()).await.code(), NO_SUCH_FILE);
    let (size, mode, times) = (1, 4, 8);
    assert_eq!(raw.ask(SETSTAT, &fifo().u32(size).u64(0)).await.code(), FAILURE);
    // Nobody is at the other end; then there is somebody who reads.
    for (reader, bits, at) in [(None, 0o620, 1_000_000), (Some(reader), 0o640, 2_000_000_000)] {
        let reader = reader.map(|open| open());
        assert_eq!(raw.ask(SETSTAT, &fifo().u32(times).u32(at).u32(at + 1)).await.code(), OK);
        assert_eq!(raw.ask(SETSTAT, &fifo().u32(mode).u32(bits)).await.code(), OK);
        let attrs = raw.ask(STAT, &fifo()).await;
        assert_eq!((attrs.number(20) & 0o7777, attrs.number(24), attrs.number(28)), (bits, at, at + 1));
        assert_eq!(raw.ask(SETSTAT, &fifo().u32(mode | times).u32(bits).u32(at).u32(at)).await.code(), OK);
        if let Some(reader) = reader {
            let mut polled = [PollFd::new(&reader, PollFlags::IN)];
            rustix::event::poll(&mut polled, Some(&Timespec::default())).unwrap();
            // A writer that came and went would have hung up.
            assert_eq!(polled[0].revents(), PollFlags::empty());
        }
    }

    // Of a directory that is open, which has no such trouble.
    let directory = raw.ask(OPENDIR, &Body::new().text("/")).await.text(0).to_vec();
    let changes = Body::new().text(&directory).u32(mode | times).u32(0o750).u32(3).u32(4);
    assert_eq!(raw.ask(FSETSTAT, &changes).await.code(), OK);
    let attrs = raw.ask(FSTAT, &Body::new().text(&directory)).await;
    assert_eq!((attrs.number(20) & 0o7777, attrs.number(24), attrs.number(28)), (0o750, 3, 4));
}

async fn big_directory() {
    const COUNT: usize = 1000;
    let root = tempfile::tempdir().unwrap();
    let mut expected: Vec<_> = (0..COUNT).map(|number| format!("{number:0200}")).collect();
    for name in &expected {
        std::fs::write(root.path().join(name), "").unwrap();
    }
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    let handle = raw.ask(OPENDIR, &Body::new().text("/")).await.text(0).to_vec();
    let mut seen = Vec::new();
    loop {
        let answer = raw.ask(READDIR, &Body::new().text(&handle)).await;
        if answer.kind == STATUS {
            assert_eq!(answer.code(), EOF);
            break;
        }
        assert!(answer.body.len() < 256 << 10);
        let mut at = 4;
        for _ in 0..answer.number(0) {
            let name = answer.text(at);
            seen.push(String::from_utf8(name.to_vec()).unwrap());
            at += 4 + name.len();
            // The long name, and five attributes of which one is twice as long.
            at += 4 + answer.text(at).len() + 4 + 8 + 4 * 5;
        }
        assert_eq!(at, answer.body.len());
    }
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

/// Its names can be read, and nothing of what they stand for; unless by root, who may everything.
async fn only_readable() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("dir");
    std::fs::create_dir(&directory).unwrap();
    for name in ["a", "b"] {
        std::fs::write(directory.join(name), "x").unwrap();
    }
    let set_mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&directory, mode).unwrap();
    };
    set_mode(0o400);
    let may_look = std::fs::metadata(directory.join("a")).is_ok();
    let (_served, conn) = serve(root.path(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    let handle = raw.ask(OPENDIR, &Body::new().text("dir")).await.text(0).to_vec();
    let answer = raw.ask(READDIR, &Body::new().text(&handle)).await;
    set_mode(0o700);
    let (mut at, mut seen) = (4, Vec::new());
    for _ in 0..answer.number(0) {
        let name = answer.text(at);
        seen.push(name.to_vec());
        at += 4 + name.len();
        at += 4 + answer.text(at).len();
        assert_eq!(answer.number(at) != 0, may_look);
        at += if may_look { 4 + 8 + 4 * 5 } else { 4 };
    }
    seen.sort();
    assert_eq!(seen, [b"a", b"b"]);
    assert_eq!(at, answer.body.len());
    assert_eq!(raw.ask(READDIR, &Body::new().text(&handle)).await.code(), EOF);
}
