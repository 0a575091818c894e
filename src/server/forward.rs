//! Channels that lead to a connection: the connecting, and bytes both ways.

use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, copy_buf};
use tokio::net::TcpStream;

use super::request::DirectTcpip;
use crate::behaviour::ServerChannel;
use crate::session::{Served, ServerReader, ServerStream, ServerWriter};
use crate::wire::codes::OpenFailureReason;
use crate::wire::request::ExitStatus;

/// What is read at a time from the target.
const PIECE: usize = 64 << 10;

/// Connects; whoever waits sets the limit.
pub(super) async fn connect(open: &DirectTcpip) -> Result<TcpStream, OpenFailureReason> {
    let connected = TcpStream::connect((open.host.as_str(), open.port)).await;
    let stream = connected.map_err(|error| {
        tracing::info!(host = open.host, port = open.port, %error, "a forwarded connection failed");
        OpenFailureReason::ConnectFailed
    })?;
    at_once(&stream);
    Ok(stream)
}

/// What is written goes out at once.
pub(super) fn at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
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

/// Passes bytes on until both directions have ended. One that fails to write ends by itself: a target that reads no
/// more may have said why. What is kept is dropped at the end.
pub(super) fn relay<R, W>(target: (R, W), keep: impl Send + 'static) -> impl ServerChannel
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    Served::new(move |channel: ServerStream| async move {
        let _keep = keep;
        let over = channel.over();
        let (from_peer, to_peer) = channel.into_split();
        let (from_target, to_target) = target;
        let mut there = pin!(pass_on(from_peer, to_target));
        let mut back = pin!(async {
            tokio::select! {
                biased;
                // Nothing can be told any more. What the peer has said before goes on.
                () = over => Ok(()),
                passed = pass_back(from_target, to_peer) => passed,
            }
        });
        let ended = tokio::select! {
            () = &mut there => back.await,
            ended = &mut back => {
                if ended.is_ok() {
                    there.await;
                }
                ended
            }
        };
        match ended {
            Ok(()) => tracing::debug!("a forwarded connection ended"),
            Err(error) => tracing::debug!(%error, "a forwarded connection was cut off"),
        }
        ExitStatus::Missing
    })
}

/// From the peer to the target, eof included. When the target takes no more, what still comes is dropped.
///
/// Bytes count as read when the target has taken them, so that one that takes them slowly is waited for.
async fn pass_on(mut from: ServerReader, mut to: impl AsyncWrite + Unpin) {
    let passed = async {
        copy_buf(&mut from, &mut to).await?;
        to.shutdown().await
    };
    if let Err(error) = passed.await {
        tracing::debug!(%error, "a forwarded connection takes nothing any more");
    }
}

/// From the target to the peer, eof included. Fails when the connection to the target does.
async fn pass_back(from: impl AsyncRead + Unpin, mut to: ServerWriter) -> io::Result<()> {
    let mut from = BufReader::with_capacity(PIECE, from);
    let passed = copy_buf(&mut from, &mut to).await;
    if to.channel().closed().is_some() {
        return Ok(());
    }
    passed?;
    to.shutdown().await
}
