//! A scripted peer under paused time, and shells behind two servers.

use std::future::Future;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::{AgentMode, Auth, Identity, IdentityFile};
use ractor_ssh::expect::{Dialog, DialogOptions};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::process::Processes;
use ractor_ssh::test_util::{ScriptConfig, ScriptedChannel, ScriptedPeer, scripted};
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{Client, ClientConfig, ConnectionRef, Daemon, DaemonConfig, DaemonRef, Router};

use crate::kit::{Peer, Sshd, peer_test};

/// A dialogue with a scripted program.
pub(crate) struct Scene {
    pub(crate) dialog: Dialog,
    pub(crate) remote: ScriptedChannel,
    pub(crate) peer: ScriptedPeer,
    pub(crate) _conn: ConnectionRef,
}

pub(crate) async fn scene(options: DialogOptions) -> Scene {
    let (conn, mut peer) = scripted(ScriptConfig::new()).await;
    let script = async {
        let mut remote = peer.expect_open().await.confirm();
        remote.expect_request("exec").await;
        remote.reply(true);
        remote
    };
    let (dialog, remote) = tokio::join!(conn.exec("program").dialog(options), script);
    Scene { dialog: dialog.unwrap(), remote, peer, _conn: conn }
}

/// A server of either kind, and a connection to it.
pub(crate) struct Place {
    pub(crate) conn: ConnectionRef,
    pub(crate) sshd: Option<Box<Sshd>>,
    daemon: Option<DaemonRef>,
}

impl Place {
    pub(crate) async fn openssh() -> Self {
        let sshd = Sshd::builder().start().unwrap();
        let config = ClientConfig::new("127.0.0.1", sshd.user())
            .port(sshd.port())
            .auth(Auth::new().agent(AgentMode::Off).identity_file(IdentityFile::new(sshd.identity())))
            .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])));
        let conn = Client::new(config).connect().await.unwrap();
        Self { conn, sshd: Some(Box::new(sshd)), daemon: None }
    }

    pub(crate) async fn ours() -> Self {
        let (host_key, identity) = (generate_ed25519(), generate_ed25519());
        let (public, known) = (host_key.public_key().clone(), identity.public_key().key_data().clone());
        let processes = Processes::new().shell("/bin/sh").kill_grace(Duration::from_secs(2));
        let config = DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(host_key);
        let config = config.router(Router::new().processes(processes)).public_key(move |_, key| {
            let yes = *key.key_data() == known;
            async move { yes }
        });
        let daemon = Daemon::start(config).await.unwrap();
        let config = ClientConfig::new("127.0.0.1", "alice")
            .port(daemon.local_addr().port())
            .auth(Auth::new().agent(AgentMode::Off).identity(Identity::from_private_key(identity)))
            .host_key(HostKeyPolicy::pinned([public]));
        let conn = Client::new(config).connect().await.unwrap();
        Self { conn, sshd: None, daemon: Some(daemon) }
    }

    pub(crate) async fn end(self) {
        self.conn.close().await;
        if let Some(daemon) = self.daemon {
            daemon.stop().await;
        }
    }
}

/// The same against OpenSSH's server and against ours.
pub(crate) fn both<F>(name: &str, body: impl Fn(Place) -> F + Clone + Send + Sync + 'static) -> Vec<Trial>
where
    F: Future<Output = ()> + Send + 'static,
{
    both_with(name, &[], body)
}

/// The same, with programs that run there.
pub(crate) fn both_with<F>(
    name: &str,
    peers: &[Peer],
    body: impl Fn(Place) -> F + Clone + Send + Sync + 'static,
) -> Vec<Trial>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (theirs, ours) = (body.clone(), body);
    vec![
        peer_test(
            &format!("openssh::{name}"),
            [peers, &[Peer::OpenSshServer]].concat(),
            move || async move {
                theirs(Place::openssh().await).await;
            },
        ),
        peer_test(&format!("ours::{name}"), peers, move || async move { ours(Place::ours().await).await }),
    ]
}
