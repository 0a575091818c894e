//! Two servers, and directories on them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::{AgentMode, Auth, Identity, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::session::ServerStream;
use ractor_ssh::sftp::SftpClient;
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{Client, ClientConfig, ConnectionRef, Daemon, DaemonConfig, DaemonRef, Router, Sftp};
use tempfile::TempDir;

use crate::kit::{Peer, Sshd, peer_test};
pub(crate) use crate::kit::{SOON, becomes_true, soon};

enum Server {
    OpenSsh(Box<Sshd>),
    Ours(DaemonRef),
}

/// A session with a server, the directory it works in, and one of our own.
pub(crate) struct Place {
    pub(crate) sftp: SftpClient,
    pub(crate) conn: ConnectionRef,
    directory: TempDir,
    server: Server,
}

pub(crate) fn sshd_config(sshd: &Sshd) -> ClientConfig {
    ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(Auth::new().agent(AgentMode::Off).identity_file(IdentityFile::new(sshd.identity())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])))
}

/// A daemon with this router, and how to reach it.
pub(crate) async fn daemon(router: Router) -> (DaemonRef, ClientConfig) {
    let (host_key, identity) = (generate_ed25519(), generate_ed25519());
    let (public, known) = (host_key.public_key().clone(), identity.public_key().key_data().clone());
    let config = DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(host_key).router(router);
    let config = config.public_key(move |_, key| {
        let yes = *key.key_data() == known;
        async move { yes }
    });
    let daemon = Daemon::start(config).await.unwrap();
    let config = ClientConfig::new("127.0.0.1", "alice")
        .port(daemon.local_addr().port())
        .auth(Auth::new().agent(AgentMode::Off).identity(Identity::from_private_key(identity)))
        .host_key(HostKeyPolicy::pinned([public]));
    (daemon, config)
}

impl Place {
    pub(crate) async fn openssh() -> Self {
        let directory = Self::directory();
        let sshd = Sshd::builder().start().unwrap();
        let conn = Client::new(sshd_config(&sshd)).connect().await.unwrap();
        let sftp = SftpClient::open_session(&conn).await.unwrap();
        Self { sftp, conn, directory, server: Server::OpenSsh(Box::new(sshd)) }
    }

    pub(crate) async fn ours() -> Self {
        let directory = Self::directory();
        let served = Sftp::new(directory.path().join("root")).read_only(false);
        let (daemon, config) = daemon(Router::new().sftp(served)).await;
        let conn = Client::new(config).connect().await.unwrap();
        let sftp = SftpClient::open_session(&conn).await.unwrap();
        Self { sftp, conn, directory, server: Server::Ours(daemon) }
    }

    fn directory() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in ["root", "local"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        directory
    }

    /// Where a file of the server is here.
    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    /// What the server calls it.
    pub(crate) fn remote(&self, name: &str) -> String {
        match &self.server {
            Server::OpenSsh(_) => self.root(name).to_str().unwrap().to_owned(),
            Server::Ours(_) => format!("/{name}"),
        }
    }

    pub(crate) fn local(&self, name: &str) -> PathBuf {
        self.directory.path().join("local").join(name)
    }

    pub(crate) const fn is_openssh(&self) -> bool {
        matches!(self.server, Server::OpenSsh(_))
    }

    pub(crate) const fn sshd(&self) -> Option<&Sshd> {
        match &self.server {
            Server::OpenSsh(sshd) => Some(sshd),
            Server::Ours(_) => None,
        }
    }

    pub(crate) async fn end(self) {
        soon("the end of the session", self.sftp.close()).await;
        self.conn.close().await;
        if let Server::Ours(daemon) = self.server {
            daemon.stop().await;
        }
    }
}

/// The same against OpenSSH's server and against ours.
pub(crate) fn both<F>(name: &str, body: impl Fn(Place) -> F + Clone + Send + Sync + 'static) -> Vec<Trial>
where
    F: Future<Output = ()> + Send + 'static,
{
    let none: [Peer; 0] = [];
    let (theirs, ours) = (body.clone(), body);
    vec![
        peer_test(
            &format!("openssh::{name}"),
            [Peer::OpenSshServer, Peer::OpenSshSftp],
            move || async move { theirs(Place::openssh().await).await },
        ),
        peer_test(&format!("ours::{name}"), none, move || async move { ours(Place::ours().await).await }),
    ]
}

/// A session with a server whose subsystem is this function.
pub(crate) async fn scripted<F>(
    script: impl Fn(ServerStream) -> F + Clone + Send + Sync + 'static,
) -> (DaemonRef, ClientConfig)
where
    F: Future<Output = ()> + Send + 'static,
{
    let router = Router::new().subsystem_fn("sftp", move |_, stream| {
        let run = script(stream);
        async move {
            run.await;
            0_u32
        }
    });
    daemon(router).await
}

/// Bytes that differ from place to place.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut state = 7_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    let file = std::fs::File::open(path).unwrap();
    file.set_times(std::fs::FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
}

pub(crate) fn modified(path: &Path) -> u64 {
    let time = std::fs::metadata(path).unwrap().modified().unwrap();
    time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
