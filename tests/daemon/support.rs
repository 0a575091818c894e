//! A daemon, and ways to reach it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::wire::keys::{PrivateKey, PublicKey, generate_ed25519};
use ractor_ssh::{Client, ClientConfig, ConnectionRef, Daemon, DaemonConfig, DaemonRef, Router};
use tempfile::TempDir;
use tokio::process::Command;

use crate::kit::{KeyKind, KeyPair, require_program};

pub(crate) const USER: &str = "alice";

/// A daemon with one host key and one key it lets in.
pub(crate) struct Served {
    pub(crate) daemon: DaemonRef,
    pub(crate) host_key: PublicKey,
    pub(crate) identity: PrivateKey,
}

/// A configuration that lets in one key, and the key.
pub(crate) fn config() -> (DaemonConfig, PublicKey, PrivateKey) {
    let (host_key, identity) = (generate_ed25519(), generate_ed25519());
    let public = host_key.public_key().clone();
    let known = identity.public_key().key_data().clone();
    let config = DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(host_key).public_key(move |attempt, key| {
        let yes = attempt.user == USER && *key.key_data() == known;
        async move { yes }
    });
    (config, public, identity)
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
        self.command_with(served, "yes")
    }

    /// [`command`](Self::command), with a user who answers these prompts. `printenv` is the program that asks: it
    /// prints the variable that is called like the prompt.
    pub(crate) fn answering(&self, served: &Served, answers: &[(&str, &str)]) -> Command {
        let mut command = self.command_with(served, "no");
        command.env("SSH_ASKPASS", require_program("printenv").unwrap()).env("SSH_ASKPASS_REQUIRE", "force");
        command.envs(answers.iter().copied());
        command
    }

    fn command_with(&self, served: &Served, batch: &str) -> Command {
        let port = served.daemon.local_addr().port();
        let known_hosts = self.directory.path().join("known_hosts");
        let line = format!("[127.0.0.1]:{port} {}\n", served.host_key.to_openssh().unwrap());
        std::fs::write(&known_hosts, line).unwrap();
        let mut command = Command::new(require_program("ssh").unwrap());
        command
            .args(["-F", "none", "-o", &format!("BatchMode={batch}"), "-o", "IdentitiesOnly=yes"])
            .args(["-o", "ConnectTimeout=20"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"])
            .args(["-o", "UpdateHostKeys=no"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()))
            .arg("-i")
            .arg(self.key.path())
            .args(["-p", &port.to_string(), "-l", USER])
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
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
