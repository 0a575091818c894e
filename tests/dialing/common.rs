//! What the tests share: how to connect, and small servers.
//!
//! Knows the crate's public API only.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use ractor_ssh::auth::{Auth, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::{Client, ClientConfig, ConnectError, ConnectionRef};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::kit::Sshd;
pub(crate) use crate::kit::{becomes_true, soon};

/// How to reach a server of the kit: its user, its key, its known host.
pub(crate) fn config(sshd: &Sshd) -> ClientConfig {
    config_at("127.0.0.1", sshd)
}

/// As [`config`], by another name of the host.
pub(crate) fn config_at(host: &str, sshd: &Sshd) -> ClientConfig {
    ClientConfig::new(host, sshd.user())
        .port(sshd.port())
        .auth(Auth::new().identity_file(IdentityFile::new(sshd.identity())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])))
}

pub(crate) async fn connect(config: ClientConfig) -> ConnectionRef {
    match soon("connecting", Client::new(config).connect()).await {
        Ok(connection) => connection,
        Err(error) => panic!("{error}: {error:?}"),
    }
}

/// The error of a connection that must fail.
pub(crate) async fn fails(config: ClientConfig) -> ConnectError {
    match soon("failing", Client::new(config).connect()).await {
        Ok(connection) => panic!("connected: {connection:?}"),
        Err(error) => error,
    }
}

/// The connection carries a command and what it says.
pub(crate) async fn works(connection: &ConnectionRef) {
    let output = soon("a command", connection.exec("echo through").output()).await.unwrap();
    assert_eq!(output.stdout_text(), "through\n");
}

/// A server of one connection.
pub(crate) struct Once<T> {
    pub(crate) addr: SocketAddr,
    /// Ends when the connection was served.
    pub(crate) served: JoinHandle<T>,
}

/// Accepts once, and serves that.
pub(crate) async fn once<F, T>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> Once<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        serve(stream).await
    });
    Once { addr, served }
}

/// A port on 127.0.0.1 where nobody listens: it is held, and not listened on, as long as this is kept.
pub(crate) struct NobodyListens {
    port: u16,
    _held: (std::net::TcpStream, std::net::TcpStream),
}

impl NobodyListens {
    pub(crate) fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let theirs = listener.accept().unwrap().0;
        Self { port: ours.local_addr().unwrap().port(), _held: (ours, theirs) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// A port that swallows whoever wants to connect: its queue is full, and nobody takes from it.
pub(crate) struct BlackHole {
    pub(crate) addr: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) async fn new(ip: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(made) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
        {
            queue.push(made.unwrap());
            assert!(queue.len() < 100, "the queue is never full");
        }
        Self { addr, _listener: listener, _queue: queue }
    }
}
