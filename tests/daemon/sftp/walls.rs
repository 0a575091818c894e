//! Nothing leads out of the root, and a read-only one is not changed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Trial;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use super::raw::{
    APPENDING, Body, CREATING, CUTTING, DATA, DENIED, EXTENDED, FOR_READING, FOR_WRITING, FSETSTAT, HANDLE,
    LSTAT, MKDIR, NAME, OK, OPEN, OPENDIR, READ, READLINK, REALPATH, REMOVE, RENAME, RMDIR, Raw, SETSTAT,
    STAT, SYMLINK, WRITE, serve,
};
use crate::kit::{Peer, peer_test};

const NONE: [Peer; 0] = [];
const SECRET: &str = "of the outside";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("sftp_no_request_reaches_outside_of_the_root", NONE, table),
        peer_test("sftp_links_that_lead_out_are_not_made", NONE, links),
        peer_test("sftp_links_inside_of_the_root_work", NONE, inside),
        peer_test("sftp_a_link_put_in_place_in_the_middle_of_a_request_leads_nowhere", NONE, swap),
        peer_test("sftp_read_only_refuses_every_change", NONE, read_only),
    ]
}

/// A root with links out of it, and something outside.
struct Jail {
    directory: TempDir,
}

impl Jail {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let jail = Self { directory };
        std::fs::create_dir_all(jail.outside()).unwrap();
        std::fs::create_dir_all(jail.root().join("dir")).unwrap();
        std::fs::write(jail.outside().join("secret"), SECRET).unwrap();
        std::fs::write(jail.root().join("file"), "of the inside").unwrap();
        symlink(jail.outside(), jail.root().join("abs")).unwrap();
        symlink("../outside", jail.root().join("up")).unwrap();
        symlink("../../outside", jail.root().join("dir/up")).unwrap();
        symlink(jail.outside().join("secret"), jail.root().join("abs_secret")).unwrap();
        symlink("../outside/secret", jail.root().join("up_secret")).unwrap();
        symlink("../outside/new", jail.root().join("up_new")).unwrap();
        symlink("up/secret", jail.root().join("twice")).unwrap();
        symlink("/proc/self/root", jail.root().join("magic")).unwrap();
        jail
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    /// The outside is as it was.
    fn assert_untouched(&self, after: &str) {
        assert_eq!(names(&self.outside()), ["secret"], "{after}");
        let secret = self.outside().join("secret");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), SECRET, "{after}");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(secret).unwrap().permissions());
        assert_ne!(mode & 0o777, 0o7, "{after}");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every request that takes a name, with this one.
fn requests(name: &str) -> Vec<(u8, Body)> {
    let one = Body::new().text(name);
    let two = |old: &str, new: &str| Body::new().text(old).text(new);
    let extended = |kind: &str, old: &str, new: &str| Body::new().text(kind).text(old).text(new);
    let mut all: Vec<(u8, Body)> = [
        FOR_READING,
        FOR_WRITING,
        FOR_WRITING | APPENDING,
        FOR_WRITING | CREATING,
        FOR_WRITING | CREATING | CUTTING,
        FOR_READING | FOR_WRITING | CREATING,
    ]
    .map(|flags| (OPEN, one.clone().u32(flags).no_attributes()))
    .to_vec();
    all.extend([
        (STAT, one.clone()),
        (SETSTAT, one.clone().u32(4).u32(0o7)),
        (SETSTAT, one.clone().u32(1).u64(0)),
        (SETSTAT, one.clone().u32(8).u32(1).u32(1)),
        (OPENDIR, one.clone()),
        (MKDIR, one.clone().no_attributes()),
        (REALPATH, one.clone()),
        (EXTENDED, Body::new().text("statvfs@openssh.com").text(name)),
        (EXTENDED, extended("hardlink@openssh.com", name, "/got")),
    ]);
    // Of a link itself these are fine.
    if name.contains('/') {
        all.extend([
            (LSTAT, one.clone()),
            (REMOVE, one.clone()),
            (RMDIR, one.clone()),
            (READLINK, one),
            (RENAME, two(name, "/got")),
            (RENAME, two("/file", name)),
            (SYMLINK, two("file", name)),
            (EXTENDED, extended("posix-rename@openssh.com", name, "/got")),
            (EXTENDED, extended("posix-rename@openssh.com", "/file", name)),
            (EXTENDED, extended("hardlink@openssh.com", "/file", name)),
        ]);
    }
    all
}

