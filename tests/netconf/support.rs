//! A real NETCONF server behind `sshd`, and the example, as client and as server.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ractor_ssh::auth::{AgentMode, Auth, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::{Client, ClientConfig, ConnectionRef};
use tempfile::TempDir;

use crate::kit::{Sshd, example, require_program};

/// A process that is killed when it is no longer needed.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `netconf-subsystem`, which chooses its server by the port of `sshd`. What comes behind the hello waits until the
/// server has taken that in: netconfd 2.13 forgets a request that it reads together with the hello.
const SUBSYSTEM: &str = r#"
import os, subprocess, sys, time

program, socket, log = sys.argv[1:]
env = dict(os.environ, SSH_CONNECTION="127.0.0.1 1 127.0.0.1 830", USER="root")

def active():
    with open(log, "rb") as file:
        return file.read().count(b" now active (")

before = active()
child = subprocess.Popen([program, "--ncxserver-sockname=830@" + socket], stdin=subprocess.PIPE, env=env)
END, data = b"]]>]]>", b""
while END not in data:
    more = os.read(0, 65536)
    if not more:
        sys.exit(1)
    data += more
hello, rest = data.split(END, 1)
child.stdin.write(hello + END)
child.stdin.flush()
# The line may stay in its buffer: then half a second must do.
end = time.monotonic() + 0.5
while active() == before and time.monotonic() < end:
    time.sleep(0.005)
while True:
    child.stdin.write(rest)
    child.stdin.flush()
    rest = os.read(0, 65536)
    if not rest:
        break
child.stdin.close()
sys.exit(child.wait())
"#;

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
        let (socket, data, log) = (path.join("socket"), path.join("data"), path.join("log"));
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
            .args(["--log-level=info", &format!("--log={}", log.display())])
            .env("HOME", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Running(server);
        let end = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(Instant::now() < end, "{}", std::fs::read_to_string(&log).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(5));
        }
        let (program, script) = (require_program("netconf-subsystem").unwrap(), path.join("subsystem.py"));
        std::fs::write(&script, SUBSYSTEM).unwrap();
        let subsystem = format!(
            "Subsystem netconf /usr/bin/env python3 {} {} {} {}",
            script.display(),
            program.display(),
            socket.display(),
            log.display()
        );
        let sshd = Sshd::builder().config(subsystem).start().unwrap();
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

/// The example as a server, which lets one key in.
pub(crate) struct Served {
    pub(crate) port: u16,
    pub(crate) pin: String,
    _server: Running,
}

impl Served {
    pub(crate) fn start(authorized_key: &Path) -> Self {
        let mut child = Command::new(example("netconf"))
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
    let mut command = tokio::process::Command::new(example("netconf"));
    command.args(words).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).kill_on_drop(true);
    command.output().await.unwrap()
}
