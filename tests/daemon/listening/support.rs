//! Routers, and what is forwarded to.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ractor_ssh::session::{ChannelStream, stream_fn};
use ractor_ssh::{ClientChannel, ForwardedTcpip, Router};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use crate::programs::router;

pub(super) const SIZE: usize = 4 << 20;

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Everything may be listened on.
pub(super) fn open_house() -> Router {
    router().listen_tcpip(|_| true).listen_streamlocal(|_| true)
}

/// Sends back all it gets when that has ended.
pub(super) async fn after_eof<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut all = Vec::new();
    if stream.read_to_end(&mut all).await.is_ok() && stream.write_all(&all).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

pub(super) fn answer(_: ForwardedTcpip) -> Option<impl ClientChannel> {
    Some(stream_fn(after_eof::<ChannelStream>))
}

pub(super) async fn exchange(stream: impl AsyncRead + AsyncWrite, what: &[u8]) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut all = Vec::new();
    let (sent, got) = tokio::join!(
        async {
            write.write_all(what).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut all)
    );
    sent.unwrap();
    got.unwrap();
    assert!(all == what, "{} bytes of {}", all.len(), what.len());
}

/// What `ssh` forwards to: a port that answers after eof.
pub(super) async fn target() -> SocketAddr {
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(after_eof(stream));
        }
    });
    addr
}

pub(super) fn target_socket(path: PathBuf) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(after_eof(stream));
        }
    });
}
