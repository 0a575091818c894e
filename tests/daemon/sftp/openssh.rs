//! OpenSSH's `sftp` and `scp`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use libtest_mimic::Trial;
use ractor_ssh::{Router, Sftp};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::kit::{Peer, peer_test};
use crate::programs::piece;
use crate::support::{Served, Ssh, USER, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshClient, Peer::OpenSshSftp];
    vec![
        peer_test("sftp_puts_and_gets_64_mib_byte_for_byte", needs, big),
        peer_test("sftp_puts_and_gets_a_tree_with_modes_and_times", needs, tree),
        peer_test("sftp_goes_on_with_broken_transfers", needs, resume),
        peer_test("sftp_makes_renames_links_and_removes", needs, names),
        peer_test("sftp_shows_lists_and_the_space_left", needs, shows),
        peer_test("sftp_starts_where_it_is_told_and_goes_no_further_up_than_the_root", needs, start),
        peer_test("scp_copies_files_and_trees_both_ways", needs, scp),
        peer_test("sftp_and_scp_are_told_what_is_not_allowed", needs, refused),
    ]
}

/// A directory to serve, one of the client's, and the programs.
pub(crate) struct Place {
    pub(crate) ssh: Ssh,
    pub(crate) served: Served,
    pub(crate) directory: TempDir,
}

impl Place {
    pub(crate) async fn new(set: impl FnOnce(Sftp) -> Sftp) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["root", "local"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let sftp = set(Sftp::new(directory.path().join("root")).read_only(false));
        let ssh = Ssh::new();
        let served = ssh.serve(|config| config.router(Router::new().sftp(sftp))).await;
        Self { ssh, served, directory }
    }

    pub(crate) fn root(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("root").join(name)
    }

    pub(crate) fn local(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("local").join(name)
    }

    /// Runs a batch in the local directory; stops at the first command that fails. What was said, and whether all was
    /// well.
    pub(crate) async fn batch(&self, commands: &str) -> (bool, String) {
        let mut command = self.ssh.program("sftp", &self.served);
        command.args(["-b", "-", &format!("{USER}@127.0.0.1")]);
        let mut child =
            command.current_dir(self.directory.path().join("local")).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(commands.as_bytes()).await.unwrap();
        drop(stdin);
        let output = soon(child.wait_with_output()).await.unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }

    /// A batch that must not fail; what it printed.
    pub(crate) async fn run(&self, commands: &str) -> String {
        let (well, said) = self.batch(commands).await;
        assert!(well, "{commands}\n{said}");
        said
    }

