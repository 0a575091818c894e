//! A small SSH server in the process, over a pipe: it accepts, refuses or holds back channel opens as told, and
//! counts what it sees.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor_ssh::auth::Auth;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::{Client, ClientConfig, ConnectionRef};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::watch;

use crate::probe::within;

/// What to do with the next opens.
pub(crate) enum Opens {
    Accept,
    Refuse(u32),
    Hold,
}

#[derive(Default)]
struct Shared {
    plan: Mutex<Option<Opens>>,
    held: Mutex<Vec<(Channel<Msg>, ChannelOpenHandle)>>,
    asked: AtomicU32,
    seen: watch::Sender<Seen>,
}

/// What the server has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) held: u32,
    pub(crate) accepted: u32,
    /// CLOSE messages of the client.
    pub(crate) closed: u32,
}

/// The server and a connection to it.
pub(crate) struct Peer {
    pub(crate) conn: ConnectionRef,
    shared: Arc<Shared>,
    wire: tokio::task::JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn connect() -> Self {
        let shared = Arc::new(Shared::default());
        let config = server::Config {
            auth_rejection_time: Duration::ZERO,
            keys: vec![PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()],
            ..server::Config::default()
        };
        let (near, mut left) = tokio::io::duplex(1 << 16);
        let (mut right, far) = tokio::io::duplex(1 << 16);
        let wire = tokio::spawn(async move {
            let _however_it_ended = tokio::io::copy_bidirectional(&mut left, &mut right).await;
        });
        let handler = Handler(Arc::clone(&shared));
        tokio::spawn(async move {
            let session = server::run_stream(Arc::new(config), far, handler).await.unwrap();
            let _however_it_ended = session.await;
        });
        let config = ClientConfig::new("pipe", "somebody")
            .auth(Auth::new().none())
            .host_key(HostKeyPolicy::danger_accept_anything());
        let conn = Client::new(config).connect_stream(near).await.unwrap();
        Self { conn, shared, wire }
    }

    pub(crate) fn opens(&self, plan: Opens) {
        *self.shared.plan.lock().unwrap() = Some(plan);
    }

    /// How many opens were asked for.
    pub(crate) fn asked(&self) -> u32 {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Waits until the server has seen that.
    pub(crate) async fn sees(&self, what: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.shared.seen.subscribe();
        *within(seen.wait_for(what)).await.unwrap()
    }

    /// Confirms the opens that were held back.
    pub(crate) async fn confirm_held(&self) {
        self.opens(Opens::Accept);
        let held = std::mem::take(&mut *self.shared.held.lock().unwrap());
        for (_channel, open) in held {
            open.accept().await;
            self.shared.seen.send_modify(|seen| seen.accepted += 1);
        }
    }

    /// Cuts the wire.
    pub(crate) fn cut(&self) {
        self.wire.abort();
    }

    /// Waits until the connection has that many channels.
    pub(crate) async fn channels(&self, number: usize) {
        within(async {
            while self.conn.info().await.unwrap().channels.len() != number {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.wire.abort();
    }
}

struct Handler(Arc<Shared>);

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<server::Auth, Self::Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        open: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let refuse = {
            let mut plan = self.0.plan.lock().unwrap();
            match &mut *plan {
                Some(Opens::Hold) => {
                    self.0.held.lock().unwrap().push((channel, open));
                    self.0.seen.send_modify(|seen| seen.held += 1);
                    return Ok(());
                }
                Some(Opens::Refuse(left)) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            }
        };
        if refuse {
            open.reject(ChannelOpenFailure::ResourceShortage).await;
        } else {
            open.accept().await;
            self.0.seen.send_modify(|seen| seen.accepted += 1);
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        session.data(channel, command.to_vec())
    }

    async fn channel_close(
        &mut self,
        _channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.seen.send_modify(|seen| seen.closed += 1);
        Ok(())
    }
}
