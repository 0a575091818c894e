//! A GiB both ways, and how fast it is beside OpenSSH's own server.

use std::process::Stdio;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::openssh::Place;
use crate::kit::{Peer, Sshd, peer_test_within};
use crate::programs::{byte_at, piece};
use crate::support::USER;

const SIZE: usize = 1 << 30;

pub(crate) fn trials() -> Vec<Trial> {
    let limit = Duration::from_secs(600);
    let needs = [Peer::OpenSshClient, Peer::OpenSshSftp, Peer::OpenSshServer];
    let name = "sftp_puts_and_gets_a_gib_byte_for_byte";
    vec![peer_test_within(limit, name, needs, gib).with_ignored_flag(true)]
}

/// Runs one command and gives its time, login included.
async fn timed(mut sftp: Command, host: &str, line: &str) -> Duration {
    let start = Instant::now();
    let mut child = sftp
        .args(["-q", "-b", "-", host])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    start.elapsed()
}

fn check(path: &std::path::Path) {
    use std::io::Read;
    let mut file = std::fs::File::open(path).unwrap();
    let (mut at, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        let wrong = buffer[..count].iter().enumerate().find(|(i, byte)| **byte != byte_at(at + i));
        assert_eq!(wrong.map(|(i, _)| at + i), None, "{}", path.display());
        at += count;
    }
    assert_eq!(at, SIZE, "{}", path.display());
}

async fn gib() {
    let place = Place::new(|sftp| sftp).await;
    {
        use std::io::Write;
        let mut file = std::fs::File::create(place.local("up")).unwrap();
        for from in (0..SIZE).step_by(1 << 20) {
            file.write_all(&piece(from, 1 << 20)).unwrap();
        }
    }
    let up = place.local("up");
    let ours = || place.ssh.program("sftp", &place.served);
    let host = format!("{USER}@127.0.0.1");
    let put = timed(ours(), &host, &format!("put {} there", up.display())).await;
    check(&place.root("there"));
    let down = place.local("down");
    let get = timed(ours(), &host, &format!("get there {}", down.display())).await;
    check(&down);
    std::fs::remove_file(&down).unwrap();

    let sshd = Sshd::builder().start().unwrap();
    let theirs = || {
        let mut command = Command::new(crate::kit::require_program("sftp").unwrap());
        command
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile=\"{}\"", sshd.known_hosts().display()))
            .arg("-i")
            .arg(sshd.identity())
            .args(["-o", &format!("Port={}", sshd.port())])
            .env_remove("SSH_AUTH_SOCK");
        command
    };
    let host = format!("{}@127.0.0.1", sshd.user());
    let there = place.root("theirs");
    let their_put = timed(theirs(), &host, &format!("put {} {}", up.display(), there.display())).await;
    let their_get = timed(theirs(), &host, &format!("get {} {}", there.display(), down.display())).await;

    let speed = |time: Duration| (SIZE >> 20) as f64 / time.as_secs_f64();
    for (what, our, their) in [("put", put, their_put), ("get", get, their_get)] {
        let ratio = their.as_secs_f64() / our.as_secs_f64();
        println!(
            "sftp {what}: ours {:.0} MiB/s, OpenSSH {:.0} MiB/s, ratio {ratio:.2}",
            speed(our),
            speed(their)
        );
    }
}
