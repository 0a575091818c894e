//! SOCKS, asked by `curl` and by hand.

use libtest_mimic::Trial;
use ractor_ssh::forward::{Endpoint, Forward, ForwardHandle};
use ractor_ssh::{ConnectionRef, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

use crate::common::{Destination, Server, Which, any_port, becomes_true, both, enter, entrance, soon};
use crate::kit::{Peer, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        peer_test("socks::curl_gets_a_page_by_every_version", [Peer::OpenSshServer, Peer::Curl], curl),
        peer_test("socks::a_login_that_may_not_is_told_so", [], not_allowed),
        peer_test("socks::names_are_not_looked_up_here", [], unresolved),
        peer_test("socks::a_client_that_says_nothing_is_given_up", [], silent),
        peer_test("socks::it_listens_on_unix_sockets_too", [], unix),
        peer_test("socks::a_destination_that_is_not_permitted_is_not_asked_for", [], permits),
    ];
    trials.extend(both("socks::the_reply_follows_the_reason", refused));
    trials.extend(both("socks::what_is_said_without_waiting_is_not_lost", early));
    trials
}

const BODY: &str = "a page, whole";

/// A small HTTP server.
async fn pages() -> std::net::SocketAddr {
    Destination::new().await.serve(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let page =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}", BODY.len());
        let _ = stream.write_all(page.as_bytes()).await;
    })
}

async fn set_up(server: &Server) -> (ConnectionRef, ForwardHandle) {
    let conn = server.connect().await;
    let forward = conn.forward(Forward::dynamic(any_port())).await.unwrap();
    (conn, forward)
}

async fn curl() {
    let server = Server::start(Which::OpenSsh).await;
    let (conn, forward) = set_up(&server).await;
    let page = pages().await;
    for (option, host) in [
        ("--socks4", "127.0.0.1"),
        ("--socks4a", "localhost"),
        ("--socks5", "127.0.0.1"),
        ("--socks5-hostname", "localhost"),
    ] {
        let url = format!("http://{host}:{}/", page.port());
        let asked = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", ""])
            .args([option, &entrance(&forward).to_string(), &url])
            .output();
        let output = soon(option, asked).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), BODY, "{option}: {output:?}");
    }
    becomes_true("all have ended", || forward.counters().open == 0).await;
    assert_eq!((forward.counters().total, forward.counters().refused), (4, 0));
    // What curl makes of a refusal: 97 is its error for proxies.
    let nobody = Destination::new().await.addr;
    let url = format!("http://127.0.0.1:{}/", nobody.port());
    let asked = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "", "--socks5-hostname"])
        .args([&entrance(&forward).to_string(), &url])
        .output();
    let output = soon("a refusal", asked).await.unwrap();
    assert_eq!(output.status.code(), Some(97), "{output:?}");
    soon("closing", conn.close()).await;
}

/// A SOCKS5 request for an address of 127.0.0.1.
fn five(port: u16) -> Vec<u8> {
    [&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..], &port.to_be_bytes()].concat()
}

fn four(port: u16) -> Vec<u8> {
    [&[4, 1][..], &port.to_be_bytes(), &[127, 0, 0, 1, 0]].concat()
}

/// Everything that is said in answer, up to the end.
async fn answer(forward: &ForwardHandle, request: &[u8]) -> Vec<u8> {
    let mut stream = enter(forward).await;
    stream.write_all(request).await.unwrap();
    rest(&mut stream).await
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    soon("an answer", stream.read_to_end(&mut heard)).await.unwrap();
    heard
}

async fn refused(which: Which) {
    let server = Server::start(which).await;
    let (conn, forward) = set_up(&server).await;
    let nobody = Destination::new().await.addr.port();
    assert_eq!(answer(&forward, &five(nobody)).await, [5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&forward, &four(nobody)).await, [0, 91, 0, 0, 0, 0, 0, 0]);
    let bind = [5, 1, 0, 5, 2, 0, 1, 127, 0, 0, 1, 0, 22];
    assert_eq!(answer(&forward, &bind).await, [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0], "BIND is not known");
    let udp = [5, 1, 0, 5, 3, 0, 1, 127, 0, 0, 1, 0, 22];
    assert_eq!(answer(&forward, &udp).await, [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0], "UDP is not known");
    becomes_true("all have ended", || forward.counters().open == 0).await;
    assert_eq!((forward.counters().total, forward.counters().refused), (4, 4));
    soon("closing", conn.close()).await;
}

