//! Routers, and what is forwarded to.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ractor_ssh::session::stream_fn;
use ractor_ssh::{ClientChannel, ForwardedTcpip, Router};
use tokio::net::{TcpListener, UnixListener};

use crate::kit::after_eof;
use crate::programs::router;

pub(super) const SIZE: usize = 4 << 20;

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Everything may be listened on.
pub(super) fn open_house() -> Router {
    router().listen_tcpip(|_| true).listen_streamlocal(|_| true)
}

pub(super) fn answer(_: ForwardedTcpip) -> Option<impl ClientChannel> {
    Some(stream_fn(after_eof))
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
