//! The example `bastion`, between OpenSSH's client and OpenSSH's server.

use std::process::{Output, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::kit::{KeyKind, KeyPair, Peer, Sshd, example, openssh, peer_test};
use crate::programs::{Check, piece};
use crate::support::soon;

pub(crate) fn trials() -> Vec<Trial> {
    let both = [Peer::OpenSshClient, Peer::OpenSshServer];
    vec![
        peer_test("bastion::streams_and_status_pass_through", both, streams_and_status),
        peer_test("bastion::an_exit_signal_passes_through", both, exit_signal),
        peer_test("bastion::a_refused_request_and_a_refused_open_pass_through", both, refusals),
        peer_test("bastion::a_terminal_its_size_and_new_sizes_pass_through", both, terminal),
        peer_test("bastion::environment_passes_through", both, environment),
        peer_test("bastion::16_mib_pass_through_both_ways_byte_for_byte", both, big),
        peer_test("bastion::a_slow_reader_holds_the_writer_up_and_loses_nothing", both, slow_reader),
        peer_test("bastion::a_client_that_goes_ends_the_command", both, client_goes),
        peer_test("bastion::a_target_that_goes_ends_the_session", both, target_goes),
        peer_test("bastion::forwarded_ports_pass_through_if_allowed", both, forwarding),
        peer_test("bastion::what_a_target_says_at_once_before_it_closes_is_not_lost", both, said_at_once),
    ]
}

/// A relay in front of a server.
struct Relay {
    sshd: Sshd,
    process: Child,
    port: u16,
    key: KeyPair,
}

impl Relay {
    async fn start(sshd: Sshd, options: &[&str]) -> Self {
        let directory = sshd.directory();
        let key = KeyPair::generate(directory.join("visitor"), KeyKind::Ed25519).unwrap();
        let host = KeyPair::generate(directory.join("relay"), KeyKind::Ed25519).unwrap();
        let authorized = directory.join("visitors");
        std::fs::write(&authorized, format!("# visitors\n{}\n", key.public_line().unwrap())).unwrap();
        let mut process = Command::new(example("bastion"))
            .args(["--listen", "127.0.0.1:0", "--port", &sshd.port().to_string()])
            .arg("--host-key")
            .arg(host.path())
            .arg("--authorized-keys")
            .arg(&authorized)
            .arg("--identity")
            .arg(sshd.identity())
            .arg("--known-hosts")
            .arg(sshd.known_hosts())
            .args(options)
            .arg(format!("{}@127.0.0.1", sshd.user()))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the example is built: `cargo build --examples`");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = soon(lines.next_line()).await.unwrap().unwrap();
        let port = first.rsplit_once(':').unwrap().1.parse().unwrap();
        let line = format!("[127.0.0.1]:{port} {}\n", host.public_line().unwrap());
        std::fs::write(directory.join("known_relay"), line).unwrap();
        Self { sshd, process, port, key }
    }

    async fn new() -> Self {
        Self::start(Sshd::builder().start().unwrap(), &[]).await
    }

    /// `ssh` to the relay, all but the command.
    fn ssh(&self) -> Command {
        let known_hosts = self.sshd.directory().join("known_relay");
        let mut command = Command::from(openssh("ssh", self.key.path(), &known_hosts, "yes").unwrap());
        command
            .args(["-p", &self.port.to_string(), "-l", "visitor"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, options: &[&str], command: &str) -> Output {
        let mut ssh = self.ssh();
        ssh.args(options).arg("127.0.0.1");
        if !command.is_empty() {
            ssh.arg(command);
        }
        soon(ssh.output()).await.unwrap()
    }
}

async fn streams_and_status() {
    let relay = Relay::new().await;
    let output = relay.run(&[], "echo out; echo err >&2; exit 7").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
    assert_eq!(output.status.code(), Some(7));
    // The end of the input is passed on by itself: the command goes on after it.
    let mut child = relay.ssh().args(["127.0.0.1", "cat; echo done"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"in ").await.unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in done\n");
    assert!(output.status.success());
}

async fn exit_signal() {
    let relay = Relay::new().await;
    let output = relay.run(&["-v"], "kill -TERM $$").await;
    assert_eq!(output.status.code(), Some(255));
    let said = stderr(&output);
    assert!(said.contains("rtype exit-signal") && !said.contains("rtype exit-status"), "{said}");
}

async fn refusals() {
    // OpenSSH's server says "connect failed" beyond MaxSessions, and "prohibited" to a port it may not reach.
    let strict = Sshd::builder().max_sessions(0).config("AllowTcpForwarding no").start().unwrap();
    let relay = Relay::start(strict, &["--allow-forwarding"]).await;
    let refused = relay.run(&[], "true").await;
    assert!(stderr(&refused).contains("connect failed"), "{}", stderr(&refused));
    let refused = relay.run(&["-W", "127.0.0.1:9"], "").await;
    assert!(stderr(&refused).contains("administratively prohibited"), "{}", stderr(&refused));
    let relay = Relay::new().await;
    let refused = relay.run(&["-s"], "noexist").await;
    assert!(stderr(&refused).contains("subsystem request failed"), "{}", stderr(&refused));
    relay.sshd.kill();
    let refused = relay.run(&[], "true").await;
    assert!(stderr(&refused).contains("connect failed"), "{}", stderr(&refused));
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn terminal() {
    let relay = Relay::new().await;
    let (mut terminal, slave) = pty_process::open().unwrap();
    terminal.resize(pty_process::Size::new(30, 90)).unwrap();
    let script = "stty size; read line; echo got:$line; \
                  while [ \"$(stty size)\" = '30 90' ]; do sleep 0.02; done; stty size; exit 5";
    let ssh = relay.ssh();
    let mut child = pty_process::Command::new(ssh.as_std().get_program())
        .args(ssh.as_std().get_args())
        .args(["-tt", "127.0.0.1", script])
        .env("TERM", "xterm")
        .kill_on_drop(true)
        .spawn(slave)
        .unwrap();
    let mut seen = String::new();
    wait_for(&mut terminal, &mut seen, "30 90").await;
    terminal.write_all(b"word\r").await.unwrap();
    wait_for(&mut terminal, &mut seen, "got:word").await;
    terminal.resize(pty_process::Size::new(40, 100)).unwrap();
    wait_for(&mut terminal, &mut seen, "40 100").await;
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(5), "{seen}");
}

async fn wait_for(terminal: &mut pty_process::Pty, seen: &mut String, text: &str) {
    let mut buffer = [0; 4096];
    while !seen.contains(text) {
        let len = soon(terminal.read(&mut buffer)).await.unwrap_or_else(|error| panic!("{error}: {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
}

async fn environment() {
    let relay = Relay::start(Sshd::builder().config("AcceptEnv COLOR").start().unwrap(), &[]).await;
    let output = relay.run(&["-o", "SetEnv=COLOR=blue SHAPE=round"], "echo $COLOR.$SHAPE").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "blue.\n");
}

async fn big() {
    const SIZE: usize = 16 << 20;
    let relay = Relay::new().await;
    let file = relay.sshd.directory().join("input");
    std::fs::write(&file, piece(0, SIZE)).unwrap();
    let mut command = relay.ssh();
    command.args(["127.0.0.1", "cat"]).stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let output = soon(command.output()).await.unwrap();
    let mut check = Check::default();
    check.take(&output.stdout);
    assert_eq!((check.seen, check.wrong), (SIZE, None));
    assert!(output.status.success());
}

/// The writer says on standard error how far it is; far less than everything while nobody reads.
async fn slow_reader() {
    const SIZE: usize = 256 << 20;
    let relay = Relay::new().await;
    let before = resident(&relay.process);
    let file = relay.sshd.directory().join("written");
    let script = format!(
        "i=0; while [ $i -lt 256 ]; do head -c 1048576 /dev/zero; i=$((i+1)); echo $i > {}; done",
        file.display()
    );
    let mut child = relay.ssh().args(["127.0.0.1", &script]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let written = || std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<usize>().ok());
    let mut last = (written(), tokio::time::Instant::now());
    // Until it has stood still for two seconds.
    while last.1.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = written();
        if now != last.0 {
            last = (now, tokio::time::Instant::now());
        }
        assert!(now < Some(256), "nothing holds the writer up");
    }
    if let (Some(before), Some(after)) = (before, resident(&relay.process)) {
        assert!(after.saturating_sub(before) < 160 << 20, "{before} then {after} bytes resident");
    }
    let mut total = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match soon(stdout.read(&mut buffer)).await.unwrap() {
            0 => break,
            len => total += len,
        }
    }
    assert_eq!(total, SIZE);
    assert!(soon(child.wait()).await.unwrap().success());
}

/// Resident memory of a process, in bytes, where the system tells.
fn resident(process: &Child) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()?)).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

async fn client_goes() {
    let relay = Relay::new().await;
    let gone = relay.sshd.directory().join("gone");
    let script = format!("echo up; cat > /dev/null; echo gone > {}", gone.display());
    let mut child = relay.ssh().args(["127.0.0.1", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    soon(child.stdout.as_mut().unwrap().read_exact(&mut up)).await.unwrap();
    child.kill().await.unwrap();
    soon(async {
        while !gone.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn target_goes() {
    let relay = Relay::new().await;
    let mut child =
        relay.ssh().args(["127.0.0.1", "echo up; sleep 100"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    soon(child.stdout.as_mut().unwrap().read_exact(&mut up)).await.unwrap();
    relay.sshd.kill_sessions();
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255));
    // The relay lives on.
    assert!(relay.run(&[], "true").await.status.success());
}

async fn forwarding() {
    let relay = Relay::start(Sshd::builder().start().unwrap(), &["--allow-forwarding"]).await;
    let target = relay.sshd.addr().to_string();
    let mut child = relay.ssh().args(["-W", &target, "127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut greeting = [0; 8];
    soon(child.stdout.as_mut().unwrap().read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"SSH-2.0-");
    child.kill().await.unwrap();
    let relay = Relay::new().await;
    let output = soon(relay.ssh().args(["-W", &target, "127.0.0.1"]).output()).await.unwrap();
    assert!(stderr(&output).contains("administratively prohibited"), "{}", stderr(&output));
}

/// The target's words and its close are there before the relay's two sides have met, or nearly so: again and again.
async fn said_at_once() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello and goodbye").await;
        }
    });
    let relay = Relay::start(Sshd::builder().start().unwrap(), &["--allow-forwarding"]).await;
    for _ in 0..20 {
        let output = relay.run(&["-W", &target], "").await;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello and goodbye", "{}", stderr(&output));
    }
}
