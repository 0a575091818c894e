//! The example `custom_subsystem`, by itself and with OpenSSH's client.

use std::process::Stdio;

use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::kit::{KeyKind, KeyPair, Peer, example, peer_test};
use crate::support::{Ssh, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let none: [Peer; 0] = [];
    vec![
        peer_test("custom_subsystem::shows_both_sides", none, shows_both_sides),
        peer_test("custom_subsystem::ssh_s_talks_to_it", [Peer::OpenSshClient], ssh_s),
        peer_test(
            "custom_subsystem::long_keys_and_too_many_bytes_are_refused",
            [Peer::OpenSshClient],
            bounds,
        ),
        peer_test("custom_subsystem::many_long_answers_arrive_whole", [Peer::OpenSshClient], long_answers),
    ]
}

async fn shows_both_sides() {
    let output = soon(Command::new(example("custom_subsystem")).output()).await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout.contains("ok Earth") && stdout.contains("ok planet star"), "{stdout}");
}

/// What the subsystem answers when it is sent all of this at once.
async fn ask(input: &str) -> String {
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
    let file = ssh.directory().join("input");
    std::fs::write(&file, input).unwrap();
    let mut command = ssh.command_at(port, &host.public_line().unwrap());
    command.args(["-s", "127.0.0.1", "kv"]).stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn ssh_s() {
    assert_eq!(ask("set a 1\nget a\nget b\n").await, "ok\nok 1\nnone\n");
}

async fn bounds() {
    let value = "v".repeat(60 << 10);
    let long = "k".repeat(65);
    let mut input = format!("set {long} x\n");
    (0..300).for_each(|n| input.push_str(&format!("set {n} {value}\n")));
    // What takes no more room than before is no matter.
    input.push_str("set 0 short\nset other short\nget other\n");
    let answers = ask(&input).await;
    let count = |what: &str| answers.lines().filter(|line| line.starts_with(what)).count();
    assert_eq!(answers.lines().next(), Some("error the key is longer than 64 bytes"));
    assert_eq!((count("ok"), count("error there is no room")), (273 + 3, 27));
    assert_eq!(answers.lines().last(), Some("ok short"));
}

async fn long_answers() {
    const TIMES: usize = 500;
    let value = "v".repeat(60 << 10);
    let answers = ask(&format!("set k {value}\n{}", "get k\n".repeat(TIMES))).await;
    let right = answers.lines().filter(|line| line.strip_prefix("ok ") == Some(&value)).count();
    assert_eq!((answers.lines().next(), right), (Some("ok"), TIMES));
}
