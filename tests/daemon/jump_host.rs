//! Our daemon as the jump host of OpenSSH's client, on the way to OpenSSH's server.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::Trial;
use ractor_ssh::Router;
use tokio::process::Command;

use crate::kit::{Peer, Sshd, peer_test, require_program};
use crate::programs::{Check, piece};
use crate::support::{Served, Ssh, USER, eventually, soon};

const SIZE: usize = 4 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    let both = [Peer::OpenSshClient, Peer::OpenSshServer];
    vec![
        peer_test("ssh_j_gets_a_commands_output_and_status_through_the_daemon_byte_for_byte", both, command),
        peer_test("ssh_j_is_told_of_a_target_that_the_daemon_does_not_allow", both, not_allowed),
        peer_test("ssh_j_is_told_of_a_target_that_the_daemon_cannot_reach", both, not_reached),
    ]
}

/// A client that goes over a daemon to a server. Each has a key of its own for it, and both hosts are called
/// 127.0.0.1: what is told them apart is the port.
struct Way {
    ssh: Ssh,
    served: Served,
    target: Sshd,
}

impl Way {
    async fn new(router: impl FnOnce(&Sshd) -> Router) -> Self {
        let target = Sshd::builder().start().unwrap();
        let ssh = Ssh::new();
        let served = ssh.serve(|config| config.router(router(&target))).await;
        Self { ssh, served, target }
    }

    /// `ssh -J`, all but the command to run. What it needs stands in a file: the `ssh` that it starts for the jump
    /// host gets no other options.
    fn command(&self) -> Command {
        let (directory, jump_port) = (self.ssh.directory(), self.served.daemon.local_addr().port());
        let known = directory.join("known_jump");
        let host_key = self.served.host_key.to_openssh().unwrap();
        std::fs::write(&known, format!("[127.0.0.1]:{jump_port} {host_key}\n")).unwrap();
        let host = |name: &str, user: &str, port: u16, key: &std::path::Path, known: &std::path::Path| {
            format!(
                "Host {name}\nHostName 127.0.0.1\nPort {port}\nUser {user}\nIdentityFile \"{}\"\n\
                 UserKnownHostsFile \"{}\"\n",
                key.display(),
                known.display()
            )
        };
        let hosts = [
            host("jump", USER, jump_port, self.ssh.key().path(), &known),
            host(
                "target",
                self.target.user(),
                self.target.port(),
                self.target.identity(),
                &self.target.known_hosts(),
            ),
            "Host *\nBatchMode yes\nIdentitiesOnly yes\nStrictHostKeyChecking yes\nUpdateHostKeys no\n\
             GlobalKnownHostsFile /dev/null\nConnectTimeout 20\n"
                .to_owned(),
        ];
        let file = directory.join("config");
        std::fs::write(&file, hosts.concat()).unwrap();
        let mut command = Command::new(require_program("ssh").unwrap());
        command.arg("-F").arg(file).args(["-J", "jump", "target"]).env_remove("SSH_AUTH_SOCK");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs `true` and wants to hear `reason` instead.
    async fn fails(&self, reason: &str) {
        let output: Output = soon(self.command().arg("true").output()).await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*output.stdout), (Some(255), &b""[..]), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
        // The daemon goes on, and is rid of the client.
        eventually(|| self.served.daemon.sessions().is_empty()).await;
    }
}

async fn command() {
    let led = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&led);
    let way = Way::new(|target| {
        let port = target.port();
        Router::new().forward_tcpip(move |open| {
            counted.fetch_add(1, Ordering::Relaxed);
            open.host == "127.0.0.1" && open.port == port
        })
    })
    .await;
    let file = way.ssh.directory().join("input");
    std::fs::write(&file, piece(0, SIZE)).unwrap();
    let mut command = way.command();
    command.arg("cat; printf 'an error\\n' >&2; exit 7");
    command.stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let output = soon(command.output()).await.unwrap();
    let mut check = Check::default();
    check.take(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((check.seen, check.wrong, &*stderr), (SIZE, None, "an error\n"));
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(led.load(Ordering::Relaxed), 1, "it went over the daemon, once");
}

async fn not_allowed() {
    let way = Way::new(|_| Router::new().forward_tcpip(|open| open.port == 1)).await;
    way.fails("administratively prohibited").await;
    assert!(!way.target.log().contains("Connection from"), "{}", way.target.log());
}

async fn not_reached() {
    let way = Way::new(|_| Router::new().forward_tcpip(|_| true)).await;
    way.target.kill();
    way.fails("connect failed").await;
}