async fn not_allowed() {
    let server = Server::ours(Router::new().forward_tcpip(|_| false)).await;
    let (conn, forward) = set_up(&server).await;
    assert_eq!(answer(&forward, &five(80)).await, [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&forward, &four(80)).await, [0, 91, 0, 0, 0, 0, 0, 0]);
    soon("closing", conn.close()).await;
}

async fn permits() {
    let server = Server::ours(Router::new().forward_tcpip(|_| true)).await;
    let conn = server.connect().await;
    let (there, other) = (Destination::new().await, Destination::new().await);
    let (port, wrong) = (there.addr.port(), other.addr.port());
    there.echo();
    let spec = Forward::dynamic(any_port()).permit_open(move |host, at| host == "127.0.0.1" && at == port);
    let forward = conn.forward(spec).await.unwrap();
    assert_eq!(answer(&forward, &five(wrong)).await, [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&forward, &four(wrong)).await, [0, 91, 0, 0, 0, 0, 0, 0]);
    let name = [&[5, 1, 0, 5, 1, 0, 3, 9][..], b"localhost", &port.to_be_bytes()].concat();
    assert_eq!(answer(&forward, &name).await[3], 2, "what is said counts, not what it leads to");
    assert_eq!(conn.info().await.unwrap().counters.channels_opened, 0);
    becomes_true("all have ended", || forward.counters().open == 0).await;
    assert_eq!((forward.counters().total, forward.counters().refused), (3, 3));
    let mut stream = enter(&forward).await;
    stream.write_all(&[&five(port)[..], b"hello"].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(rest(&mut stream).await.ends_with(b"hello"));
    let local = Forward::local(any_port(), ("localhost", 1)).permit_open(|_, _| true);
    assert_eq!(local.check().unwrap_err().field, "permit_open");
    soon("closing", conn.close()).await;
}

async fn unresolved() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new().forward_tcpip(move |open| {
        let _ = tell.send(open.host.clone());
        false
    });
    let server = Server::ours(router).await;
    let (conn, forward) = set_up(&server).await;
    let name = "no-such-name.invalid";
    let four_a = [&[4, 1, 0, 80, 0, 0, 0, 7, 0][..], name.as_bytes(), &[0]].concat();
    let five = [&[5, 1, 0, 5, 1, 0, 3, name.len() as u8][..], name.as_bytes(), &[0, 80]].concat();
    for request in [four_a, five] {
        answer(&forward, &request).await;
        assert_eq!(soon("the open", told.recv()).await.as_deref(), Some(name));
    }
    soon("closing", conn.close()).await;
}

async fn silent() {
    let server = Server::start(Which::Ours).await;
    let conn = server.connect().await;
    let spec = Forward::dynamic(any_port()).handshake_limit(std::time::Duration::from_millis(200));
    let forward = conn.forward(spec).await.unwrap();
    let mut stream = enter(&forward).await;
    stream.write_all(&[5, 1]).await.unwrap();
    let mut heard = Vec::new();
    assert!(soon("being given up", stream.read_to_end(&mut heard)).await.is_err());
    becomes_true("it has ended", || forward.counters().open == 0).await;
    assert_eq!(forward.counters().refused, 1);
    soon("closing", conn.close()).await;
}

async fn early(which: Which) {
    let server = Server::start(which).await;
    let (conn, forward) = set_up(&server).await;
    let there = Destination::new().await.echo();
    let mut stream = enter(&forward).await;
    stream.write_all(&[&five(there.port())[..], b"impatient"].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let granted = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(rest(&mut stream).await, [&granted[..], b"impatient"].concat());
    soon("closing", conn.close()).await;
}

async fn unix() {
    let server = Server::start(Which::Ours).await;
    let conn = server.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socks").display().to_string();
    let _forward = conn.forward(Forward::dynamic(Endpoint::unix(&path))).await.unwrap();
    let there = Destination::new().await.echo();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(&[&four(there.port())[..], b"hello"].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    soon("an echo", stream.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, [&[0, 90, 0, 0, 0, 0, 0, 0][..], b"hello"].concat());
    soon("closing", conn.close()).await;
}
