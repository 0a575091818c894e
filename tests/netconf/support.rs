//! A real NETCONF server behind `sshd`, and the example, as client and as server.

use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::auth::{AgentMode, Auth, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::{Client, ClientConfig, ConnectionRef};
use tempfile::TempDir;

use crate::kit::{Sshd, require_program};

/// A test without peers, in which time passes only when everybody waits.
pub(crate) fn paused<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(body());
        Ok(())
    })
}

/// A process that is killed when it is no longer needed.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `netconfd`, and an `sshd` whose subsystem `netconf` leads to it.
pub(crate) struct Netconfd {
    pub(crate) sshd: Sshd,
    _server: Running,
    _directory: TempDir,
}

impl Netconfd {
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("ssh-kit-").tempdir().unwrap();
        let path = directory.path();
        let (socket, data) = (path.join("socket"), path.join("data"));
        std::fs::create_dir(&data).unwrap();
        let server = Command::new(require_program("netconfd").unwrap())
            .args([
                "--no-startup",
                "--access-control=off",
                "--target=running",
                "--modpath=/usr/share/yuma/modules",
            ])
            .arg(format!("--datapath={}", data.display()))
            .arg(format!("--ncxserver-sockname={}", socket.display()))
            .arg(format!("--log={}", path.join("log").display()))
            .env("HOME", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Running(server);
        let end = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(
                Instant::now() < end,
                "{}",
                std::fs::read_to_string(path.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        // It chooses the socket by the port of the SSH server, which is not known yet.
        let script = path.join("subsystem");
        let program = require_program("netconf-subsystem").unwrap();
        let text = format!(
            "#!/bin/sh\nSSH_CONNECTION='127.0.0.1 1 127.0.0.1 830' USER=root exec {} --ncxserver-sockname=830@{}\n",
            program.display(),
            socket.display()
        );
        std::fs::write(&script, text).unwrap();
        let sshd = Sshd::builder()
            .config(format!("Subsystem netconf /bin/sh {}", script.display()))
            .start()
            .unwrap();
        Self { sshd, _server: server, _directory: directory }
    }

    pub(crate) async fn connect(&self) -> ConnectionRef {
        let sshd = &self.sshd;
        let config = ClientConfig::new("127.0.0.1", sshd.user())
            .port(sshd.port())
            .auth(Auth::new().agent(AgentMode::Off).identity_file(IdentityFile::new(sshd.identity())))
            .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])));
        Client::new(config).connect().await.unwrap()
    }
}

fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join("netconf");
    assert!(example.exists(), "it is built: `cargo build --examples`");
    example
}

/// The example as a server, which lets one key in.
pub(crate) struct Served {
    pub(crate) port: u16,
    pub(crate) pin: String,
    _server: Running,
}

impl Served {
    pub(crate) fn start(authorized_key: &Path) -> Self {
        let mut child = Command::new(example())
            .args(["serve", "--listen", "127.0.0.1:0", "--authorized-key"])
            .arg(authorized_key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let server = Running(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        // `listening on 127.0.0.1:PORT, host key SHA256:...`
        let (addr, pin) =
            line.trim().strip_prefix("listening on ").unwrap().split_once(", host key ").unwrap();
        let port = addr.rsplit_once(':').unwrap().1.parse().unwrap();
        Self { port, pin: pin.to_owned(), _server: server }
    }
}

/// The example as a client.
pub(crate) async fn run_example(words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(example());
    command.args(words).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).kill_on_drop(true);
    command.output().await.unwrap()
}
