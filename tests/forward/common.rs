//! What the tests share: servers, connections, destinations, and how to wait.
//!
//! Knows the crate's public API only.

use std::future::Future;
use std::net::SocketAddr;

use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, Identity, IdentityFile};
use ractor_ssh::forward::{Endpoint, ForwardHandle};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{Client, ClientConfig, ConnectionRef, Daemon, DaemonConfig, DaemonRef, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::{Peer, Sshd, peer_test};
pub(crate) use crate::kit::{becomes_true, soon};

/// A server that forwards.
#[allow(clippy::large_enum_variant, reason = "there are few")]
pub(crate) enum Server {
    OpenSsh(Sshd),
    Ours(#[expect(dead_code, reason = "kept, so that it runs")] DaemonRef, ClientConfig),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    OpenSsh,
    Ours,
}

impl Server {
    pub(crate) async fn start(which: Which) -> Self {
        match which {
            Which::OpenSsh => Self::OpenSsh(Sshd::builder().start().unwrap()),
            Which::Ours => Self::ours(Router::new().forward_tcpip(|_| true)).await,
        }
    }

    pub(crate) async fn ours(router: Router) -> Self {
        Self::ours_with(router, |config| config).await
    }

    pub(crate) async fn ours_with(router: Router, change: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Self {
        let (host_key, identity) = (generate_ed25519(), generate_ed25519());
        let (public, known) = (host_key.public_key().clone(), identity.public_key().key_data().clone());
        let config = DaemonConfig::new(([127, 0, 0, 1], 0))
            .host_key(host_key)
            .public_key(move |_, key| {
                let yes = *key.key_data() == known;
                async move { yes }
            })
            .limits(ractor_ssh::config::Limits::default())
            .router(router);
        let daemon = Daemon::start(change(config)).await.unwrap();
        let client = ClientConfig::new("127.0.0.1", "alice")
            .port(daemon.local_addr().port())
            .auth(Auth::new().identity(Identity::from_private_key(identity)))
            .host_key(HostKeyPolicy::pinned([public]));
        Self::Ours(daemon, client)
    }

    pub(crate) fn config(&self) -> ClientConfig {
        match self {
            Self::OpenSsh(sshd) => config(sshd),
            Self::Ours(_, config) => config.clone(),
        }
    }

    pub(crate) async fn connect(&self) -> ConnectionRef {
        soon("connecting", Client::new(self.config()).connect()).await.unwrap()
    }
}

/// How to reach a server of the kit: its user, its key, its known host.
pub(crate) fn config(sshd: &Sshd) -> ClientConfig {
    ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(Auth::new().identity_file(IdentityFile::new(sshd.identity())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])))
}

/// The same test against both servers.
pub(crate) fn both<F>(name: &str, body: fn(Which) -> F) -> [Trial; 2]
where
    F: Future<Output = ()> + Send + 'static,
{
    [
        peer_test(&format!("{name} (OpenSSH)"), [Peer::OpenSshServer], move || body(Which::OpenSsh)),
        peer_test(&format!("{name} (ours)"), [], move || body(Which::Ours)),
    ]
}

/// Somewhere that a forward leads to.
pub(crate) struct Destination {
    pub(crate) addr: SocketAddr,
    pub(crate) listener: TcpListener,
}

impl Destination {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { addr: listener.local_addr().unwrap(), listener }
    }

    pub(crate) async fn accept(&self) -> TcpStream {
        soon("a connection at the destination", self.listener.accept()).await.unwrap().0
    }

    /// Serves every connection from now on.
    pub(crate) fn serve<F>(self, serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        self.addr
    }

    /// Says back what it hears, eof included.
    pub(crate) fn echo(self) -> SocketAddr {
        self.serve(|mut stream| async move {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        })
    }
}

/// A connection to where a forward listens.
pub(crate) async fn enter(forward: &ForwardHandle) -> TcpStream {
    TcpStream::connect(entrance(forward)).await.unwrap()
}

/// Connects to where a forward listens, which has nothing to connect it to: it must be reset, maybe at once.
pub(crate) async fn is_turned_away(forward: &ForwardHandle) {
    match TcpStream::connect(entrance(forward)).await {
        Ok(mut stream) => is_reset(&mut stream).await,
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

pub(crate) fn entrance(forward: &ForwardHandle) -> SocketAddr {
    forward.local_addr().socket_addr().unwrap()
}

/// A port of this host that is chosen.
pub(crate) fn any_port() -> Endpoint {
    Endpoint::tcp("127.0.0.1", 0)
}

/// Says something through a stream whose other end says it back.
pub(crate) async fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    soon("an echo", stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"hello");
}

/// Waits until a connection fails: it must not seem to come to its end.
pub(crate) async fn is_reset(stream: &mut TcpStream) {
    let mut sink = vec![0; 64 << 10];
    loop {
        match soon("a reset", stream.read(&mut sink)).await {
            Ok(0) => panic!("a torn connection looks like one that ended"),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                return;
            }
        }
    }
}
