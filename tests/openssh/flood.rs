//! A server that sends one byte a packet, as fast as it can: OpenSSH's collects what it finds.
//!
//! It is this very program, started once more, so that its memory is not counted as ours.

use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::Auth;
use ractor_ssh::config::Limits;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::{Client, ClientConfig};
use russh::server::{ChannelOpenHandle, Session};
use russh::{Channel, server};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::watch;

use crate::common::{Take, alone, becomes_true, counters, end_of, info, peak_resident, resident};

const ROLE: &str = "OPENSSH_TRIAL_FLOOD";
const MIB: usize = 1 << 20;
const COUNT: u64 = 300_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![alone("slow_consumer::a_flood_of_one_byte_packets_stays_within_the_budget", flood)]
}

async fn flood() {
    let budget = 16 * MIB;
    let mut server = tokio::process::Command::new(std::env::current_exe().unwrap())
        .env(ROLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).await.unwrap();
    let mut limits = Limits::default();
    limits.inbound_budget = budget;
    limits.stall_timeout = Duration::from_secs(60);
    let config = ClientConfig::new("127.0.0.1", "anyone")
        .port(port.trim().parse().unwrap())
        .auth(Auth::new().none())
        .host_key(HostKeyPolicy::danger_accept_anything())
        .limits(limits);
    let conn = Client::new(config).connect().await.unwrap();
    let before = resident();
    let (wake, awake) = watch::channel(false);
    let (take, end) = Take::while_awake("flood", awake);
    conn.session_channel(take).await.unwrap();
    becomes_true("reading stops", || async { counters(&conn).await.pauses > 0 }).await;

    let seen = info(&conn).await;
    let payload = seen.channels[0].bytes_in;
    assert!(
        seen.counters.unread as u64 >= 100 * payload,
        "{payload} bytes, one a packet: {:?}",
        seen.counters
    );
    let grown = peak_resident().saturating_sub(before);
    assert!(
        grown <= (budget + 32 * MIB) as u64,
        "{} MiB more in memory for {payload} bytes",
        grown / MIB as u64
    );
    wake.send_replace(true);
    assert_eq!(end_of(end).await.0.bytes, COUNT, "none is lost");
    server.kill().await.unwrap();
}

/// Whether this process is to be the server.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Says its port, serves one connection.
#[tokio::main]
pub(crate) async fn serve() -> ExitCode {
    let key = russh::keys::PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap();
    let config = server::Config { keys: vec![key], ..server::Config::default() };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let (stream, _) = listener.accept().await.unwrap();
    let session = server::run_stream(Arc::new(config), stream, Flood::default()).await.unwrap();
    let _ = session.await;
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Flood {
    channel: Option<Channel<server::Msg>>,
}

impl server::Handler for Flood {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<server::Auth, Self::Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        self.channel = Some(channel);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: russh::ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(id)?;
        if let Some(channel) = self.channel.take() {
            tokio::spawn(async move {
                for _ in 0..COUNT {
                    channel.data_bytes(bytes::Bytes::from_static(b"x")).await?;
                }
                channel.exit_status(0).await?;
                channel.close().await
            });
        }
        Ok(())
    }
}
