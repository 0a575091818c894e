//! The example `ssh`, as its users run it.

use std::process::{Output, Stdio};

use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::kit::{Peer, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("example_ssh::streams_and_status_pass_through", real, streams_and_status),
        peer_test("example_ssh::a_signal_is_128_and_its_number", real, signal),
        peer_test("example_ssh::an_unknown_host_is_255_with_a_word_about_it", real, unknown_host),
        peer_test("example_ssh::jump_hosts_are_gone_over_in_their_order", real, jump_hosts),
        peer_test("example_ssh::in_a_terminal_keys_and_size_pass_through", real, terminal),
    ]
}

/// The program, built with the tests.
fn program() -> std::path::PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let directory = test.ancestors().nth(2).expect("it is in target/*/deps");
    directory.join("examples").join("ssh")
}

fn arguments(sshd: &Sshd, words: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-p".to_owned(), sshd.port().to_string()];
    arguments.extend(["-i".to_owned(), sshd.identity().display().to_string()]);
    arguments.extend(["--known-hosts".to_owned(), sshd.known_hosts().display().to_string()]);
    arguments.extend(words.iter().map(|word| (*word).to_owned()));
    arguments
}

async fn run(arguments: Vec<String>, input: &[u8]) -> Output {
    let mut child = Command::new(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the example is built: `cargo build --examples`");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let feeding = tokio::spawn(async move {
        let _ = stdin.write_all(&input).await;
    });
    let output = child.wait_with_output().await.expect("it can be waited for");
    feeding.abort();
    output
}

async fn streams_and_status() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let target = format!("{}@127.0.0.1", sshd.user());
    let input: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let output = run(arguments(&sshd, &[&target, "--", "cat;", "echo oops >&2;", "exit 7"]), &input).await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "oops\n");
    assert!(output.stdout == input, "{} of {} bytes", output.stdout.len(), input.len());
}

async fn signal() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let target = format!("{}@127.0.0.1", sshd.user());
    let output = run(arguments(&sshd, &[&target, "--", "kill -TERM $$"]), b"").await;
    assert_eq!(output.status.code(), Some(128 + 15));
}

async fn unknown_host() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let target = format!("{}@127.0.0.1", sshd.user());
    let mut arguments = arguments(&sshd, &[&target, "--", "true"]);
    arguments[5] = sshd.directory().join("nothing_known").display().to_string();
    let output = run(arguments, b"").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1"), "{output:?}");
}

async fn jump_hosts() {
    let [first, second, target] = [(); 3].map(|()| Sshd::builder().start().expect("sshd starts"));
    // One key for all, and one file with the keys of all.
    let key = target.user_key().public_line().expect("a public key");
    let mut known = std::fs::read_to_string(target.known_hosts()).expect("known_hosts");
    for jump in [&first, &second] {
        jump.authorize(&key).expect("authorized_keys");
        known.push_str(&std::fs::read_to_string(jump.known_hosts()).expect("known_hosts"));
    }
    std::fs::write(target.known_hosts(), known).expect("known_hosts");
    let hops = format!("{}@127.0.0.1:{},[127.0.0.1]:{}", first.user(), first.port(), second.port());
    let to = format!("{}@127.0.0.1", target.user());
    let output = run(arguments(&target, &["-J", &hops, &to, "--", "cat"]), b"all the way").await;
    assert_eq!(output.stdout, b"all the way", "{output:?}");
    let logins = |sshd: &Sshd| sshd.log().matches("Accepted publickey").count();
    assert_eq!([logins(&first), logins(&second), logins(&target)], [1, 1, 1]);
    let wrong = run(arguments(&target, &["-J", "127.0.0.1:x", &to, "--", "true"]), b"").await;
    assert_eq!(wrong.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("127.0.0.1:x"), "{wrong:?}");
}

async fn terminal() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let target = format!("{}@127.0.0.1", sshd.user());
    let (mut terminal, slave) = pty_process::open().expect("a terminal");
    terminal.resize(pty_process::Size::new(33, 99)).expect("a size");
    let mut child = pty_process::Command::new(program())
        .args(arguments(
            &sshd,
            &[
                "-t",
                &target,
                "--",
                "stty size; read line; echo got:$line;",
                "while [ \"$(stty size)\" = '33 99' ]; do sleep 0.02; done; stty size",
            ],
        ))
        .env("TERM", "xterm")
        .spawn(slave)
        .expect("the example is built: `cargo build --examples`");
    let mut seen = String::new();
    read_until(&mut terminal, &mut seen, "33 99").await;
    terminal.write_all(b"hello\r").await.expect("it takes keys");
    read_until(&mut terminal, &mut seen, "got:hello").await;
    terminal.resize(pty_process::Size::new(44, 111)).expect("a size");
    read_until(&mut terminal, &mut seen, "44 111").await;
    assert_eq!(child.wait().await.expect("it can be waited for").code(), Some(0), "{seen}");
}

async fn read_until(terminal: &mut pty_process::Pty, seen: &mut String, what: &str) {
    let mut buffer = [0; 4096];
    while !seen.contains(what) {
        let len = terminal.read(&mut buffer).await.unwrap_or_else(|e| panic!("{e}; seen so far: {seen}"));
        seen.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
}
