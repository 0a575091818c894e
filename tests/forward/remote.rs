//! Listeners on the server.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use libtest_mimic::Trial;
use ractor_ssh::forward::{Endpoint, Forward, ForwardEnd, ForwardError, ForwardHandle, ForwardState};
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{Client, ManagedSpec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use crate::bytes;
use crate::common::{Destination, Server, Which, becomes_true, config, echoes, soon};
use crate::kit::{Peer, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let sshd = [Peer::OpenSshServer];
    vec![
        peer_test("remote::a_port_of_the_server_leads_to_a_port_here", sshd, tcp),
        peer_test("remote::each_direction_ends_by_itself_and_no_byte_is_lost", sshd, half_close),
        peer_test("remote::a_socket_of_the_server_leads_to_a_socket_here", sshd, unix),
        peer_test("remote::a_function_can_serve_it", sshd, function),
        peer_test("remote::it_can_be_a_socks_proxy", sshd, socks),
        peer_test("remote::socks_clients_go_where_it_is_permitted_alone", sshd, permits),
        peer_test("remote::a_destination_that_is_not_there_ends_the_connection_alone", sshd, refused),
        peer_test("remote::no_more_connections_are_taken_than_allowed", sshd, bound),
        peer_test("remote::a_server_that_does_not_listen_is_an_error", sshd, not_allowed),
        peer_test("remote::closing_frees_the_port_and_cuts_connections_off", sshd, close),
        peer_test("remote::its_end_waits_for_nobody_when_there_is_nobody", sshd, at_once),
        peer_test("remote::it_is_listened_on_again_after_a_reconnect", sshd, reconnect),
    ]
}

fn any() -> Endpoint {
    Endpoint::tcp("localhost", 0)
}

/// Where the server listens, as seen from the same host.
fn there(forward: &ForwardHandle) -> SocketAddr {
    ([127, 0, 0, 1], forward.local_addr().port().unwrap()).into()
}

async fn set_up(forward: Forward) -> (Server, ractor_ssh::ConnectionRef, ForwardHandle) {
    let server = Server::start(Which::OpenSsh).await;
    let conn = server.connect().await;
    let forward = soon("the server's answer", conn.forward(forward)).await.unwrap();
    assert!(matches!(forward.state(), ForwardState::Listening));
    (server, conn, forward)
}

async fn tcp() {
    let (_server, conn, forward) = set_up(Forward::remote(any(), Destination::new().await.echo())).await;
    assert_ne!(forward.local_addr().port(), Some(0));
    let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
    echoes(&mut stream).await;
    let tree = conn.tree().await.to_string();
    assert!(tree.contains("on the server to 127.0.0.1"), "{tree}");
    drop(stream);
    becomes_true("it has ended", || forward.counters().open == 0).await;
    let counters = forward.counters();
    assert_eq!((counters.total, counters.refused, counters.failed), (1, 0, 0));
    assert_eq!((counters.sent, counters.received), (5, 5));
    soon("closing", conn.close()).await;
}

async fn half_close() {
    const LARGE: u64 = 16 << 20;
    let here = Destination::new().await;
    let (_server, conn, forward) = set_up(Forward::remote(any(), here.addr)).await;
    let mut theirs = TcpStream::connect(there(&forward)).await.unwrap();
    let mut ours = here.accept().await;
    let up = async {
        bytes::write(&mut theirs, 1, LARGE).await.unwrap();
        theirs.shutdown().await.unwrap();
    };
    let (heard, ()) = soon("one way", async { tokio::join!(bytes::read(&mut ours, 1), up) }).await;
    assert_eq!(heard.unwrap(), LARGE);
    let down = async {
        bytes::write(&mut ours, 2, LARGE).await.unwrap();
        drop(ours);
    };
    let (heard, ()) = soon("the other way", async { tokio::join!(bytes::read(&mut theirs, 2), down) }).await;
    assert_eq!(heard.unwrap(), LARGE);
    soon("closing", conn.close()).await;
}

async fn unix() {
    let directory = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| directory.path().join(name).display().to_string());
    let target = UnixListener::bind(&here).unwrap();
    let (_server, conn, forward) =
        set_up(Forward::remote(Endpoint::unix(&there), Endpoint::unix(&here))).await;
    let mut theirs = UnixStream::connect(&there).await.unwrap();
    theirs.write_all(b"hello").await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut ours = soon("a connection", target.accept()).await.unwrap().0;
    let mut heard = String::new();
    soon("what is said", ours.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "hello");
    bytes::write(&mut ours, 3, 1 << 20).await.unwrap();
    drop(ours);
    assert_eq!(soon("an answer", bytes::read(&mut theirs, 3)).await.unwrap(), 1 << 20);
    soon("closing", forward.close()).await;
    soon("closing", conn.close()).await;
}

