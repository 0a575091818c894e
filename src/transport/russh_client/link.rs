//! The sending half of one channel of a client.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use russh::client::Msg;
use tokio::sync::oneshot;

use super::handler::ClientHandler;
use crate::port::{Link, LinkClosed, LinkLook};
use crate::transport::russh_common::{Outlet, Taps, convert};
use crate::wire::codes::DataType;
use crate::wire::request::ChannelRequest;

pub(super) type Handle = russh::client::Handle<ClientHandler>;

/// Sends on one channel.
pub(super) struct RusshLink {
    pub(super) outlet: Outlet<Msg>,
    pub(super) taps: Arc<Taps>,
    pub(super) barrier: Arc<Barrier>,
}

impl Link for RusshLink {
    fn send_chunk<'a>(
        &'a self,
        data_type: DataType,
        data: &'a mut Bytes,
    ) -> BoxFuture<'a, Result<usize, LinkClosed>> {
        self.outlet.send_chunk(data_type, data)
    }

    fn supports(&self, request: &ChannelRequest) -> Result<(), String> {
        match request {
            ChannelRequest::Env { .. }
            | ChannelRequest::Shell
            | ChannelRequest::Exec { .. }
            | ChannelRequest::Subsystem { .. }
            | ChannelRequest::WindowChange(_)
            | ChannelRequest::Signal(_)
            | ChannelRequest::AuthAgent
            | ChannelRequest::X11(_) => Ok(()),
            ChannelRequest::Pty(pty) => match convert::modes(&pty.modes) {
                Ok(_) => Ok(()),
                Err(opcode) => Err(format!("terminal mode {opcode} (outside RFC 4254 section 8)")),
            },
            other => Err(format!("the {} request", other.name())),
        }
    }

    fn send_request(
        &self,
        request: ChannelRequest,
        want_reply: bool,
    ) -> BoxFuture<'_, Result<(), LinkClosed>> {
        async move {
            let half = &self.outlet.half;
            match request {
                ChannelRequest::Pty(pty) => {
                    let modes = convert::modes(&pty.modes).unwrap_or_default();
                    let size = pty.requested_size();
                    half.request_pty(
                        want_reply,
                        &pty.term,
                        size.columns,
                        size.rows,
                        size.width_px,
                        size.height_px,
                        &modes,
                    )
                    .await?;
                }
                ChannelRequest::Env { name, value } => half.set_env(want_reply, name, value).await?,
                ChannelRequest::Shell => half.request_shell(want_reply).await?,
                ChannelRequest::Exec { command } => half.exec(want_reply, command).await?,
                ChannelRequest::Subsystem { name } => half.request_subsystem(want_reply, name).await?,
                ChannelRequest::WindowChange(size) => {
                    half.window_change(size.columns, size.rows, size.width_px, size.height_px).await?;
                }
                ChannelRequest::Signal(signal) => half.signal(convert::sig(&signal)).await?,
                ChannelRequest::AuthAgent => half.agent_forward(want_reply).await?,
                ChannelRequest::X11(x11) => {
                    use secrecy::ExposeSecret;
                    let cookie = x11.auth_cookie.expose_secret();
                    half.request_x11(
                        want_reply,
                        x11.single_connection,
                        x11.auth_protocol,
                        cookie,
                        x11.screen,
                    )
                    .await?;
                }
                other => {
                    // `supports` refused it.
                    tracing::debug!(request = other.name(), "russh cannot send this request");
                }
            }
            Ok(())
        }
        .boxed()
    }

    /// A client answers nothing: russh refuses the server's requests by itself.
    fn send_reply(&self, _success: bool) -> BoxFuture<'_, Result<(), LinkClosed>> {
        futures::future::ready(Ok(())).boxed()
    }

    fn send_eof(&self) -> BoxFuture<'_, Result<(), LinkClosed>> {
        async move { Ok(self.outlet.half.eof().await?) }.boxed()
    }

    fn look(&self) -> LinkLook {
        LinkLook {
            receive_window: self.taps.credit_of(self.outlet.half.id()),
            send_window: self.outlet.room(),
            outbound: Some(self.outlet.credit.look()),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            if self.outlet.half.close().await.is_ok() {
                self.taps.forget(self.outlet.half.id());
                self.barrier.pass().await;
            }
        }
        .boxed()
    }
}

/// Resolves when the peer has handled everything sent before. russh does not show the peer's CLOSE after ours, so
/// the answer to a question sent behind ours has to do. One question serves all that wait.
pub(super) struct Barrier {
    handle: Arc<Handle>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    asking: bool,
    next: Vec<oneshot::Sender<()>>,
}

impl Barrier {
    pub(super) fn new(handle: Arc<Handle>) -> Arc<Self> {
        Arc::new(Self { handle, waiting: Mutex::default() })
    }

    async fn pass(self: &Arc<Self>) {
        let (tx, rx) = oneshot::channel();
        let ask = {
            let mut waiting = self.lock();
            waiting.next.retain(|waiter| !waiter.is_closed());
            waiting.next.push(tx);
            !std::mem::replace(&mut waiting.asking, true)
        };
        if ask {
            let barrier = Arc::clone(self);
            tokio::spawn(async move { barrier.ask().await });
        }
        let _ = rx.await;
    }

    async fn ask(&self) {
        loop {
            let served = {
                let mut waiting = self.lock();
                if waiting.next.is_empty() {
                    waiting.asking = false;
                    return;
                }
                std::mem::take(&mut waiting.next)
            };
            let _ = self.handle.send_ping().await;
            for waiter in served {
                let _ = waiter.send(());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
