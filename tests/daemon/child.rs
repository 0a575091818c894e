//! Daemons in a process of their own: this test binary, started again. For what concerns a whole process: its memory,
//! its file descriptors.

use std::process::{ExitCode, Stdio};

use ractor_ssh::auth::Auth;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::wire::keys::PublicKey;
use ractor_ssh::{Client, ClientConfig, DaemonConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Served, USER, eventually, soon};

/// Says what a child is to do.
const ROLE: &str = "DAEMON_TEST_ROLE";
/// The password that lets in.
const PASSWORD: &str = "DAEMON_TEST_PASSWORD";

/// What a child does, if this is one.
pub(crate) fn main() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match role.as_str() {
        "serve" => runtime.block_on(serve()),
        "starve" => runtime.block_on(starve()),
        other => panic!("no role {other}"),
    }
    Some(ExitCode::SUCCESS)
}

fn child(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Lets this process have as many files as it may.
pub(crate) fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    maximum.or(current).unwrap_or(u64::MAX)
}

/// A daemon in a process of its own. It ends with this.
pub(crate) struct Apart {
    child: Child,
    _stdin: ChildStdin,
    port: u16,
    host_key: PublicKey,
    password: String,
}

impl Apart {
    pub(crate) async fn start() -> Self {
        let password = format!("{:032x}", rand_bits());
        let mut child = child("serve").env(PASSWORD, &password).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = soon(lines.next_line()).await.unwrap().unwrap().parse().unwrap();
        let host_key = soon(lines.next_line()).await.unwrap().unwrap();
        let host_key = PublicKey::from_openssh(&host_key).unwrap();
        let _stdin = child.stdin.take().unwrap();
        Self { child, _stdin, port, host_key, password }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(
            ClientConfig::new("127.0.0.1", USER)
                .port(self.port)
                .auth(Auth::new().password(self.password.clone().into()))
                .host_key(HostKeyPolicy::pinned([self.host_key.clone()])),
        )
    }

    /// Its resident memory in bytes, where the system tells.
    pub(crate) fn resident(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
    }
}

/// A number nobody guesses.
fn rand_bits() -> u128 {
    let hasher = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "password");
    u128::from(hasher()) << 64 | u128::from(hasher())
}

/// Serves until stdin ends.
async fn serve() {
    raise_file_limit();
    let password = std::env::var(PASSWORD).unwrap();
    let served = Served::with(|config| {
        let expected = password.clone();
        lift(config).router(router()).password(move |_, given| {
            let yes = given.expose_secret() == expected;
            async move { yes }
        })
    })
    .await;
    println!("{}\n{}", served.daemon.local_addr().port(), served.host_key.to_openssh().unwrap());
    let mut rest = Vec::new();
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    soon(served.daemon.stop()).await;
}

/// All from one address, and none of them in a hurry.
fn lift(config: DaemonConfig) -> DaemonConfig {
    config
        .max_startups(usize::MAX, 0, usize::MAX)
        .max_per_source(usize::MAX)
        .max_connections_per_source(usize::MAX)
        .initial_idle_timeout(std::time::Duration::MAX)
        .max_connections(2_000)
}

/// The daemon of a process without a free file descriptor accepts again when there is one.
pub(crate) async fn starving() {
    let output = soon(child("starve").stderr(Stdio::piped()).output()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fed\n");
}

async fn starve() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
    let served = Served::start(router()).await;
    let old = served.connect().await;
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    assert!(files.pop().is_some(), "one for the client's end");
    let mut waiting = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    eventually(|| served.daemon.info().counters.accept_errors >= 3).await;
    assert_eq!(served.daemon.info().connections, 1);
    old.session_channel(Quiet).await.unwrap().exec("cat").await.unwrap();
    drop(files);
    let mut greeting = [0; 4];
    soon(waiting.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"SSH-");
    assert_eq!(served.daemon.info().counters.acceptor_restarts, 0);
    soon(served.daemon.stop()).await;
    println!("fed");
}