async fn table() {
    let jail = Jail::new();
    let (_served, conn) = serve(&jail.root(), |sftp| sftp.read_only(false)).await;
    let mut raw = Raw::open(&conn).await;
    let absolute = jail.outside().join("secret");
    let before = names(&jail.root());
    let ways_out = [
        "abs_secret",
        "up_secret",
        "up_new",
        "twice",
        "abs/secret",
        "up/secret",
        "up/new",
        "dir/up/secret",
        "dir/up/new",
        "/abs/../up/secret",
        "magic/etc/passwd",
        "magic/tmp/new",
        "../outside/secret",
        "../outside/new",
        "/../../outside/secret",
        "dir/../../outside/secret",
        absolute.to_str().unwrap(),
    ];
    for name in ways_out {
        for (kind, body) in requests(name) {
            let what = format!("request {kind} of {name}");
            let answer = raw.ask(kind, &body).await;
            assert_ne!(answer.code(), OK, "{what}");
            jail.assert_untouched(&what);
        }
    }
    for name in ["abs", "up", "dir/up", "abs_secret", "up_secret", "magic"] {
        let answer = raw.ask(READLINK, &Body::new().text(name)).await;
        assert_eq!(answer.code(), DENIED, "{name}");
        assert_eq!(raw.ask(OPENDIR, &Body::new().text(name)).await.code(), DENIED, "{name}");
    }
    assert_eq!(names(&jail.root()), before);
    assert_eq!(std::fs::read_to_string(jail.root().join("file")).unwrap(), "of the inside");
}

async fn links() {
    let jail = Jail::new();
    std::fs::create_dir_all(jail.root().join("a/b/c")).unwrap();
    symlink("a/b/c", jail.root().join("deep")).unwrap();
    symlink("../../..", jail.root().join("a/b/c/top")).unwrap();
    let (_served, conn) = serve(&jail.root(), |sftp| sftp.read_only(false)).await;
    let mut raw = Raw::open(&conn).await;
    let outside = jail.outside();
    for (target, link) in [
        (outside.to_str().unwrap(), "new"),
        ("/file", "new"),
        ("..", "new"),
        ("../outside", "new"),
        ("dir/../../outside", "new"),
        ("../../outside", "dir/new"),
        ("../../../../outside", "deep/new"),
        ("../outside", "a/b/c/top/new"),
        ("a/b/c/top/../outside", "new"),
    ] {
        let answer = raw.ask(SYMLINK, &Body::new().text(target).text(link)).await;
        assert_eq!(answer.code(), DENIED, "{link} -> {target}");
    }
    for (target, link) in [("file", "new1"), ("../file", "dir/new2"), ("../../../file", "deep/new3")] {
        let answer = raw.ask(SYMLINK, &Body::new().text(target).text(link)).await;
        assert_eq!(answer.code(), OK, "{link} -> {target}");
        let told = raw.ask(READLINK, &Body::new().text(link)).await;
        assert_eq!((told.kind, told.text(4)), (NAME, target.as_bytes()));
        assert_eq!(raw.open_file(link, FOR_READING).await.kind, HANDLE);
    }
    jail.assert_untouched("links");
}

