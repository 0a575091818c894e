//! Remote listeners on OpenSSH's server: TCP with a port of its choice, Unix sockets, and its refusals.

use std::net::SocketAddr;
use std::path::PathBuf;

use libtest_mimic::Trial;
use ractor_ssh::error::ListenError;
use ractor_ssh::session::{ChannelStream, stream_fn};
use ractor_ssh::{ClientChannel, ForwardedTcpip};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use crate::common::{becomes_true, connect, counters, no_channels_left, soon};
use crate::kit::{Peer, Sshd, after_eof, exchange, peer_test};

const SIZE: usize = 4 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    let sshd = [Peer::OpenSshServer];
    vec![
        peer_test(
            "a_port_of_the_servers_choice_brings_every_connection_with_its_originator",
            sshd,
            chosen_port,
        ),
        peer_test("each_direction_of_a_forwarded_connection_ends_by_itself", sshd, half_close),
        peer_test("a_cancelled_listener_is_gone_and_its_connections_go_on", sshd, cancel),
        peer_test("a_dropped_listener_is_cancelled", sshd, dropped),
        peer_test("a_unix_socket_of_the_server_brings_its_connections", sshd, unix),
        peer_test("a_server_that_forbids_listening_refuses_and_the_connection_lives", sshd, forbidden),
        peer_test("the_address_is_found_however_it_is_asked_for", sshd, addresses),
        peer_test("a_lost_connection_ends_its_listeners", sshd, lost),
    ]
}

fn answer(_: ForwardedTcpip) -> Option<impl ClientChannel> {
    Some(stream_fn(after_eof))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn chosen_port() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (told, mut from) = mpsc::unbounded_channel();
    let listener = soon(
        "listening",
        conn.tcpip_forward("localhost", 0, move |open| {
            told.send(open.clone()).unwrap();
            answer(open)
        }),
    )
    .await
    .unwrap();
    assert!(listener.port() != 0);
    assert_eq!(listener.address(), "localhost");
    for round in 0..3 {
        let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
        let own = stream.local_addr().unwrap();
        soon("an exchange", exchange(&mut stream, format!("round {round}").as_bytes())).await;
        let open = from.recv().await.unwrap();
        assert_eq!((open.address.as_str(), open.port), ("localhost", listener.port()));
        assert_eq!((open.originator_address.as_str(), open.originator_port), ("127.0.0.1", own.port()));
    }
    let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
    let much: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
    soon("much", exchange(&mut stream, &much)).await;
    soon("cancel", listener.cancel()).await.unwrap();
    no_channels_left(&conn).await;
    assert_eq!(counters(&conn).await.opens_refused, 0);
    soon("close", conn.close()).await;
}

async fn half_close() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    // Says something and ends its own direction first, then reads on.
    let (told, mut heard) = mpsc::unbounded_channel();
    let listener = conn
        .tcpip_forward("127.0.0.1", 0, move |_| {
            let told = told.clone();
            Some(stream_fn(move |mut stream: ChannelStream| async move {
                stream.write_all(b"all that is to say").await.unwrap();
                stream.shutdown().await.unwrap();
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.unwrap();
                told.send(rest).unwrap();
            }))
        })
        .await
        .unwrap();
    let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
    let mut all = String::new();
    soon("eof", stream.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "all that is to say");
    stream.write_all(b"and yet something").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(soon("the rest", heard.recv()).await.unwrap(), "and yet something");
    no_channels_left(&conn).await;
    drop(listener);
    soon("close", conn.close()).await;
}

async fn cancel() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    let port = listener.port();
    let mut stream = TcpStream::connect(local(port)).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    becomes_true("the channel is open", || async { !conn.info().await.unwrap().channels.is_empty() }).await;
    soon("cancel", listener.cancel()).await.unwrap();
    assert!(TcpStream::connect(local(port)).await.is_err(), "the server listens on");
    soon("the rest", async {
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"x");
    })
    .await;
    // The same port can be asked for again.
    let again = soon("again", conn.tcpip_forward("localhost", port, answer)).await.unwrap();
    assert_eq!(again.port(), port);
    assert!(matches!(conn.tcpip_forward("localhost", port, answer).await, Err(ListenError::InUse { .. })));
    soon("close", conn.close()).await;
}

async fn dropped() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    let port = listener.port();
    drop(listener);
    becomes_true("the server listens no more", || async { TcpStream::connect(local(port)).await.is_err() })
        .await;
    soon("close", conn.close()).await;
}

async fn unix() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("socket");
    let name = path.to_str().unwrap().to_owned();
    let expected = name.clone();
    let listener = conn
        .streamlocal_forward(name.clone(), move |open| {
            assert_eq!(open.path, expected);
            Some(stream_fn(after_eof))
        })
        .await
        .unwrap();
    assert_eq!((listener.address(), listener.port()), (name.as_str(), 0));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    soon("an exchange", exchange(&mut stream, b"through a socket")).await;
    soon("cancel", listener.cancel()).await.unwrap();
    assert!(UnixStream::connect(&path).await.is_err());
    // A file in the way.
    std::fs::write(directory.path().join("file"), "").unwrap();
    let file = directory.path().join("file").to_str().unwrap().to_owned();
    let refused = conn.streamlocal_forward(file, |_| Some(stream_fn(after_eof))).await;
    assert!(matches!(refused, Err(ListenError::Refused { .. })), "{refused:?}");
    let empty = conn.streamlocal_forward("", |_| Some(stream_fn(after_eof))).await;
    assert!(matches!(empty, Err(ListenError::Config(_))), "{empty:?}");
    soon("close", conn.close()).await;
}

async fn forbidden() {
    for line in
        ["AllowTcpForwarding no", "AllowTcpForwarding local", "PermitListen none", "DisableForwarding yes"]
    {
        let sshd = Sshd::builder().config(line).start().unwrap();
        let conn = connect(&sshd).await;
        let refused = soon("an answer", conn.tcpip_forward("localhost", 0, answer)).await;
        assert!(matches!(refused, Err(ListenError::Refused { .. })), "{line}: {refused:?}");
        let output = soon("a command", conn.exec("echo alive").output()).await.unwrap();
        assert_eq!(output.stdout, b"alive\n");
        soon("close", conn.close()).await;
    }
}

async fn addresses() {
    let sshd = Sshd::builder().config("GatewayPorts clientspecified").start().unwrap();
    let conn = connect(&sshd).await;
    for address in ["", "localhost", "127.0.0.1", "0.0.0.0", "*"] {
        let listener = soon("listening", conn.tcpip_forward(address, 0, answer)).await.unwrap();
        let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
        soon("an exchange", exchange(&mut stream, address.as_bytes())).await;
        soon("cancel", listener.cancel()).await.unwrap();
    }
    assert_eq!(counters(&conn).await.opens_refused, 0);
    soon("close", conn.close()).await;
}

async fn lost() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    sshd.kill();
    soon("the end", listener.closed()).await;
    assert!(matches!(listener.cancel().await, Err(ListenError::Connection(_))));
    assert!(matches!(conn.tcpip_forward("localhost", 0, answer).await, Err(ListenError::Connection(_))));
}
