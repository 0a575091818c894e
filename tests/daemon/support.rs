//! A daemon, and ways to reach it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::error::OpenError;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::keys::{PrivateKey, PublicKey, generate_ed25519};
use ractor_ssh::{ChannelRef, Client, ClientConfig, ConnectionRef, Daemon, DaemonConfig, DaemonRef, Router};
use tempfile::TempDir;
use tokio::process::Command;

use crate::kit::{KeyKind, KeyPair, openssh, require_program};
use crate::ours::Quiet;

pub(crate) const USER: &str = "alice";

/// A daemon with one host key and one key it lets in.
pub(crate) struct Served {
    pub(crate) daemon: DaemonRef,
    pub(crate) host_key: PublicKey,
    pub(crate) identity: PrivateKey,
}

/// A configuration that lets in one key, and the key.
pub(crate) fn config() -> (DaemonConfig, PublicKey, PrivateKey) {
    set_up(DaemonConfig::new(([127, 0, 0, 1], 0)))
}

/// Adds a host key and a key that is let in.
pub(crate) fn set_up(config: DaemonConfig) -> (DaemonConfig, PublicKey, PrivateKey) {
    let (host_key, identity) = (generate_ed25519(), generate_ed25519());
    let public = host_key.public_key().clone();
    (let_in(config.host_key(host_key), identity.public_key()), public, identity)
}

/// Lets in one key.
pub(crate) fn let_in(config: DaemonConfig, key: &PublicKey) -> DaemonConfig {
    let known = key.key_data().clone();
    config.public_key(move |attempt, key| {
        let yes = attempt.user == USER && *key.key_data() == known;
        async move { yes }
    })
}

impl Served {
    pub(crate) async fn start(router: Router) -> Self {
        Self::with(|config| config.router(router)).await
    }

    pub(crate) async fn with(change: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Self {
        let (config, host_key, identity) = config();
        let daemon = Daemon::start(change(config)).await.unwrap();
        Self { daemon, host_key, identity }
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        ClientConfig::new("127.0.0.1", USER)
            .port(self.daemon.local_addr().port())
            .auth(Auth::new().identity(Identity::from_private_key(self.identity.clone())))
            .host_key(HostKeyPolicy::pinned([self.host_key.clone()]))
    }

    pub(crate) async fn connect(&self) -> ConnectionRef {
        Client::new(self.client_config()).connect().await.unwrap()
    }

    /// russh's own client, logged in: it waits for nothing it is not told to wait for.
    pub(crate) async fn connect_plain(&self) -> russh::client::Handle<Anything> {
        let mut handle = self.plain_unauthenticated().await;
        let key = russh::keys::PrivateKeyWithHashAlg::new(std::sync::Arc::new(self.identity.clone()), None);
        assert!(handle.authenticate_publickey(USER, key).await.unwrap().success());
        handle
    }

    pub(crate) async fn plain_unauthenticated(&self) -> russh::client::Handle<Anything> {
        let config = russh::client::Config { nodelay: true, ..Default::default() };
        russh::client::connect(config.into(), self.daemon.local_addr(), Anything).await.unwrap()
    }
}

/// A client that trusts everybody.
pub(crate) struct Anything;

impl russh::client::Handler for Anything {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// OpenSSH's client, with files of its own.
pub(crate) struct Ssh {
    directory: TempDir,
    key: KeyPair,
}

impl Ssh {
    pub(crate) fn new() -> Self {
        Self::with_key(KeyKind::Ed25519)
    }

    /// With a key of this kind.
    pub(crate) fn with_key(kind: KeyKind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate(directory.path().join("id"), kind).unwrap();
        Self { directory, key }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey::from_openssh(&self.key.public_line().unwrap()).unwrap()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A daemon that lets this client in, and nobody else.
    pub(crate) async fn serve(&self, change: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Served {
        let known = self.public_key().key_data().clone();
        Served::with(|config| {
            change(config.public_key(move |_, key| {
                let yes = *key.key_data() == known;
                async move { yes }
            }))
        })
        .await
    }

    /// The client's key; a certificate beside it is presented, too.
    pub(crate) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// `ssh`, all but the command to run.
    pub(crate) fn command(&self, served: &Served) -> Command {
        self.command_at(served.daemon.local_addr().port(), &served.host_key.to_openssh().unwrap())
    }

    /// `ssh` to a port of this machine with this host key, all but the command to run.
    pub(crate) fn command_at(&self, port: u16, host_key: &str) -> Command {
        let mut command = self.program_at("ssh", port, host_key, "yes");
        command.args(["-l", USER]);
        command
    }

    /// [`command`](Self::command), with a user who answers these prompts. `printenv` is the program that asks: it
    /// prints the variable that is called like the prompt.
    pub(crate) fn answering(&self, served: &Served, answers: &[(&str, &str)]) -> Command {
        let port = served.daemon.local_addr().port();
        let mut command = self.program_at("ssh", port, &served.host_key.to_openssh().unwrap(), "no");
        command.args(["-l", USER]);
        command.env("SSH_ASKPASS", require_program("printenv").unwrap()).env("SSH_ASKPASS_REQUIRE", "force");
        command.envs(answers.iter().copied());
        command
    }

    /// `ssh`, `sftp` or `scp`, all but where to and what for.
    pub(crate) fn program(&self, name: &str, served: &Served) -> Command {
        let port = served.daemon.local_addr().port();
        self.program_at(name, port, &served.host_key.to_openssh().unwrap(), "yes")
    }

    fn program_at(&self, name: &str, port: u16, host_key: &str, batch: &str) -> Command {
        let known_hosts = self.directory.path().join("known_hosts");
        std::fs::write(&known_hosts, format!("[127.0.0.1]:{port} {host_key}\n")).unwrap();
        let mut command = Command::from(openssh(name, self.key.path(), &known_hosts, batch).unwrap());
        command
            .args(["-o", &format!("Port={port}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// A channel, as soon as the daemon has room for one.
pub(crate) async fn open_when_free(conn: &ConnectionRef) -> ChannelRef<Quiet> {
    soon(async {
        loop {
            match conn.session_channel(Quiet).await {
                Ok(channel) => return channel,
                Err(OpenError::Refused { reason: OpenFailureReason::ResourceShortage, .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    })
    .await
}

/// A daemon that lets nobody in yet.
pub(crate) fn bare_config() -> (DaemonConfig, PublicKey) {
    let host_key = generate_ed25519();
    let public = host_key.public_key().clone();
    (DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(host_key), public)
}

impl Served {
    /// Lets in only whom `change` lets in.
    pub(crate) async fn bare(change: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Self {
        let (config, host_key) = bare_config();
        let daemon = Daemon::start(change(config)).await.unwrap();
        Self { daemon, host_key, identity: generate_ed25519() }
    }
}

/// Fails what takes longer than any of these tests should.
pub(crate) async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("not done in 30 s")
}

/// SSH_MSG_IGNORE without encryption (RFC 4253 sections 6 and 11.2).
pub(crate) fn ignore_packet() -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 12, 6, 2, 0, 0, 0, 0];
    packet.resize(16, 0);
    packet
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

/// Everything a stream brings until its end, which it must have.
pub(crate) async fn read_all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}