async fn inside() {
    let jail = Jail::new();
    symlink("dir", jail.root().join("link")).unwrap();
    symlink("../file", jail.root().join("dir/back")).unwrap();
    let (_served, conn) = serve(&jail.root(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    let handle = raw.handle("link/back", FOR_READING).await;
    let data = raw.ask(READ, &Body::new().text(&handle).u64(0).u32(100)).await;
    assert_eq!((data.kind, data.text(0)), (DATA, b"of the inside".as_slice()));
    for (asked, told) in [
        ("link/back", "/file"),
        ("link", "/dir"),
        (".", "/"),
        ("/..", "/"),
        ("link/none", "/dir/none"),
        ("dir/../file", "/file"),
    ] {
        let answer = raw.ask(REALPATH, &Body::new().text(asked)).await;
        assert_eq!(String::from_utf8_lossy(answer.text(4)), told, "{asked}");
    }
}

/// A directory and a link to the outside change places all the time.
async fn swap() {
    const ROUNDS: usize = 3000;
    let jail = Jail::new();
    let (here, there) = (jail.root().join("place"), jail.root().join("other"));
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("secret"), "of the inside").unwrap();
    symlink("../outside", &there).unwrap();
    let (_served, conn) = serve(&jail.root(), |sftp| sftp.read_only(false)).await;
    let mut raw = Raw::open(&conn).await;
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &here, CWD, &there, RenameFlags::EXCHANGE).unwrap();
            }
        })
    };
    let (mut inside, mut refused) = (0, 0);
    for round in 0.. {
        if round >= ROUNDS && inside > 0 && refused > 0 {
            break;
        }
        let opened = raw.open_file("place/secret", FOR_READING).await;
        if opened.kind != HANDLE {
            refused += 1;
        } else {
            let handle = opened.text(0).to_vec();
            let data = raw.ask(READ, &Body::new().text(&handle).u64(0).u32(100)).await;
            assert_eq!(data.text(0), b"of the inside");
            inside += 1;
            raw.ask(super::raw::CLOSE, &Body::new().text(&handle)).await;
        }
        let made = raw.open_file("place/new", FOR_WRITING | CREATING).await;
        if made.kind == HANDLE {
            let handle = made.text(0).to_vec();
            raw.ask(super::raw::CLOSE, &Body::new().text(&handle)).await;
        }
        raw.ask(MKDIR, &Body::new().text("place/new_dir").no_attributes()).await;
        raw.ask(RENAME, &Body::new().text("file").text("place/file")).await;
        raw.ask(RENAME, &Body::new().text("place/file").text("file")).await;
        raw.ask(SETSTAT, &Body::new().text("place/secret").u32(1).u64(13)).await;
        raw.ask(REMOVE, &Body::new().text("place/new")).await;
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    jail.assert_untouched("swapping");
}

async fn read_only() {
    let jail = Jail::new();
    let before = names(&jail.root());
    let (_served, conn) = serve(&jail.root(), |sftp| sftp).await;
    let mut raw = Raw::open(&conn).await;
    let handle = raw.handle("file", FOR_READING).await;
    for flags in [
        FOR_WRITING,
        FOR_READING | FOR_WRITING,
        FOR_WRITING | CREATING,
        FOR_READING | CREATING,
        FOR_READING | CUTTING,
        APPENDING,
    ] {
        assert_eq!(raw.open_file("file", flags).await.code(), DENIED, "flags {flags}");
        assert_eq!(raw.open_file("new", flags).await.code(), DENIED, "flags {flags}");
    }
    let file = || Body::new().text("file");
    let cases = [
        (WRITE, Body::new().text(&handle).u64(0).text("x")),
        (SETSTAT, file().u32(4).u32(0o600)),
        (SETSTAT, file().no_attributes()),
        (FSETSTAT, Body::new().text(&handle).u32(1).u64(0)),
        (REMOVE, file()),
        (MKDIR, Body::new().text("new").no_attributes()),
        (RMDIR, Body::new().text("dir")),
        (RENAME, file().text("new")),
        (SYMLINK, file().text("new")),
        (EXTENDED, Body::new().text("posix-rename@openssh.com").text("file").text("new")),
        (EXTENDED, Body::new().text("hardlink@openssh.com").text("file").text("new")),
    ];
    for (kind, body) in cases {
        assert_eq!(raw.ask(kind, &body).await.code(), DENIED, "request {kind}");
    }
    assert_eq!(names(&jail.root()), before);
    assert_eq!(std::fs::read_to_string(jail.root().join("file")).unwrap(), "of the inside");
    let fsync = Body::new().text("fsync@openssh.com").text(&handle);
    assert_eq!(raw.ask(EXTENDED, &fsync).await.code(), OK);
}
