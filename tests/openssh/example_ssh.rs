//! The example `ssh`, as its users run it.

use std::process::{Output, Stdio};

use libtest_mimic::Trial;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::Command;

use crate::kit::{Peer, Sshd, example, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("example_ssh::streams_and_status_pass_through", real, streams_and_status),
        peer_test("example_ssh::a_signal_is_128_and_its_number", real, signal),
        peer_test("example_ssh::an_unknown_host_is_255_with_a_word_about_it", real, unknown_host),
        peer_test("example_ssh::jump_hosts_are_gone_over_in_their_order", real, jump_hosts),
        peer_test("example_ssh::ports_and_sockets_lead_both_ways_and_by_socks", real, forwards),
        peer_test("example_ssh::a_file_and_options_say_what_is_run", real, files),
        peer_test("example_ssh::in_a_terminal_keys_and_size_pass_through", real, terminal),
    ]
}

pub(crate) fn arguments(sshd: &Sshd, words: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-p".to_owned(), sshd.port().to_string()];
    arguments.extend(["-i".to_owned(), sshd.identity().display().to_string()]);
    arguments.extend(["--known-hosts".to_owned(), sshd.known_hosts().display().to_string()]);
    arguments.extend(words.iter().map(|word| (*word).to_owned()));
    arguments
}

async fn run(arguments: Vec<String>, input: &[u8]) -> Output {
    let mut child = Command::new(example("ssh"))
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

/// Sends back what it is sent.
pub(crate) async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    port
}

async fn echoes(mut stream: impl AsyncRead + AsyncWrite + Unpin, what: &str) {
    stream.write_all(what.as_bytes()).await.expect("it takes bytes");
    stream.shutdown().await.expect("it takes the end");
    let mut seen = String::new();
    stream.read_to_string(&mut seen).await.expect("it answers");
    assert_eq!(seen, what);
}

async fn forwards() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let port = echo_server().await;
    let socket = sshd.directory().join("local");
    let socks = TcpListener::bind("127.0.0.1:0").await.and_then(|free| free.local_addr()).expect("a port");
    let to = format!("127.0.0.1:{port}");
    let (local, remote) = (format!("{}:{to}", socket.display()), format!("0:{to}"));
    let target = format!("{}@127.0.0.1", sshd.user());
    let words = ["-N", "-L", &local, "-R", &remote, "-D", &socks.to_string(), "-F", "none", &target];
    let mut child = Command::new(example("ssh"))
        .args(arguments(&sshd, &words))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the example is built: `cargo build --examples`");
    let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let line = said.next_line().await.expect("a line").expect("a line");
    let chosen = line.split_whitespace().find_map(|word| word.parse::<u16>().ok());
    let chosen = chosen.unwrap_or_else(|| panic!("a port: {line}"));
    echoes(UnixStream::connect(&socket).await.expect("-L"), "by a socket here").await;
    echoes(TcpStream::connect(("127.0.0.1", chosen)).await.expect("-R"), "by a port there").await;
    let mut proxied = connected(socks).await;
    let [high, low] = port.to_be_bytes();
    proxied.write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, high, low]).await.expect("it takes bytes");
    let mut answer = [0; 12];
    proxied.read_exact(&mut answer).await.expect("it answers");
    assert_eq!(answer[..4], [5, 0, 5, 0], "{answer:?}");
    echoes(proxied, "by socks").await;
    let id = id_of(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it is there");
    assert_eq!(child.wait().await.expect("it can be waited for").code(), Some(130));
    assert!(!socket.exists(), "the socket is removed");
}

/// The last of the forwards may not listen yet.
async fn connected(to: std::net::SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(to).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
        }
    }
}

pub(crate) fn id_of(child: &tokio::process::Child) -> rustix::process::Pid {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    id.and_then(rustix::process::Pid::from_raw).expect("it runs")
}

async fn files() {
    let sshd = Sshd::builder().config("AcceptEnv GIVEN SENT_*").start().expect("sshd starts");
    let file = sshd.directory().join("config");
    let text = format!(
        "Host box\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile \"{}\"\n  IdentityAgent none\n  \
         UserKnownHostsFile \"{}\"\n  SetEnv GIVEN=g\n  SendEnv SENT_*\n  RemoteCommand echo $GIVEN $SENT_IT %h\n",
        sshd.port(),
        sshd.user(),
        sshd.identity().display(),
        sshd.known_hosts().display(),
    );
    std::fs::write(&file, text).expect("a file");
    let ssh = async |more: &[&str]| {
        let mut command = Command::new(example("ssh"));
        command.arg("-F").arg(&file).args(more).env("SENT_IT", "s").stdin(Stdio::null());
        command.output().await.expect("the example is built: `cargo build --examples`")
    };
    let output = ssh(&["box"]).await;
    assert_eq!(output.stdout, b"g s 127.0.0.1\n", "{output:?}");
    assert_eq!(output.stderr, b"", "nothing of its own when all is well");
    let output =
        ssh(&["-o", "RemoteCommand=none", "-o", "SetEnv=GIVEN=other", "box", "--", "echo $GIVEN"]).await;
    assert_eq!(output.stdout, b"other\n", "{output:?}");
    let output = ssh(&["-v", "box"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!["setenv", "sendenv", "remotecommand"].iter().any(|done| said.contains(done)), "{said}");
    let output = ssh(&["-o", "ConnectionAttempts=3", "box"]).await;
    assert_eq!(output.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&output.stderr).contains("connectionattempts=3"), "{output:?}");
    let dollar = sshd.directory().join("$key");
    std::fs::copy(sshd.identity(), &dollar).expect("a file");
    let output = ssh(&["-i", dollar.to_str().expect("UTF-8"), "box"]).await;
    assert_eq!(output.stdout, b"g s 127.0.0.1\n", "{output:?}");
    let output = ssh(&["-o", "NoSuchThing=yes", "box"]).await;
    assert_eq!(output.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nosuchthing"), "{output:?}");
}

async fn terminal() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let target = format!("{}@127.0.0.1", sshd.user());
    let (mut terminal, slave) = pty_process::open().expect("a terminal");
    terminal.resize(pty_process::Size::new(33, 99)).expect("a size");
    let mut child = pty_process::Command::new(example("ssh"))
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
