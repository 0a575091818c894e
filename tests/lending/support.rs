//! Agents, X servers, daemons, and ways to them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use ractor_ssh::auth::{AgentForward, Auth, Identity, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::process::Processes;
use ractor_ssh::wire::keys::{PrivateKey, PublicKey, generate_ed25519};
use ractor_ssh::x11::{Display, X11Forward};
use ractor_ssh::{
    Client, ClientConfig, ConnectionRef, Daemon, DaemonConfig, DaemonRef, LoginDecision, Permissions, Router,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::kit::{KeyKind, KeyPair, Sshd, openssh, require_program};

pub(crate) const USER: &str = "alice";

/// Fails what takes longer than any of these tests should.
pub(crate) async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("not done in 30 s")
}

/// Waits for something that happens without anybody saying so.
pub(crate) async fn eventually(mut happened: impl FnMut() -> bool) {
    soon(async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program that ends with its value, and finds nothing of ours in its environment.
pub(crate) fn program(name: &str) -> Command {
    alone(Command::new(require_program(name).unwrap()))
}

fn alone(mut command: Command) -> Command {
    command
        .env_remove("SSH_AUTH_SOCK")
        .env_remove("DISPLAY")
        .env_remove("XAUTHORITY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) async fn run(command: &mut Command) -> Output {
    soon(command.output()).await.unwrap()
}

/// A real agent, with a key in it.
pub(crate) struct Agent {
    pub(crate) directory: TempDir,
    pub(crate) key: KeyPair,
    _agent: Child,
}

impl Agent {
    pub(crate) async fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate(directory.path().join("key"), KeyKind::Ed25519).unwrap();
        let socket = directory.path().join("agent");
        let agent = program("ssh-agent").arg("-D").arg("-a").arg(&socket).spawn().unwrap();
        eventually(|| std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
        Self { directory, key, _agent: agent }
    }

    pub(crate) async fn start() -> Self {
        let agent = Self::empty().await;
        agent.add(&[]).await;
        agent
    }

    /// Adds the key, with these arguments of `ssh-add`.
    pub(crate) async fn add(&self, arguments: &[&str]) {
        let mut add = program("ssh-add");
        let added =
            run(add.arg("-q").args(arguments).arg(self.key.path()).env("SSH_AUTH_SOCK", self.socket())).await;
        assert!(added.status.success(), "{}", text(&added.stderr));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
    }

    pub(crate) fn forward(&self) -> AgentForward {
        AgentForward::at(self.socket())
    }

    /// What `ssh-add -l` prints when it sees the key.
    pub(crate) fn listed(&self) -> String {
        self.key.fingerprint().unwrap()
    }
}

/// A real X server, that only its cookie opens.
pub(crate) struct XServer {
    _directory: TempDir,
    authority: PathBuf,
    number: u16,
    server: Child,
}

impl XServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (own, authority) = (directory.path().join("server"), directory.path().join("user"));
        let cookie = "0123456789abcdeffedcba9876543210";
        add_cookie(&own, ":0", cookie).await;
        let mut server = program("Xvfb");
        server
            .args(["-noreset", "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "640x480x24", "-auth"])
            .arg(&own);
        let mut server = server.args(arguments).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        soon(BufReader::new(server.stdout.take().unwrap()).read_line(&mut line)).await.unwrap();
        let number = line.trim().parse().expect("Xvfb says its number");
        add_cookie(&authority, &format!(":{number}"), cookie).await;
        Self { _directory: directory, authority, number, server }
    }

    pub(crate) fn display(&self) -> Display {
        Display::local(self.number).unwrap()
    }

    pub(crate) fn trusted(&self) -> X11Forward {
        X11Forward::trusted(self.display()).authority(&self.authority)
    }

    /// A screen of this display, as a trusted one.
    pub(crate) fn trusted_at(&self, screen: Display) -> X11Forward {
        X11Forward::trusted(screen).authority(&self.authority)
    }

    /// Puts a word on the root window.
    pub(crate) async fn mark(&self, word: &str) {
        let mut xprop = program("xprop");
        xprop.args(["-root", "-f", "MARK", "8s", "-set", "MARK", word]);
        let marked = run(self.lend_to(&mut xprop)).await;
        assert!(marked.status.success(), "{}", text(&marked.stderr));
    }

    pub(crate) fn untrusted(&self) -> X11Forward {
        X11Forward::untrusted(self.display()).authority(&self.authority)
    }

    /// Has a program use this display.
    pub(crate) fn lend_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("DISPLAY", format!(":{}", self.number)).env("XAUTHORITY", &self.authority)
    }
}

impl Drop for XServer {
    /// Killed, it would leave its socket and its lock behind.
    fn drop(&mut self) {
        let pid = self.server.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        let Some(pid) = pid else { return };
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..400 {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Puts a cookie into an authority file.
pub(crate) async fn add_cookie(file: &Path, display: &str, cookie: &str) {
    let mut xauth = program("xauth");
    let added = run(xauth.arg("-q").arg("-f").arg(file).args(["add", display, ".", cookie])).await;
    assert!(added.status.success(), "{}", text(&added.stderr));
}

/// OpenSSH's server.
pub(crate) fn sshd() -> Sshd {
    Sshd::builder().start().unwrap()
}

/// OpenSSH's server, which takes displays, and has their cookies in a file of its own.
pub(crate) struct WithAuthority {
    sshd: Sshd,
    _directory: TempDir,
}

impl std::ops::Deref for WithAuthority {
    type Target = Sshd;

    fn deref(&self) -> &Sshd {
        &self.sshd
    }
}

pub(crate) fn sshd_with_authority() -> WithAuthority {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Xauthority");
    let builder = Sshd::builder().config("X11Forwarding yes").config("X11UseLocalhost yes");
    let sshd = builder.config(format!("SetEnv XAUTHORITY={}", file.display())).start().unwrap();
    WithAuthority { sshd, _directory: directory }
}

/// Our client at OpenSSH's server.
pub(crate) async fn connect_to(sshd: &Sshd) -> ConnectionRef {
    let config = ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(Auth::new().identity_file(IdentityFile::new(sshd.identity())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])));
    soon(Client::new(config).connect()).await.unwrap()
}

/// A daemon of ours.
pub(crate) struct Served {
    pub(crate) daemon: DaemonRef,
    pub(crate) host_key: PublicKey,
    identity: PrivateKey,
    directory: TempDir,
    ssh_key: KeyPair,
}

impl Served {
    pub(crate) async fn start(router: Router) -> Self {
        Self::permitting(router, Permissions::all()).await
    }

    /// A daemon that takes everything that is lent, and runs processes.
    pub(crate) async fn lent_to() -> Self {
        Self::start(processes().agent_forwarding(|_| true).x11_forwarding(|_| true)).await
    }

    /// A daemon whose logins have these permissions.
    pub(crate) async fn permitting(router: Router, permissions: Permissions) -> Self {
        Self::configured(router, permissions, |config| config).await
    }

    /// A daemon that is told more.
    pub(crate) async fn configured(
        router: Router,
        permissions: Permissions,
        more: impl FnOnce(DaemonConfig) -> DaemonConfig,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ssh_key = KeyPair::generate(directory.path().join("id"), KeyKind::Ed25519).unwrap();
        let (host_key, identity) = (generate_ed25519(), generate_ed25519());
        let public = host_key.public_key().clone();
        let known = [
            identity.public_key().key_data().clone(),
            PublicKey::from_openssh(&ssh_key.public_line().unwrap()).unwrap().key_data().clone(),
        ];
        let config = DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(host_key).router(router).public_key(
            move |attempt, key| {
                let yes = attempt.user == USER && known.contains(key.key_data());
                let permissions = permissions.clone();
                async move {
                    if yes { LoginDecision::AcceptWith(permissions) } else { LoginDecision::Reject }
                }
            },
        );
        let daemon = Daemon::start(more(config)).await.unwrap();
        Self { daemon, host_key: public, identity, directory, ssh_key }
    }

    pub(crate) async fn connect(&self) -> ConnectionRef {
        soon(self.client().connect()).await.unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        let config = ClientConfig::new("127.0.0.1", USER)
            .port(self.daemon.local_addr().port())
            .auth(Auth::new().identity(Identity::from_private_key(self.identity.clone())))
            .host_key(HostKeyPolicy::pinned([self.host_key.clone()]));
        Client::new(config)
    }

    /// OpenSSH's client, with these options, all but the command to run.
    pub(crate) fn ssh(&self, options: &[&str]) -> Command {
        let port = self.daemon.local_addr().port();
        let known_hosts = self.directory.path().join("known_hosts");
        let key = self.host_key.to_openssh().unwrap();
        std::fs::write(&known_hosts, format!("[127.0.0.1]:{port} {key}\n")).unwrap();
        let ssh = openssh("ssh", self.ssh_key.path(), &known_hosts, "yes").unwrap();
        let mut command = alone(Command::from(ssh));
        command.args(["-p", &port.to_string(), "-l", USER]).args(options).arg("127.0.0.1");
        command
    }
}

/// Runs what it is told by a shell.
pub(crate) fn processes() -> Router {
    Router::new().processes(Processes::new().shell("/bin/sh"))
}
