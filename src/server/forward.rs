//! Channels that lead to a connection: the connecting, and bytes both ways.

use bytes::Bytes;
use tokio::net::TcpStream;

use super::request::DirectTcpip;
use crate::behaviour::ServerChannel;
use crate::dial::connect_plainly;
use crate::session::{Parted, Passed, SIBLINGS_WAIT, Served, ServerStream, Socket};
use crate::wire::codes::OpenFailureReason;
use crate::wire::request::ExitStatus;

/// Connects; whoever waits sets the limit.
pub(super) async fn connect(open: &DirectTcpip) -> Result<TcpStream, OpenFailureReason> {
    connect_plainly(&open.host, open.port).await.map_err(|error| {
        tracing::info!(host = open.host, port = open.port, %error, "a forwarded connection failed");
        OpenFailureReason::ConnectFailed
    })
}

/// Connects to a Unix socket; whoever waits sets the limit.
#[cfg(unix)]
pub(super) async fn connect_socket(path: &str) -> Result<tokio::net::UnixStream, OpenFailureReason> {
    tokio::net::UnixStream::connect(path).await.map_err(|error| {
        tracing::info!(?path, %error, "a forwarded connection failed");
        OpenFailureReason::ConnectFailed
    })
}

/// Whether a path of a peer's says where it leads: absolute, and never upwards.
pub(super) fn is_plain(path: &str) -> bool {
    let path = std::path::Path::new(path);
    path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir)
}

/// Passes bytes on until both directions have ended. What is kept is dropped then.
pub(super) fn relay(socket: impl Socket + 'static, keep: impl Send + 'static) -> impl ServerChannel {
    Served::new(move |channel: ServerStream| async move {
        let _keep = keep;
        // Unless the daemon's channel options say another time.
        channel.channel().yields_after(SIBLINGS_WAIT);
        match channel.join(&socket, Bytes::new(), &Passed::default()).await {
            Parted::Ended => tracing::debug!("a forwarded connection ended"),
            Parted::ChannelCut(error) | Parted::SocketFailed(error) => {
                tracing::debug!(%error, "a forwarded connection was cut off");
            }
        }
        ExitStatus::Missing
    })
}