    async fn scp(&self, words: &[&str]) -> (bool, String) {
        let mut command = self.ssh.program("scp", &self.served);
        command.args(words).current_dir(self.directory.path().join("local"));
        let output = soon(command.output()).await.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let file = std::fs::File::open(path).unwrap();
    file.set_times(std::fs::FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
}

async fn big() {
    const SIZE: usize = 64 << 20;
    let place = Place::new(|sftp| sftp).await;
    let content = piece(0, SIZE + 4321);
    std::fs::write(place.local("up"), &content).unwrap();
    place.run("put up there\nput -f up fsynced\nget there down").await;
    assert!(std::fs::read(place.root("there")).unwrap() == content);
    assert!(std::fs::read(place.root("fsynced")).unwrap() == content);
    assert!(std::fs::read(place.local("down")).unwrap() == content);
}

/// A tree with an empty directory, an empty file, modes and old times.
fn plant(top: &Path) {
    std::fs::create_dir_all(top.join("sub/empty")).unwrap();
    std::fs::write(top.join("sub/run"), "#!/bin/sh\n").unwrap();
    std::fs::write(top.join("nothing"), "").unwrap();
    std::fs::write(top.join("with a space and ü"), "x").unwrap();
    set_mode(&top.join("sub/run"), 0o750);
    set_mode(&top.join("nothing"), 0o400);
    set_time(&top.join("sub/run"), 1_000_000_000);
    set_time(&top.join("nothing"), 86_400);
    set_time(&top.join("sub"), 1_200_000_000);
}

fn assert_planted(top: &Path) {
    assert!(top.join("sub/empty").is_dir());
    assert_eq!(read(&top.join("sub/run")), "#!/bin/sh\n");
    assert_eq!(read(&top.join("nothing")), "");
    assert_eq!(read(&top.join("with a space and ü")), "x");
    assert_eq!((mode(&top.join("sub/run")), mode(&top.join("nothing"))), (0o750, 0o400));
    let mtime = |name: &str| std::fs::metadata(top.join(name)).unwrap().mtime();
    assert_eq!((mtime("sub/run"), mtime("nothing"), mtime("sub")), (1_000_000_000, 86_400, 1_200_000_000));
}

async fn tree() {
    let place = Place::new(|sftp| sftp).await;
    plant(&place.local("tree"));
    place.run("put -rp tree\nget -rp tree back").await;
    assert_planted(&place.root("tree"));
    assert_planted(&place.local("back"));
}

async fn resume() {
    let place = Place::new(|sftp| sftp).await;
    let content = piece(0, 3 << 20);
    let half = &content[..1_234_567];
    std::fs::write(place.local("up"), &content).unwrap();
    std::fs::write(place.root("up"), half).unwrap();
    std::fs::write(place.root("down"), &content).unwrap();
    std::fs::write(place.local("down"), half).unwrap();
    place.run("reput up up\nreget down down").await;
    assert!(std::fs::read(place.root("up")).unwrap() == content);
    assert!(std::fs::read(place.local("down")).unwrap() == content);
}

async fn names() {
    let place = Place::new(|sftp| sftp).await;
    std::fs::write(place.root("a"), "of a").unwrap();
    std::fs::write(place.root("b"), "of b").unwrap();
    place
        .run(
            "mkdir dir\nrename a dir/a\nln -s dir/a soft\nln dir/a hard\nchmod 600 b\nmkdir gone\nrmdir gone",
        )
        .await;
    assert!(!place.root("a").exists() && !place.root("gone").exists());
    assert_eq!(std::fs::read_link(place.root("soft")).unwrap(), Path::new("dir/a"));
    assert_eq!(read(&place.root("soft")), "of a");
    assert_eq!(std::fs::metadata(place.root("hard")).unwrap().nlink(), 2);
    assert_eq!(mode(&place.root("b")), 0o600);

    // The protocol's own rename replaces nothing, OpenSSH's does.
    let (well, said) = place.batch("rename -l b hard").await;
    assert!(!well, "{said}");
    assert_eq!((read(&place.root("b")), read(&place.root("hard"))), ("of b".into(), "of a".into()));
    place.run("rename b hard\nrename -l hard new\nrm new\nrm soft").await;
    assert!(!place.root("new").exists() && place.root("soft").symlink_metadata().is_err());
    assert_eq!(read(&place.root("dir/a")), "of a");
    let (well, said) = place.batch("rmdir dir").await;
    assert!(!well && place.root("dir/a").exists(), "{said}");
}

async fn shows() {
    let place = Place::new(|sftp| sftp).await;
    std::fs::write(place.root("file"), vec![0; 12345]).unwrap();
    set_mode(&place.root("file"), 0o640);
    set_time(&place.root("file"), 1_000_000_000);
    std::fs::create_dir(place.root("dir")).unwrap();
    std::os::unix::fs::symlink("file", place.root("link")).unwrap();
    let said = place.run("ls -l").await;
    let line = |name: &str| {
        let found = said.lines().find(|line| line.ends_with(name));
        found.unwrap_or_else(|| panic!("{said}")).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let words = line(" file");
    assert_eq!((&*words[0], &*words[1], &*words[4]), ("-rw-r-----", "1", "12345"), "{said}");
    assert_eq!(words[5..8], ["Sep", "9", "2001"], "{said}");
    assert!(line(" dir")[0].starts_with('d') && line(" link")[0].starts_with('l'), "{said}");

    let said = place.run("df\ndf -i file").await;
    let found = rustix::fs::statvfs(place.root("file")).unwrap();
    let blocks = (found.f_blocks * found.f_frsize / 1024).to_string();
    assert!(said.split_whitespace().any(|word| word == blocks), "{blocks} in {said}");
}

async fn start() {
    let place = Place::new(|sftp| sftp.start_directory("home/alice")).await;
    std::fs::create_dir_all(place.root("home/alice")).unwrap();
    std::fs::write(place.local("up"), "x").unwrap();
    let said = place.run("pwd\nput up mine\ncd ../../..\npwd\nput up top\ncd /home\nput up").await;
    assert!(said.contains("Remote working directory: /home/alice\n"), "{said}");
    assert!(said.contains("Remote working directory: /\n"), "{said}");
    for name in ["home/alice/mine", "top", "home/up"] {
        assert_eq!(read(&place.root(name)), "x");
    }
}

async fn scp() {
    let place = Place::new(|sftp| sftp).await;
    let remote = |name: &str| format!("{USER}@127.0.0.1:{name}");
    let content = piece(0, 5_000_001);
    std::fs::write(place.local("up"), &content).unwrap();
    plant(&place.local("tree"));
    for words in [
        ["-q", "up", &remote("there")],
        ["-q", &remote("there"), "down"],
        ["-rpq", "tree", &remote("/")],
        ["-rpq", &remote("tree"), "back"],
    ] {
        let (well, said) = place.scp(&words).await;
        assert!(well, "{words:?}: {said}");
    }
    assert!(std::fs::read(place.root("there")).unwrap() == content);
    assert!(std::fs::read(place.local("down")).unwrap() == content);
    assert_planted(&place.root("tree"));
    assert_planted(&place.local("back"));
}

async fn refused() {
    let place = Place::new(|sftp| sftp.read_only(true)).await;
    std::fs::write(place.root("file"), "of the server").unwrap();
    std::fs::write(place.local("up"), "x").unwrap();
    for command in ["put up new", "rm file", "mkdir new", "rename file new", "ln file new", "chmod 777 file"]
    {
        let (well, said) = place.batch(command).await;
        assert!(!well && said.to_lowercase().contains("permission denied"), "{command}: {said}");
    }
    let (well, said) = place.scp(&["up", &format!("{USER}@127.0.0.1:new")]).await;
    assert!(!well && said.to_lowercase().contains("permission denied"), "{said}");
    place.run("get file down").await;
    assert_eq!(read(&place.local("down")), "of the server");

    // Without a route there is no subsystem.
    let served = place.ssh.serve(|config| config).await;
    let mut command = place.ssh.program("sftp", &served);
    let output = soon(command.arg(format!("{USER}@127.0.0.1")).output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("subsystem request failed"), "{said}");
}
