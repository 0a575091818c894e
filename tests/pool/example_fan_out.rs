//! The example `fan_out`, as its users run it.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::kit::{Peer, Sshd, example, peer_test};
use crate::support::{plain, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("example_fan_out::lines_come_with_their_hosts_and_all_is_well", real, all_is_well),
        peer_test("example_fan_out::failures_are_listed_in_the_order_of_the_hosts", real, failures),
        peer_test("example_fan_out::the_first_failure_ends_everything_if_asked_to", real, fail_fast),
        peer_test("example_fan_out::what_is_wrong_with_an_argument_is_said", real, arguments_are_checked),
        peer_test("example_fan_out::new_hosts_are_written_down_if_asked_to", real, accept_new),
        peer_test("example_fan_out::in_a_terminal_there_is_a_bar", real, terminal),
    ]
}

/// Two servers with one key, and a file that knows both.
struct Pair(Sshd, Sshd);

impl Pair {
    fn start() -> Self {
        let (one, two) = (plain().start().unwrap(), plain().start().unwrap());
        two.authorize(&one.user_key().public_line().unwrap()).unwrap();
        let known = [&one, &two].map(|sshd| std::fs::read_to_string(sshd.known_hosts()).unwrap()).concat();
        std::fs::write(one.known_hosts(), known).unwrap();
        Self(one, two)
    }

    fn hosts(&self) -> [String; 2] {
        [&self.0, &self.1].map(|sshd| format!("127.0.0.1:{}", sshd.port()))
    }

    fn arguments(&self, words: &[&str]) -> Vec<String> {
        let known_hosts = self.0.known_hosts().display().to_string();
        let identity = self.0.identity().display().to_string();
        let ours = ["-l", self.0.user(), "-i", &identity, "--known-hosts", &known_hosts];
        ours.iter().chain(words).map(|word| (*word).to_owned()).collect()
    }
}

async fn run(arguments: Vec<String>) -> (i32, String, String) {
    let running =
        Command::new(example("fan_out")).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let Output { status, stdout, stderr } =
        soon("the example", running).await.expect("the example is built: `cargo build --examples`");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn all_is_well() {
    let pair = Pair::start();
    let [one, two] = pair.hosts();
    let (code, stdout, stderr) = run(pair.arguments(&[&one, &two, "--", "echo", "a;", "echo", "b"])).await;
    assert_eq!((code, &*stderr), (0, ""), "{stdout}");
    for host in [&one, &two] {
        let lines: Vec<_> =
            stdout.lines().filter_map(|line| line.strip_prefix(&format!("{host}: "))).collect();
        assert_eq!(lines, ["a", "b"]);
    }
    assert_eq!(stdout.lines().count(), 4);
}

async fn failures() {
    let pair = Pair::start();
    let [one, two] = pair.hosts();
    let command =
        format!("echo said >&2; [ \"${{SSH_CONNECTION##* }}\" = {} ] && exit 3; exit 0", pair.1.port());
    let words = ["--deadline", "10", "127.0.0.1:1", &two, &one, "--", &command];
    let (code, stdout, stderr) = run(pair.arguments(&words)).await;
    assert_eq!((code, &*stdout), (1, ""));
    assert!(
        stderr.contains(&format!("{one}: said\n")) && stderr.contains(&format!("{two}: said\n")),
        "{stderr}"
    );
    let listed: Vec<_> = stderr.lines().filter_map(|line| line.strip_prefix("fan_out: ")).collect();
    assert_eq!(listed.len(), 2, "{stderr}");
    assert!(listed[0].starts_with("127.0.0.1:1: "), "{stderr}");
    assert!(listed[1].starts_with(&format!("{two}: ")) && listed[1].contains('3'), "{stderr}");
}

async fn fail_fast() {
    let pair = Pair::start();
    let [one, two] = pair.hosts();
    let command = format!("[ \"${{SSH_CONNECTION##* }}\" = {} ] && exec sleep 3; exit 1", pair.0.port());
    let began = Instant::now();
    let words = ["--fail-fast", "--concurrency", "2", &one, &two, &one, "--", &command];
    let (code, _, stderr) = run(pair.arguments(&words)).await;
    assert_eq!(code, 1);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let listed: Vec<_> = stderr.lines().filter_map(|line| line.strip_prefix("fan_out: ")).collect();
    assert_eq!(listed.len(), 3, "{stderr}");
    assert!(listed[0].starts_with(&format!("{one}: cancelled")), "{stderr}");
    assert_eq!(listed[2], format!("{one}: not started"));
}

async fn arguments_are_checked() {
    let pair = Pair::start();
    let [one, _] = pair.hosts();
    for (words, said) in [
        (vec!["127.0.0.1:many", "--", "true"], "is no port"),
        (vec!["127.0.0.1:0", "--", "true"], "port"),
        (vec!["[::1", "--", "true"], "without `]`"),
        (vec!["", "--", "true"], "host"),
        (vec![&*one], "COMMAND"),
        (vec!["--", "true"], "HOSTS"),
        (vec!["--concurrency", "0", &one, "--", "true"], "concurrency"),
    ] {
        let (code, _, stderr) = run(pair.arguments(&words)).await;
        assert_eq!(code, 2, "{words:?}: {stderr}");
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    }
    let missing = ["-i", "/none/such", &one, "--", "true"].map(str::to_owned);
    let (code, _, stderr) = run(missing.to_vec()).await;
    assert!(code == 2 && stderr.contains("/none/such"), "{stderr}");
}

async fn accept_new() {
    let pair = Pair::start();
    let [one, two] = pair.hosts();
    std::fs::write(pair.0.known_hosts(), "").unwrap();
    let (code, _, stderr) = run(pair.arguments(&[&one, &two, "--", "true"])).await;
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    let (code, _, stderr) = run(pair.arguments(&["--accept-new", &one, &two, "--", "true"])).await;
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = run(pair.arguments(&[&one, &two, "--", "true"])).await;
    assert_eq!(code, 0, "{stderr}");
}

async fn terminal() {
    let pair = Pair::start();
    let [one, two] = pair.hosts();
    let (mut terminal, slave) = pty_process::open().expect("a terminal");
    terminal.resize(pty_process::Size::new(24, 100)).expect("a size");
    let mut child = pty_process::Command::new(example("fan_out"))
        .args(pair.arguments(&[&one, &two, "--", "echo working; sleep 0.5"]))
        .env("TERM", "xterm")
        .spawn(slave)
        .expect("the example is built: `cargo build --examples`");
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    soon("its end", async {
        // The terminal fails when nobody is left on it.
        while let Ok(len) = terminal.read(&mut buffer).await {
            if len == 0 {
                break;
            }
            seen.extend_from_slice(&buffer[..len]);
        }
    })
    .await;
    let seen = String::from_utf8_lossy(&seen);
    assert_eq!(child.wait().await.expect("it can be waited for").code(), Some(0), "{seen}");
    assert!(seen.contains("0/2") && seen.contains(&format!("{one}: working")), "{seen}");
}
