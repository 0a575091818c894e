//! `direct-tcpip` channels that lead where they say: a TCP connection, and bytes both ways.

use bytes::Bytes;
use tokio::net::TcpStream;

use super::request::DirectTcpip;
use crate::behaviour::ServerChannel;
use crate::session::{Parted, Passed, Served, ServerStream};
use crate::wire::codes::OpenFailureReason;
use crate::wire::request::ExitStatus;

/// Connects; whoever waits sets the limit.
pub(super) async fn connect(open: &DirectTcpip) -> Result<TcpStream, OpenFailureReason> {
    let connected = TcpStream::connect((open.host.as_str(), open.port)).await;
    let stream = connected.map_err(|error| {
        tracing::info!(host = open.host, port = open.port, %error, "a forwarded connection failed");
        OpenFailureReason::ConnectFailed
    })?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    Ok(stream)
}

/// Passes bytes on until both directions have ended.
pub(super) fn relay(tcp: TcpStream) -> impl ServerChannel {
    Served::new(move |channel: ServerStream| async move {
        match channel.join(&tcp, Bytes::new(), &Passed::default()).await {
            Parted::Ended => tracing::debug!("a forwarded connection ended"),
            Parted::ChannelCut(error) | Parted::SocketFailed(error) => {
                tracing::debug!(%error, "a forwarded connection was cut off");
            }
        }
        ExitStatus::Missing
    })
}
