//! `direct-tcpip` channels that lead to real ports, by OpenSSH's client and by ours.

use std::net::SocketAddr;
use std::process::Stdio;

use libtest_mimic::Trial;
use ractor_ssh::Router;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::OpenError;
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::OpenRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::{byte_at, piece, router};
use crate::support::{Served, Ssh, soon};

const NONE: [Peer; 0] = [];
const SIZE: usize = 8 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    let ssh = Peer::OpenSshClient;
    vec![
        peer_test("ssh_w_reaches_a_port_byte_for_byte_and_passes_eof_on", [ssh], through_ssh),
        peer_test("a_policy_decides_where_ssh_w_may_lead", [ssh], policy),
        peer_test("a_port_where_nobody_listens_is_connect_failed", NONE, nobody_listens),
        peer_test("a_target_that_hangs_up_closes_the_channel", NONE, target_closes),
        peer_test("a_client_that_closes_hangs_up_on_the_target", NONE, client_closes),
        peer_test("a_target_that_reads_slowly_gets_everything", NONE, slow_target),
    ]
}

/// Sends back all it gets when that has ended: only a passed-on eof makes it speak.
async fn after_eof(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
        });
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn only(addr: SocketAddr) -> Router {
    router().forward_tcpip(move |open| open.host == "127.0.0.1" && open.port == addr.port())
}

fn to(addr: SocketAddr) -> OpenRequest {
    OpenRequest::DirectTcpip {
        host: addr.ip().to_string(),
        port: addr.port(),
        originator_host: "127.0.0.1".to_owned(),
        originator_port: 1,
    }
}

async fn through_ssh() {
    let (listener, addr) = listen().await;
    tokio::spawn(after_eof(listener));
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(only(addr))).await;
    let file = ssh.directory().join("input");
    std::fs::write(&file, piece(0, SIZE)).unwrap();
    let mut command = ssh.command(&served);
    command.args(["-W", &addr.to_string(), "127.0.0.1"]);
    command.stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wrong = output.stdout.iter().enumerate().find(|(at, byte)| **byte != byte_at(*at));
    assert_eq!((output.stdout.len(), wrong), (SIZE, None));
}

async fn policy() {
    let (_listener, addr) = listen().await;
    let (_other_listener, other) = listen().await;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(only(addr))).await;
    let mut command = ssh.command(&served);
    let output = soon(command.args(["-W", &other.to_string(), "127.0.0.1"]).output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("administratively prohibited"), "{stderr}");
}

async fn nobody_listens() {
    let (listener, addr) = listen().await;
    drop(listener);
    let served = Served::start(only(addr)).await;
    let conn = served.connect().await;
    let refused = soon(conn.open_channel(to(addr), ChannelOptions::new(), Quiet)).await;
    let Err(OpenError::Refused { reason, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, OpenFailureReason::ConnectFailed);
    soon(conn.close()).await;
}

async fn target_closes() {
    let (listener, addr) = listen().await;
    let served = Served::start(only(addr)).await;
    let conn = served.connect().await;
    let mut stream = soon(conn.open_stream(to(addr), ChannelOptions::new())).await.unwrap();
    let (mut target, _) = soon(listener.accept()).await.unwrap();
    target.write_all(b"goodbye").await.unwrap();
    drop(target);
    let mut all = String::new();
    soon(stream.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "goodbye");
    soon(stream.finish()).await.unwrap();
    soon(conn.close()).await;
}

async fn client_closes() {
    let (listener, addr) = listen().await;
    let served = Served::start(only(addr)).await;
    let conn = served.connect().await;
    let channel = soon(conn.open_channel(to(addr), ChannelOptions::new(), Quiet)).await.unwrap();
    let (mut target, _) = soon(listener.accept()).await.unwrap();
    channel.send("hello").await.unwrap();
    let mut hello = [0; 5];
    soon(target.read_exact(&mut hello)).await.unwrap();
    channel.close();
    assert!(matches!(soon(target.read(&mut hello)).await, Ok(0) | Err(_)));
    soon(conn.close()).await;
}

async fn slow_target() {
    let (listener, addr) = listen().await;
    let served = Served::start(only(addr)).await;
    let conn = served.connect().await;
    let mut stream = soon(conn.open_stream(to(addr), ChannelOptions::new())).await.unwrap();
    let (mut target, _) = soon(listener.accept()).await.unwrap();
    let sending = tokio::spawn(async move {
        for from in (0..SIZE).step_by(64 << 10) {
            stream.write_all(&piece(from, 64 << 10)).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        stream
    });
    let mut check = crate::programs::Check::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        match soon(target.read(&mut buffer)).await.unwrap() {
            0 => break,
            len => check.take(&buffer[..len]),
        }
    }
    assert_eq!((check.seen, check.wrong), (SIZE, None));
    drop(target);
    soon(soon(sending).await.unwrap().finish()).await.unwrap();
    soon(conn.close()).await;
}
