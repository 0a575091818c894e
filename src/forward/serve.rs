//! One connection of a forward, from its accept to its end.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::base::{self, Base};
use super::endpoint::{Endpoint, Originator};
use super::listener::Local;
use super::socks::{self, Answer, Request, Step, Version, answer_to};
use super::spec::{Forward, Kind};
use super::state::{Present, Shared};
use crate::error::OpenError;
use crate::observe::Lineage;
use crate::session::{ChannelStream, Parted, Socket};
use crate::wire::open::OpenRequest;

/// What all connections of a forward have in common.
pub(super) struct Common {
    pub(super) spec: Forward,
    pub(super) base: Arc<dyn Base>,
    pub(super) shared: Arc<Shared>,
    pub(super) lineage: Lineage,
}

/// Where a connection wants to go, and who is told whether it got there.
struct Wanted {
    request: OpenRequest,
    /// A SOCKS client waits for an answer.
    version: Option<Version>,
    /// What it sent without waiting for one.
    early: Bytes,
}

impl Common {
    /// Serves a connection that was accepted here.
    pub(super) async fn serve(self: Arc<Self>, local: Local) {
        let from = local.originator();
        match local {
            Local::Tcp(stream, _) => self.lead(stream, &from).await,
            #[cfg(unix)]
            Local::Unix(stream) => self.lead(stream, &from).await,
        }
    }

    async fn lead<S: Socket + AsyncRead + AsyncWrite + Unpin>(&self, mut socket: S, from: &Originator) {
        let mut present = self.shared.one_more();
        let Some(wanted) = self.wanted(&mut socket, from).await else { return self.shared.refused() };
        match self.open(wanted.request).await {
            Ok(channel) => {
                if let Some(version) = wanted.version
                    && socket.write_all(&version.reply(Answer::Granted)).await.is_err()
                {
                    return self.shared.refused();
                }
                self.join(channel, &socket, wanted.early, &mut present).await;
            }
            Err(error) => {
                tracing::info!(forward = self.shared.to, %error, "a connection could not be forwarded");
                self.shared.refused();
                match wanted.version {
                    Some(version) => say_goodbye(&mut socket, &version.reply(answer_to(&error))).await,
                    None => socket.reset_on_drop(),
                }
            }
        }
    }

    /// Where it wants to go. `None` if that cannot be found out; it was told.
    async fn wanted<S>(&self, socket: &mut S, from: &Originator) -> Option<Wanted>
    where
        S: Socket + AsyncRead + AsyncWrite + Unpin,
    {
        match &self.spec.kind {
            Kind::Local { to, .. } => {
                Some(Wanted { request: to.request(from), version: None, early: Bytes::new() })
            }
            Kind::Remote { .. } => None,
            Kind::Dynamic { .. } => {
                match tokio::time::timeout(self.spec.handshake_limit, ask(socket, &self.spec)).await {
                    Ok(Ok((version, to, early))) => {
                        Some(Wanted { request: to.request(from), version: Some(version), early })
                    }
                    Ok(Err(error)) => {
                        tracing::info!(%error, "a SOCKS client is turned away");
                        None
                    }
                    Err(_) => {
                        tracing::info!(limit = ?self.spec.handshake_limit, "a SOCKS client says nothing");
                        socket.reset_on_drop();
                        None
                    }
                }
            }
        }
    }

    async fn open(&self, request: OpenRequest) -> Result<ChannelStream, OpenError> {
        base::open(&self.base, self.lineage, self.spec.while_down, request, self.spec.options.clone()).await
    }

    /// Passes bytes on until both directions have ended.
    pub(super) async fn join(
        &self,
        channel: ChannelStream,
        socket: &impl Socket,
        early: Bytes,
        present: &mut Present<'_>,
    ) {
        // Also counted as failed if this is dropped before its end.
        present.joined = true;
        let id = channel.channel().id();
        match channel.join(socket, early, &self.shared.passed).await {
            Parted::Ended => {
                present.joined = false;
                tracing::debug!(channel = %id, "a forwarded connection ended");
            }
            Parted::ChannelCut(error) => {
                tracing::info!(channel = %id, %error, "a forwarded connection was cut off by the other side");
            }
            Parted::SocketFailed(error) => {
                tracing::debug!(channel = %id, %error, "a forwarded connection was cut off here");
            }
        }
    }
}

/// Has a SOCKS client say where it wants to go, which is where it may go.
pub(super) async fn ask(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    spec: &Forward,
) -> io::Result<(Version, Endpoint, Bytes)> {
    let mut request = Request::default();
    let mut read = BytesMut::with_capacity(socks::LONGEST);
    loop {
        match request.step(&mut read) {
            Step::Read => {
                if socket.read_buf(&mut read).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Step::Say(reply) => socket.write_all(reply).await?,
            Step::Refuse(reply, why) => {
                say_goodbye(socket, &reply).await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            Step::Connect(version, host, port) if !spec.permits(&host, port) => {
                say_goodbye(socket, &version.reply(Answer::NotAllowed)).await;
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it may not go there"));
            }
            Step::Connect(version, host, port) => {
                return Ok((version, Endpoint::tcp(host, port), read.freeze()));
            }
        }
    }
}

/// The last words to a client that is turned away.
pub(super) async fn say_goodbye(socket: &mut (impl AsyncWrite + Unpin), reply: &[u8]) {
    let said = async {
        socket.write_all(reply).await?;
        socket.shutdown().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a client did not hear why");
    }
}
