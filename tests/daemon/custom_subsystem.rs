//! The example `custom_subsystem`, by itself and with OpenSSH's client.

use std::process::Stdio;

use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::kit::{KeyKind, KeyPair, Peer, peer_test};
use crate::support::{Ssh, example, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let none: [Peer; 0] = [];
    vec![
        peer_test("custom_subsystem::shows_both_sides", none, shows_both_sides),
        peer_test("custom_subsystem::ssh_s_talks_to_it", [Peer::OpenSshClient], ssh_s),
    ]
}

async fn shows_both_sides() {
    let output = soon(Command::new(example("custom_subsystem")).output()).await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout.contains("ok Earth") && stdout.contains("ok planet star"), "{stdout}");
}

async fn ssh_s() {
    let ssh = Ssh::new();
    let key = ssh.directory().join("key.pub");
    std::fs::write(&key, ssh.public_key().to_openssh().unwrap()).unwrap();
    let host = KeyPair::generate(ssh.directory().join("host"), KeyKind::Ed25519).unwrap();
    let mut daemon = Command::new(example("custom_subsystem"))
        .args(["--listen", "127.0.0.1:0", "--authorized-key"])
        .arg(&key)
        .arg("--host-key")
        .arg(host.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let first = soon(lines.next_line()).await.unwrap().unwrap();
    let port = first.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut child = ssh
        .command_at(port, &host.public_line().unwrap())
        .args(["-s", "127.0.0.1", "kv"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"set a 1\nget a\nget b\n").await.unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\nok 1\nnone\n");
    assert!(output.status.success());
}
