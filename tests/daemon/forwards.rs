//! `direct-tcpip` channels that lead to real ports, by OpenSSH's client and by ours.

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, Limits};
use ractor_ssh::error::OpenError;
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{Client, Router};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::kit::{Peer, after_eof, peer_test};
use crate::ours::Quiet;
use crate::programs::{byte_at, piece, router};
use crate::support::{Served, Ssh, eventually, soon};

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
        peer_test(
            "what_a_target_said_before_it_stopped_reading_reaches_a_client_that_writes_on",
            NONE,
            early_answer,
        ),
    ]
}

/// Each connection speaks when it has heard everything.
async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(after_eof(stream));
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
    tokio::spawn(serve(listener));
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

/// A stream that reads only while it may.
struct Gated {
    io: DuplexStream,
    open: watch::Receiver<bool>,
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while !*self.open.borrow() {
            let mut open = self.open.clone();
            let wait = self.wait.get_or_insert_with(|| {
                Box::pin(async move {
                    let _ = open.wait_for(|open| *open).await;
                })
            });
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// How many bytes the connection from one port of this machine to another has in its queues: to send, to read.
fn queues(from: u16, to: u16) -> Option<(usize, usize)> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = format!(":{from:04X} 0100007F:{to:04X} ");
    let line = table.lines().find(|line| line.contains(&ends))?;
    let (out, arrived) = line.split_whitespace().nth(4)?.split_once(':')?;
    let number = |hex| usize::from_str_radix(hex, 16).ok();
    Some((number(out)?, number(arrived)?))
}

async fn early_answer() {
    let (listener, addr) = listen().await;
    let mut limits = Limits::server();
    limits.outbound_budget = 16 << 10;
    let options = ChannelOptions::new().high_water(1 << 10);
    let served =
        Served::with(|config| config.router(only(addr)).limits(limits).channel_options(options)).await;
    let (ours, theirs) = tokio::io::duplex(4 << 10);
    served.daemon.serve(theirs).unwrap();
    let (gate, open) = watch::channel(true);
    let io = Gated { io: ours, open, wait: None };
    let conn = soon(Client::new(served.client_config()).connect_stream(io)).await.unwrap();
    let mut stream = soon(conn.open_stream(to(addr), ChannelOptions::new())).await.unwrap();
    let (mut target, relay) = soon(listener.accept()).await.unwrap();
    // The target has something that it will never read, so that its end is a reset.
    stream.write_all(b"request").await.unwrap();
    soon(target.readable()).await.unwrap();
    gate.send_replace(false);
    // It answers until the relay has stopped reading: the client takes nothing.
    let mut said = 0;
    while queues(relay.port(), addr.port()).unwrap().1 < 16 << 10 {
        target.write_all(&piece(said, 4 << 10)).await.unwrap();
        said += 4 << 10;
        // All of it is the relay's to read, or read.
        eventually(|| queues(addr.port(), relay.port()).unwrap().0 == 0).await;
    }
    drop(target);
    // The client writes on, and the relay finds that the target is gone.
    stream.write_all(&piece(0, 256 << 10)).await.unwrap();
    eventually(|| {
        let heard = served.daemon.sessions()[0].bytes_in > 256 << 10;
        heard && queues(relay.port(), addr.port()).is_none()
    })
    .await;
    gate.send_replace(true);
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer == piece(0, said), "{} bytes of {said}", answer.len());
    soon(conn.close()).await;
}
