//! What the example `ssh` does about forwards, beside what OpenSSH's `ssh` does.

use std::process::Stdio;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};

use crate::example_ssh::{arguments, echo_server, id_of};
use crate::kit::{Peer, Sshd, example, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let (ours, both) = (Peer::OpenSshServer, [Peer::OpenSshServer, Peer::OpenSshClient]);
    vec![
        peer_test("example_ssh::socks_clients_go_where_permit_remote_open_says", both, permitted),
        peer_test("example_ssh::connections_outlive_the_command", both, outlive),
        peer_test("example_ssh::an_interrupt_ends_them_and_keeps_the_commands_status", ours, interrupted),
        peer_test("example_ssh::a_failed_forward_leaves_nothing_of_the_others", ours, failed),
        peer_test("example_ssh::what_cuts_them_off_does_not_change_the_commands_status", both, cut),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Program {
    Ours,
    OpenSsh,
}

const PROGRAMS: [Program; 2] = [Program::OpenSsh, Program::Ours];

impl Program {
    fn start(self, sshd: &Sshd, options: &[&str], command: &[&str]) -> Child {
        let mut child = match self {
            Self::Ours => {
                let target = format!("{}@127.0.0.1", sshd.user());
                let mut words = [&["-F", "none"], options, &[&target]].concat();
                if !command.is_empty() {
                    words.push("--");
                    words.extend(command);
                }
                let mut child = Command::new(example("ssh"));
                child.args(arguments(sshd, &words)).env_remove("SSH_AUTH_SOCK");
                child
            }
            Self::OpenSsh => {
                let mut child = Command::from(sshd.ssh_command().expect("ssh"));
                child.args(options).args(command);
                child
            }
        };
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        child.spawn().expect("the example is built: `cargo build --examples`")
    }
}

/// Whether a SOCKS proxy leads to an echo.
async fn leads(proxy: u16, host: &str, port: u16) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy)).await.expect("the server listens");
    let len = u8::try_from(host.len()).expect("a short name");
    let request = [&[5, 1, 0, 5, 1, 0, 3, len], host.as_bytes(), &port.to_be_bytes()].concat();
    stream.write_all(&request).await.expect("it takes bytes");
    let mut answer = [0; 12];
    // OpenSSH's client grants first, and looks then.
    if stream.read_exact(&mut answer).await.is_err() || answer[3] != 0 {
        return false;
    }
    let mut seen = Vec::new();
    let asked = async {
        stream.write_all(b"hello").await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut seen).await
    };
    asked.await.is_ok() && seen == b"hello"
}

async fn permitted() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let (here, other) = (echo_server().await, echo_server().await);
    let places = [("127.0.0.1", here), ("127.0.0.1", other), ("localhost", here), ("LOCALHOST", here)];
    for (permit, wanted) in [
        ("any".to_owned(), [true; 4]),
        ("none".to_owned(), [false; 4]),
        (format!("127.0.0.1:{here}"), [true, false, false, false]),
        ("127.0.0.1:*".to_owned(), [true, true, false, false]),
        (format!("*:{other} localhost:*"), [false, true, true, false]),
        (format!("[127.0.0.1]:{other} [::1]:*"), [false, true, false, false]),
    ] {
        let option = format!("PermitRemoteOpen={permit}");
        for program in PROGRAMS {
            let mut child = program.start(&sshd, &["-N", "-R", "0", "-o", &option], &[]);
            let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
            let line = said.next_line().await.expect("a line").expect("a line");
            let proxy = line.split_whitespace().find_map(|word| word.parse::<u16>().ok());
            let proxy = proxy.unwrap_or_else(|| panic!("a port: {line}"));
            let mut found = Vec::new();
            for (host, port) in places {
                found.push(leads(proxy, host, port).await);
            }
            assert_eq!(found, wanted, "{program:?} {option}");
            child.kill().await.expect("it can be killed");
        }
    }
}

/// One round trip.
async fn echoes(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(b"ping").await.expect("it takes bytes");
    let mut seen = [0; 4];
    stream.read_exact(&mut seen).await.expect("it answers");
    assert_eq!(&seen, b"ping");
}

