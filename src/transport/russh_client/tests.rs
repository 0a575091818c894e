//! Against a russh server in the same process.

use std::net::Ipv4Addr;
use std::sync::Arc;

use russh::keys::ssh_key::encoding::Decode as _;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::auth::Auth as Login;
use crate::config::ChannelOptions;
use crate::error::OpenError;
use crate::host_key::HostKeyPolicy;
use crate::wire::open::OpenRequest;
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

/// Refuses every channel with the same reason, and a text that names where it was to lead.
struct Refusing {
    /// How many opens it lets come together before it answers them, the last first.
    batch: usize,
    /// The peer's numbers of the channels, and the texts.
    waiting: Vec<(ChannelId, String)>,
    /// russh would answer in its own words.
    unanswered: Vec<ChannelOpenHandle>,
    opens: u32,
}

/// The number that russh's client gives its first channel; the next ones are one more each.
const FIRST: u32 = 2;

impl server::Handler for Refusing {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        host: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let number = (FIRST + self.opens).to_be_bytes();
        self.opens += 1;
        self.unanswered.push(reply);
        self.waiting.push((ChannelId::decode(&mut number.as_slice()).unwrap(), format!("no way to {host}")));
        if self.waiting.len() == self.batch {
            while let Some((id, text)) = self.waiting.pop() {
                session.channel_open_failure(id, ChannelOpenFailure::ConnectFailed, &text, "en")?;
            }
        }
        Ok(())
    }
}

async fn server<H: server::Handler<Error = russh::Error> + Send + 'static>(handler: H) -> u16 {
    let config = Arc::new(server::Config {
        keys: vec![PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()],
        nodelay: true,
        ..server::Config::default()
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = server::run_stream(config, stream, handler).await.unwrap().await;
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
        .port(server(Obliging).await)
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

/// In the order in which they were asked for, and in the reverse order, ten or all at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_refused_open_hears_its_own_text_in_whatever_order_the_server_answers() {
    const OPENS: usize = 500;
    for batch in [1, 10, OPENS] {
        let server = server(Refusing { batch, waiting: Vec::new(), unanswered: Vec::new(), opens: 0 }).await;
        let config = ClientConfig::new("127.0.0.1", "someone")
            .port(server)
            .auth(Login::new().none())
            .host_key(HostKeyPolicy::danger_accept_anything());
        let conn = Client::new(config).connect().await.unwrap();
        let mut tasks = JoinSet::new();
        for number in 0..OPENS {
            let conn = conn.clone();
            tasks.spawn(async move {
                let host = format!("host{number}");
                let request = OpenRequest::DirectTcpip {
                    host: host.clone(),
                    port: 22,
                    originator_host: "127.0.0.1".into(),
                    originator_port: 1,
                };
                match conn.open_channel(request, ChannelOptions::default(), Run).await {
                    Err(OpenError::Refused { description, .. }) => {
                        assert_eq!(description, format!("no way to {host}"));
                    }
                    other => panic!("{:?}", other.err()),
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        conn.close().await;
    }
}