async fn function() {
    let spec = Forward::remote_fn(any(), |mut stream| async move {
        let mut name = [0; 4];
        if stream.read_exact(&mut name).await.is_ok() {
            let _ = stream.write_all(&[b"hello ", &name[..]].concat()).await;
        }
    });
    let (_server, conn, forward) = set_up(spec).await;
    let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
    stream.write_all(b"anna").await.unwrap();
    let mut heard = String::new();
    soon("an answer", stream.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "hello anna");
    becomes_true("it has ended", || forward.counters().open == 0).await;
    soon("closing", conn.close()).await;
}

async fn socks() {
    let (_server, conn, forward) = set_up(Forward::remote_dynamic(any())).await;
    let echo = Destination::new().await.echo();
    let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
    let request = [&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..], &echo.port().to_be_bytes(), b"early"].concat();
    stream.write_all(&request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    soon("an answer", stream.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, [&[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"early"].concat());
    let nobody = Destination::new().await.addr.port();
    let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
    stream.write_all(&[&[4, 1][..], &nobody.to_be_bytes(), &[127, 0, 0, 1, 0]].concat()).await.unwrap();
    let mut heard = Vec::new();
    soon("a refusal", stream.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, [0, 91, 0, 0, 0, 0, 0, 0]);
    soon("closing", conn.close()).await;
}

async fn permits() {
    let (there, other) = (Destination::new().await, Destination::new().await);
    let (port, wrong) = (there.addr.port(), other.addr.port());
    there.echo();
    let spec = Forward::remote_dynamic(any()).permit_open(move |host, at| host == "127.0.0.1" && at == port);
    let (_server, conn, forward) = set_up(spec).await;
    let five = |port: u16| [&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..], &port.to_be_bytes()].concat();
    let four = |port: u16| [&[4, 1][..], &port.to_be_bytes(), &[127, 0, 0, 1, 0]].concat();
    for (number, (request, answer)) in [
        (five(wrong), vec![5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
        (four(wrong), vec![0, 91, 0, 0, 0, 0, 0, 0]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(self::there(&forward)).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut heard = Vec::new();
        soon("a refusal", stream.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, answer);
        becomes_true("it has ended", || forward.counters().open == 0).await;
        assert_eq!(forward.counters().refused, number as u64 + 1);
    }
    let mut stream = TcpStream::connect(self::there(&forward)).await.unwrap();
    stream.write_all(&[&five(port)[..], b"hello"].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    soon("an echo", stream.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.ends_with(b"hello"), "{heard:?}");
    // Whoever had connected would wait to be accepted.
    assert!(other.listener.accept().now_or_never().is_none(), "it was led there");
    soon("closing", conn.close()).await;
}

async fn ends(stream: &mut TcpStream) {
    // OpenSSH makes an end of a CLOSE, whatever came before.
    match soon("its end", stream.read(&mut [0; 8])).await {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

async fn refused() {
    let nobody = Destination::new().await.addr;
    let (_server, conn, forward) = set_up(Forward::remote(any(), nobody)).await;
    let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
    ends(&mut stream).await;
    becomes_true("it has ended", || forward.counters().open == 0).await;
    assert_eq!((forward.counters().total, forward.counters().refused), (1, 1));
    let listener = tokio::net::TcpListener::bind(nobody).await.unwrap();
    let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
    let mut ours = soon("a connection", listener.accept()).await.unwrap().0;
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon("a byte", ours.read_u8()).await.unwrap(), b'x');
    soon("closing", conn.close()).await;
}

async fn bound() {
    let spec = Forward::remote(any(), Destination::new().await.echo()).max_connections(1);
    let (_server, conn, forward) = set_up(spec).await;
    let mut first = TcpStream::connect(there(&forward)).await.unwrap();
    echoes(&mut first).await;
    let mut second = TcpStream::connect(there(&forward)).await.unwrap();
    ends(&mut second).await;
    assert_eq!((forward.counters().open, forward.counters().total, forward.counters().refused), (1, 2, 1));
    drop(first);
    becomes_true("there is a place", || forward.counters().open == 0).await;
    let mut third = TcpStream::connect(there(&forward)).await.unwrap();
    echoes(&mut third).await;
    soon("closing", conn.close()).await;
}

async fn not_allowed() {
    let server = Server::OpenSsh(Sshd::builder().config("PermitListen none").start().unwrap());
    let conn = server.connect().await;
    let error = soon("an answer", conn.forward(Forward::remote(any(), 1))).await.unwrap_err();
    assert!(matches!(error, ForwardError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("localhost:0"), "{error}");
    soon("closing", conn.close()).await;
}

async fn close() {
    let (_server, conn, forward) = set_up(Forward::remote(any(), Destination::new().await.echo())).await;
    let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
    echoes(&mut stream).await;
    soon("closing", forward.close()).await;
    ends(&mut stream).await;
    assert!(TcpStream::connect(there(&forward)).await.is_err(), "the server listens no more");
    assert_eq!((forward.counters().open, forward.counters().failed), (0, 1));
    // The same can be asked for again.
    let again = Forward::remote(forward.local_addr(), Destination::new().await.echo());
    let again = soon("an answer", conn.forward(again)).await.unwrap();
    assert_eq!(again.local_addr(), forward.local_addr());
    soon("closing", conn.close()).await;
}

/// The shortest of a few, so that a busy machine does not count.
async fn shortest<F: Future<Output = Duration>>(measure: impl Fn() -> F) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        shortest = shortest.min(measure().await);
    }
    shortest
}

async fn at_once() {
    // It would wait for a second, if it waited for connections that may be on their way.
    const LATE: Duration = Duration::from_secs(1);
    let (_server, conn, _forward) = set_up(Forward::remote(any(), 1)).await;
    let closing = shortest(async || {
        let forward = soon("an answer", conn.forward(Forward::remote(any(), 1))).await.unwrap();
        let began = Instant::now();
        soon("closing", forward.close()).await;
        assert!(matches!(forward.state(), ForwardState::Ended(ForwardEnd::Closed)));
        began.elapsed()
    });
    let closing = closing.await;
    assert!(closing < LATE / 2, "{closing:?}");
    soon("closing", conn.close()).await;
    let losing = shortest(async || {
        let (server, conn, forward) = set_up(Forward::remote(any(), 1)).await;
        let Server::OpenSsh(sshd) = &server else { unreachable!() };
        sshd.kill_sessions();
        soon("the loss", conn.closed()).await;
        let began = Instant::now();
        assert!(matches!(soon("its end", forward.closed()).await, ForwardEnd::Connection(_)));
        began.elapsed()
    });
    let losing = losing.await;
    assert!(losing < LATE / 2, "{losing:?}");
}

async fn reconnect() {
    let sshd = Sshd::builder().start().unwrap();
    let policy =
        RestartPolicy::permanent().never_give_up().backoff(Backoff::fixed(Duration::from_millis(20)));
    let managed = Client::new(config(&sshd)).manage(ManagedSpec::new().restart(policy)).await.unwrap();
    soon("being up", managed.connection()).await.unwrap();
    let forward = managed.forward(Forward::remote(any(), Destination::new().await.echo())).await.unwrap();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
        echoes(&mut stream).await;
        let mut states = forward.states();
        sshd.kill();
        sshd.kill_sessions();
        soon("waiting", states.wait_for(|state| matches!(state, ForwardState::Waiting { .. })))
            .await
            .unwrap();
        assert!(!forward.tree().stuck.is_empty());
        drop(stream);
        sshd.restart().unwrap();
        soon("listening", states.wait_for(|state| matches!(state, ForwardState::Listening))).await.unwrap();
    }
    let mut stream = TcpStream::connect(there(&forward)).await.unwrap();
    echoes(&mut stream).await;
    soon("closing", forward.close()).await;
    soon("shutting down", managed.shutdown(Duration::ZERO)).await;
}
