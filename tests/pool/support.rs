//! Servers, and ways to reach them.

use ractor_ssh::auth::{Auth, Identity, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::wire::keys::{PrivateKey, PublicKey, generate_ed25519};
use ractor_ssh::{Client, ClientConfig, Daemon, DaemonConfig, DaemonRef, ExecOutput, Router};
use tokio::net::TcpListener;

pub(crate) use crate::kit::{SOON, becomes_true, soon};
use crate::kit::{Sshd, SshdBuilder};

/// `sshd` with this `MaxSessions`.
pub(crate) fn sshd(max_sessions: u32) -> Sshd {
    plain().max_sessions(max_sessions).start().unwrap()
}

/// A bash that sshd starts reads ~/.bashrc, unless it takes itself for a nested one.
pub(crate) fn plain() -> SshdBuilder {
    Sshd::builder().config("SetEnv SHLVL=2")
}

pub(crate) fn config(sshd: &Sshd) -> ClientConfig {
    ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(Auth::new().identity_file(IdentityFile::new(sshd.identity())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])))
}

pub(crate) fn client(sshd: &Sshd) -> Client {
    Client::new(config(sshd))
}

/// A daemon of ours.
pub(crate) struct Served {
    pub(crate) daemon: DaemonRef,
    host_key: PublicKey,
    identity: PrivateKey,
}

impl Served {
    /// Answers every command with itself.
    pub(crate) async fn echo() -> Self {
        Self::start(echo()).await
    }

    pub(crate) async fn start(router: Router) -> Self {
        Self::with(router, |config| config).await
    }

    pub(crate) async fn with(router: Router, change: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Self {
        let (host_key, identity) = (generate_ed25519(), generate_ed25519());
        let public = host_key.public_key().clone();
        let known = identity.public_key().key_data().clone();
        let config = DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(host_key).router(router).public_key(
            move |_, key| {
                let yes = *key.key_data() == known;
                async move { yes }
            },
        );
        let daemon = Daemon::start(change(config)).await.unwrap();
        Self { daemon, host_key: public, identity }
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig::new("127.0.0.1", "alice")
            .port(self.daemon.local_addr().port())
            .auth(Auth::new().identity(Identity::from_private_key(self.identity.clone())))
            .host_key(HostKeyPolicy::pinned([self.host_key.clone()]))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.config())
    }
}

pub(crate) fn echo() -> Router {
    Router::new().exec_fn(|request| async move { ExecOutput::ok(request.command().into_owned()) })
}

/// A server that takes connections and never says a word, and how to reach it.
pub(crate) async fn silent() -> (tokio::task::JoinHandle<()>, ClientConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig::new("127.0.0.1", "nobody").port(listener.local_addr().unwrap().port());
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    (holding, config)
}

/// How many tasks there are in this runtime.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