/// A command that has ended with status 7, a connection over `-L` that has not, and a SOCKS client that says nothing.
struct Left {
    child: Child,
    stream: UnixStream,
    silent: TcpStream,
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Left {
    async fn new(program: Program, sshd: &Sshd) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("local");
        let forward = format!("{}:127.0.0.1:{}", path.display(), echo_server().await);
        let proxy =
            TcpListener::bind("127.0.0.1:0").await.and_then(|free| free.local_addr()).expect("a port");
        let options = ["-L", &forward, "-D", &proxy.to_string()];
        let mut child = program.start(sshd, &options, &["echo up; read line; echo over; exit 7"]);
        let mut stdout = child.stdout.take().expect("it is piped");
        let mut up = [0; 3];
        stdout.read_exact(&mut up).await.expect("it is up");
        let mut stream = UnixStream::connect(&path).await.expect("-L");
        echoes(&mut stream).await;
        let silent = TcpStream::connect(proxy).await.expect("-D");
        child.stdin.take().expect("it is piped").write_all(b"\n").await.expect("it reads");
        let mut over = [0; 5];
        stdout.read_exact(&mut over).await.expect("it is over");
        assert_eq!(&over, b"over\n");
        Self { child, stream, silent, path, _directory: directory }
    }

    /// It does not end for a while.
    async fn stays(&mut self) {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            echoes(&mut self.stream).await;
        }
        assert!(self.child.try_wait().expect("it can be asked").is_none());
    }

    async fn ends(self) -> (Option<i32>, String) {
        let Self { child, stream, silent: _silent, .. } = self;
        drop(stream);
        let began = Instant::now();
        let end = end_of(child).await;
        // It would take ten seconds to be given up.
        assert!(began.elapsed() < Duration::from_secs(5), "the silent client was waited for");
        end
    }

    async fn ends_by_itself(self) -> (Option<i32>, String) {
        let Self { child, stream: _stream, silent: _silent, .. } = self;
        end_of(child).await
    }
}

async fn end_of(child: Child) -> (Option<i32>, String) {
    let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output());
    let output = output.await.expect("it ends").expect("it can be waited for");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn outlive() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    for program in PROGRAMS {
        let mut left = Left::new(program, &sshd).await;
        left.stays().await;
        // Another one may still come, and is waited for then.
        let mut second = UnixStream::connect(&left.path).await.expect("it still listens");
        echoes(&mut second).await;
        left.stream = second;
        left.stays().await;
        assert_eq!(left.ends().await, (Some(7), String::new()), "{program:?}");
    }
}

async fn interrupted() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let mut left = Left::new(Program::Ours, &sshd).await;
    left.stays().await;
    rustix::process::kill_process(id_of(&left.child), rustix::process::Signal::INT).expect("it is there");
    let Left { child, path, stream: _stream, silent: _silent, _directory } = left;
    assert_eq!(end_of(child).await, (Some(7), String::new()));
    assert!(!path.exists(), "the socket is removed");
}

async fn failed() {
    let sshd = Sshd::builder().config("PermitListen none").start().expect("sshd starts");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("local");
    let forward = format!("{}:127.0.0.1:9", path.display());
    let options = ["-N", "-L", &forward, "-R", "0:127.0.0.1:9", "-o", "ExitOnForwardFailure=yes"];
    // OpenSSH's leaves the socket behind.
    let (status, said) = end_of(Program::Ours.start(&sshd, &options, &[])).await;
    assert!(status == Some(255) && said.contains("localhost:0"), "{status:?}: {said}");
    assert!(!path.exists(), "the socket is removed");
}

async fn cut() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    for program in PROGRAMS {
        let mut left = Left::new(program, &sshd).await;
        left.stays().await;
        sshd.kill_sessions();
        let (status, said) = left.ends_by_itself().await;
        assert!(status == Some(7) && said.contains("127.0.0.1"), "{program:?} {status:?}: {said}");
    }
}
