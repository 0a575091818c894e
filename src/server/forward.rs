//! `direct-tcpip` channels that lead where they say: a TCP connection, and bytes both ways.

use tokio::net::TcpStream;

use super::request::DirectTcpip;
use crate::behaviour::ServerChannel;
use crate::session::{Served, ServerStream};
use crate::wire::codes::OpenFailureReason;
use crate::wire::request::ExitStatus;

/// What is read at a time in each direction.
const PIECE: usize = 64 << 10;

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

/// Passes bytes on until both directions have ended, or one has failed.
pub(super) fn relay(mut tcp: TcpStream) -> impl ServerChannel {
    Served::new(move |mut channel: ServerStream| async move {
        match tokio::io::copy_bidirectional_with_sizes(&mut channel, &mut tcp, PIECE, PIECE).await {
            Ok((sent, received)) => tracing::debug!(sent, received, "a forwarded connection ended"),
            Err(error) => tracing::debug!(%error, "a forwarded connection was cut off"),
        }
        ExitStatus::Missing
    })
}
