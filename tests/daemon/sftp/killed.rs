//! Clients that are killed in the middle of a transfer.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::openssh::Place;
use crate::kit::{Peer, peer_test_within};
use crate::programs::piece;
use crate::support::{USER, eventually, soon};

/// At 2 MiB a second it takes 16 s, of which each client has the first half.
const SIZE: usize = 32 << 20;
const KIBITS: &str = "16384";
const ENOUGH: u64 = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshClient, Peer::OpenSshSftp];
    let limit = Duration::from_secs(120);
    vec![
        peer_test_within(limit, "sftp_killed_amid_a_transfer_leaves_nothing", needs, sftp),
        peer_test_within(limit, "scp_killed_amid_a_transfer_leaves_nothing", needs, scp),
    ]
}

/// What dies at once: the program, whose `ssh` then ends the session, or `ssh` with it, and with that the connection.
#[derive(Debug, Clone, Copy)]
enum Dies {
    Program,
    All,
}

impl Dies {
    async fn die(self, client: &mut Child) {
        if matches!(self, Self::All) {
            let group = Pid::from_raw(client.id().unwrap().try_into().unwrap()).unwrap();
            kill_process_group(group, Signal::KILL).unwrap();
        }
        soon(client.kill()).await.unwrap();
    }
}

fn start(mut command: Command, place: &Place) -> Child {
    let local = place.directory.path().join("local");
    // Nobody reads what it says.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir(local).process_group(0).spawn().unwrap()
}

/// What this process, and so the daemon, has open there.
fn open_below(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.starts_with(root)).collect()
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Kills a client in every way in the middle of every transfer: of `up` to the root, and of `down` from there.
async fn kill(clients: impl AsyncFn(&Place, bool) -> Child) {
    let place = Place::new(|sftp| sftp).await;
    let root = place.root("").canonicalize().unwrap();
    let content = piece(0, SIZE);
    std::fs::write(place.local("up"), &content).unwrap();
    std::fs::write(place.root("down"), &content).unwrap();
    let before = tasks();
    for dies in [Dies::Program, Dies::All] {
        for uploads in [true, false] {
            let (held, arrives) = if uploads {
                (root.join("up"), place.root("up"))
            } else {
                (root.join("down"), place.local("down"))
            };
            let _ = std::fs::remove_file(&arrives);
            let mut client = clients(&place, uploads).await;
            eventually(|| std::fs::metadata(&arrives).is_ok_and(|found| found.len() >= ENOUGH)).await;
            assert!(open_below(&root).contains(&held), "{dies:?}, {uploads}");
            assert_eq!(place.served.daemon.info().connections, 1);
            dies.die(&mut client).await;

            eventually(|| open_below(&root).is_empty()).await;
            eventually(|| place.served.daemon.info().connections == 0).await;
            eventually(|| tasks() <= before).await;
            let found = std::fs::read(&arrives).unwrap();
            assert!(found.len() < SIZE, "{dies:?}, {uploads}: it was too fast");
            // What was taken is what was sent, in one piece.
            assert!(!uploads || content.starts_with(&found), "{dies:?}");
        }
    }
    std::fs::write(place.local("small"), "x").unwrap();
    place.run("put small\nget small back").await;
    assert_eq!(std::fs::read(place.local("back")).unwrap(), b"x");
    eventually(|| tasks() <= before && open_below(&root).is_empty()).await;
}

async fn sftp() {
    kill(async |place, uploads| {
        let mut command = place.ssh.program("sftp", &place.served);
        command.args(["-l", KIBITS, "-b", "-", &format!("{USER}@127.0.0.1")]);
        let mut client = start(command, place);
        let line = if uploads { "put up\n" } else { "get down\n" };
        client.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
        client
    })
    .await;
}

async fn scp() {
    kill(async |place, uploads| {
        let remote = |name: &str| format!("{USER}@127.0.0.1:{name}");
        let mut command = place.ssh.program("scp", &place.served);
        command.args(["-l", KIBITS]);
        if uploads {
            command.args(["up", &remote("up")]);
        } else {
            command.args([&remote("down"), "down"]);
        }
        start(command, place)
    })
    .await;
}
