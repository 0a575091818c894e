//! Against a russh server in the same process.

use std::net::Ipv4Addr;
use std::sync::Arc;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelId};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::auth::Auth as Login;
use crate::host_key::HostKeyPolicy;
use crate::{BoxError, ChannelContext, ChannelMsg, Client, ClientChannel, ClientConfig, Next};

/// Accepts everyone and every channel, and runs every command at once.
struct Obliging;

impl server::Handler for Obliging {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(id)?;
        session.exit_status_request(id, 0)?;
        session.close(id)
    }
}

async fn server() -> u16 {
    let config = Arc::new(server::Config {
        keys: vec![PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()],
        nodelay: true,
        ..server::Config::default()
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = server::run_stream(config, stream, Obliging).await.unwrap().await;
    });
    port
}

struct Run;

impl ClientChannel for Run {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec("anything").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

/// russh tells the opener of a confirmation first and the handler then: with several threads, the opener may be here
/// before the handler.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_open_fails_when_the_opener_outruns_the_handler() {
    let config = ClientConfig::new("127.0.0.1", "someone")
        .port(server().await)
        .auth(Login::new().none())
        .host_key(HostKeyPolicy::danger_accept_anything());
    let conn = Client::new(config).connect().await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let conn = conn.clone();
        tasks.spawn(async move {
            for _ in 0..100 {
                conn.session_channel(Run).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    conn.close().await;
}
