//! A real `ssh-agent` on a socket of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Ends when dropped.
pub(crate) struct SshAgent {
    socket: PathBuf,
    _process: Child,
}

impl SshAgent {
    /// Starts one whose socket is `agent` in this directory; returns when it listens.
    pub(crate) async fn start(directory: &Path) -> Self {
        let socket = directory.join("agent");
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let listens = async {
            while UnixStream::connect(&socket).await.is_err() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(10), listens).await.expect("the agent listens");
        Self { socket, _process: process }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Adds a key file without a passphrase.
    pub(crate) async fn add(&self, key: &Path) {
        let added = self.ssh_add().arg(key).stderr(Stdio::null()).status().await;
        assert!(added.unwrap().success(), "ssh-add {}", key.display());
    }

    /// `ssh-add`, asking this agent.
    pub(crate) fn ssh_add(&self) -> Command {
        let mut command = Command::new("ssh-add");
        command.env("SSH_AUTH_SOCK", &self.socket);
        command
    }
}
