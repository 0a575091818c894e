//! The same situations as in `tests/openssh`, on russh alone, where they go wrong: why this crate has a pump, a gate,
//! a rekey of its own and a close for every channel. When one of these fails, russh has learnt something, and what
//! stands around it here can go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{Channel, ChannelMsg, Limits};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[path = "../kit/mod.rs"]
mod kit;

use kit::{Peer, Sshd, peer_test};

fn main() -> ExitCode {
    const SERVER: Peer = Peer::OpenSshServer;
    kit::run(vec![
        peer_test("beside_russh::its_rekey_under_8_downloads_kills_the_connection", SERVER, rekey_dies),
        peer_test("beside_russh::an_unread_channel_stops_its_siblings_for_ever", SERVER, unread_stops_all),
        peer_test("beside_russh::a_dropped_channel_keeps_its_session_at_the_server", SERVER, dropped_channel),
        Trial::test("beside_russh::a_connect_that_was_given_up_keeps_its_socket", || {
            kit::execute(Duration::from_secs(30), "given up", given_up).map_err(Into::into)
        }),
    ])
}

struct TrustAll;

impl client::Handler for TrustAll {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn connect(sshd: &Sshd, config: client::Config) -> Handle<TrustAll> {
    let mut session = client::connect(Arc::new(config), sshd.addr(), TrustAll).await.unwrap();
    let key = Arc::new(load_secret_key(sshd.identity(), None).unwrap());
    let login = session.authenticate_publickey(sshd.user(), PrivateKeyWithHashAlg::new(key, None)).await;
    assert!(login.unwrap().success());
    session
}

async fn exec(session: &Handle<TrustAll>, command: &str) -> Channel<client::Msg> {
    let channel = session.channel_open_session().await.unwrap();
    channel.exec(false, command).await.unwrap();
    channel
}

/// One line through `cat`; false when it does not come back in time.
async fn echo(channel: &mut Channel<client::Msg>, limit: Duration) -> bool {
    channel.data_bytes(bytes::Bytes::from_static(b"line\n")).await.unwrap();
    let answer = async {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Data { .. }) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    };
    tokio::time::timeout(limit, answer).await.unwrap_or(false)
}

/// R18. `rekey::ours_every_1_mib_survives_8_downloads_and_8_uploads` is the other side.
async fn rekey_dies() {
    let sshd = Sshd::builder().start().unwrap();
    let limits = Limits::new(1 << 30, 32 << 20, Duration::from_secs(3600));
    let session = connect(&sshd, client::Config { limits, ..client::Config::default() }).await;
    let mut downloads = JoinSet::new();
    for _ in 0..8 {
        let mut channel = exec(&session, "head -c 256M /dev/zero").await;
        downloads.spawn(async move {
            let mut bytes = 0;
            while let Some(msg) = channel.wait().await {
                if let ChannelMsg::Data { data } = msg {
                    bytes += data.len();
                }
            }
            bytes
        });
    }
    let complete = downloads.join_all().await.into_iter().filter(|bytes| *bytes == 256 << 20).count();
    assert!(complete < 8, "all downloads are complete");
    let end = session.await;
    assert!(matches!(end, Err(russh::Error::Pending)), "{end:?}");
}

/// R1. `slow_consumer::the_culprit_is_ended_and_its_siblings_go_on` is the other side.
async fn unread_stops_all() {
    let sshd = Sshd::builder().start().unwrap();
    let session = connect(&sshd, client::Config::default()).await;
    let mut sibling = exec(&session, "cat").await;
    assert!(echo(&mut sibling, Duration::from_secs(10)).await, "all is well");
    let unread = exec(&session, "cat /dev/zero").await;
    let mut rounds = 0;
    while echo(&mut sibling, Duration::from_secs(2)).await {
        rounds += 1;
        assert!(rounds < 10_000, "the sibling goes on");
    }
    assert!(!echo(&mut sibling, Duration::from_secs(2)).await, "it does not recover");
    drop(unread);
}

/// R5. `core::a_session_we_closed_makes_room_at_the_server` is the other side.
async fn dropped_channel() {
    let sshd = Sshd::builder().max_sessions(1).start().unwrap();
    let session = connect(&sshd, client::Config::default()).await;
    drop(session.channel_open_session().await.unwrap());
    session.send_ping().await.unwrap();
    let next = session.channel_open_session().await;
    assert!(
        matches!(next, Err(russh::Error::ChannelOpenFailure(_))),
        "{:?}",
        next.map(|channel| channel.id())
    );
}

/// R6. `connect::given_up_at_any_moment_it_leaves_no_socket` is the other side.
async fn given_up() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connecting = tokio::spawn(client::connect(Arc::default(), addr, TrustAll));
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"SSH-2.0-Silent\r\n").await.unwrap();
    let mut buffer = [0; 4096];
    // Its version, then its KEXINIT, which is never answered.
    let mut seen = 0;
    while seen < 500 {
        seen += peer.read(&mut buffer).await.unwrap();
    }
    connecting.abort();
    assert!(connecting.await.is_err_and(|error| error.is_cancelled()));
    let end = async { while peer.read(&mut buffer).await.is_ok_and(|len| len > 0) {} };
    let closed = tokio::time::timeout(Duration::from_secs(2), end).await.is_ok();
    assert!(!closed, "the socket was closed");
}
