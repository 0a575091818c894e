//! By our client.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use ractor_ssh::SessionLimits;
use ractor_ssh::error::ListenError;
use ractor_ssh::session::{ChannelStream, stream_fn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::support::{SIZE, answer, local, open_house};
use crate::kit::{after_eof, exchange};
use crate::ours::Quiet;
use crate::programs::piece;
use crate::support::{Served, eventually, soon};

pub(super) async fn ours() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let (told, mut from) = mpsc::unbounded_channel();
    let listener = soon(conn.tcpip_forward("", 0, move |open| {
        told.send(open.clone()).unwrap();
        answer(open)
    }))
    .await
    .unwrap();
    let stream = TcpStream::connect(local(listener.port())).await.unwrap();
    let own = stream.local_addr().unwrap();
    soon(exchange(stream, &piece(0, SIZE))).await;
    let open = from.recv().await.unwrap();
    assert_eq!((open.address.as_str(), open.port), ("", listener.port()));
    assert_eq!((open.originator_address.as_str(), open.originator_port), ("127.0.0.1", own.port()));
    // IPv6 loopback, on the same port.
    if let Ok(stream) = TcpStream::connect(("::1", listener.port())).await {
        soon(exchange(stream, b"six")).await;
        assert_eq!(from.recv().await.unwrap().originator_address, "::1");
    }
    let twice = conn.tcpip_forward("127.0.0.1", listener.port(), answer).await;
    assert!(matches!(twice, Err(ListenError::Refused { .. })), "{twice:?}");
    soon(conn.close()).await;
}

pub(super) async fn half_close() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let listener = conn
        .tcpip_forward("localhost", 0, move |_| {
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
    soon(stream.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "all that is to say");
    stream.write_all(b"and yet something").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(soon(heard.recv()).await.unwrap(), "and yet something");
    eventually(|| served.daemon.sessions()[0].channels_open == 0).await;
    soon(conn.close()).await;
}

pub(super) async fn cancel() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    let port = listener.port();
    let stream = TcpStream::connect(local(port)).await.unwrap();
    eventually(|| served.daemon.sessions()[0].channels_open == 1).await;
    soon(listener.cancel()).await.unwrap();
    eventually(|| std::net::TcpStream::connect(local(port)).is_err()).await;
    soon(exchange(stream, b"goes on")).await;
    let again = soon(conn.tcpip_forward("localhost", port, answer)).await.unwrap();
    drop(again);
    eventually(|| std::net::TcpStream::connect(local(port)).is_err()).await;
    soon(conn.close()).await;
}

pub(super) async fn lost() {
    let served = Served::start(open_house()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let conn = served.connect().await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    let name = path.to_str().unwrap();
    let socket = conn.streamlocal_forward(name, |_| Some(stream_fn(after_eof))).await.unwrap();
    assert!(path.exists());
    let port = listener.port();
    assert!(served.daemon.kick(served.daemon.sessions()[0].id));
    soon(listener.closed()).await;
    soon(socket.closed()).await;
    eventually(|| std::net::TcpStream::connect(local(port)).is_err() && !path.exists()).await;
}

pub(super) async fn draining() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    let port = listener.port();
    let stream = TcpStream::connect(local(port)).await.unwrap();
    eventually(|| served.daemon.sessions()[0].channels_open == 1).await;
    let daemon = served.daemon.clone();
    let stopping = tokio::spawn(async move { daemon.shutdown(Duration::from_secs(20)).await });
    eventually(|| std::net::TcpStream::connect(local(port)).is_err()).await;
    soon(exchange(stream, b"to its end")).await;
    soon(stopping).await.unwrap();
}

pub(super) async fn unix() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let name = path.to_str().unwrap();
    let quiet = |_| Some(stream_fn(after_eof));
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let listener = soon(conn.streamlocal_forward(name, quiet)).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    soon(exchange(UnixStream::connect(&path).await.unwrap(), b"x")).await;
    soon(listener.cancel()).await.unwrap();
    eventually(|| !path.exists()).await;
    // A socket that nobody listens on is in the way, unless it is to be removed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let refused = soon(conn.streamlocal_forward(name, quiet)).await;
    assert!(matches!(refused, Err(ListenError::Refused { .. })), "{refused:?}");
    soon(conn.close()).await;
    let served = Served::start(open_house().streamlocal_bind_unlink(true)).await;
    let conn = served.connect().await;
    let listener = soon(conn.streamlocal_forward(name, quiet)).await.unwrap();
    soon(exchange(UnixStream::connect(&path).await.unwrap(), b"x")).await;
    // One that somebody listens on, and a file, stay in any case.
    let other = served.connect().await;
    assert!(soon(other.streamlocal_forward(name, quiet)).await.is_err());
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(soon(other.streamlocal_forward(file.to_str().unwrap(), quiet)).await.is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    soon(exchange(UnixStream::connect(&path).await.unwrap(), b"y")).await;
    soon(listener.cancel()).await.unwrap();
    soon(conn.close()).await;
    soon(other.close()).await;
}

pub(super) async fn bounded() {
    let mut limits = SessionLimits::default();
    (limits.max_listeners, limits.max_forwarded) = (3, 2);
    let served = Served::with(|config| config.router(open_house()).session_limits(limits)).await;
    let conn = served.connect().await;
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(soon(conn.tcpip_forward("localhost", 0, answer)).await.unwrap());
    }
    assert!(matches!(conn.tcpip_forward("localhost", 0, answer).await, Err(ListenError::Refused { .. })));
    let port = listeners[0].port();
    let first = TcpStream::connect(local(port)).await.unwrap();
    let _second = TcpStream::connect(local(listeners[1].port())).await.unwrap();
    eventually(|| served.daemon.sessions()[0].channels_open == 2).await;
    // The third one waits, and is served when one of the others has ended.
    let third = tokio::spawn(async move {
        exchange(TcpStream::connect(local(port)).await.unwrap(), b"third").await;
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(served.daemon.sessions()[0].channels_open, 2);
    assert!(!third.is_finished());
    soon(exchange(first, b"first")).await;
    soon(third).await.unwrap();
    // A place is free again as soon as a listener is gone.
    soon(listeners.remove(2).cancel()).await.unwrap();
    listeners.push(soon(conn.tcpip_forward("localhost", 0, answer)).await.unwrap());
    soon(conn.close()).await;
}

pub(super) async fn refusing() {
    let served = Served::with(|config| {
        let mut timeouts = ractor_ssh::config::Timeouts::default();
        timeouts.open = Duration::from_millis(200);
        config.router(open_house()).timeouts(timeouts)
    })
    .await;
    // Ours refuses what was cancelled here, but russh's own client takes no channels at all unless it is told how.
    let conn = served.connect().await;
    let listener = soon(conn.tcpip_forward("localhost", 0, |_| None::<Quiet>)).await.unwrap();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
        let mut nothing = Vec::new();
        let _ = soon(stream.read_to_end(&mut nothing)).await;
        assert!(nothing.is_empty());
    }
    eventually(|| served.daemon.sessions()[0].channels_open == 0).await;
    let info = conn.info().await.unwrap();
    assert_eq!(info.counters.opens_refused, 100);
    let output = soon(conn.exec("fail").output()).await.unwrap();
    assert_eq!(output.status.code(), Some(7));
    soon(conn.close()).await;
}

pub(super) async fn slow() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = std::sync::Mutex::new(Some(gate));
    let (told, mut heard) = mpsc::unbounded_channel();
    let listener = conn
        .tcpip_forward("localhost", 0, move |_| {
            let (gate, told) = (gate.lock().unwrap().take().unwrap(), told.clone());
            Some(stream_fn(move |mut stream: ChannelStream| async move {
                gate.await.unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                told.send(all).unwrap();
            }))
        })
        .await
        .unwrap();
    let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
    // More than every buffer on the way holds, the connection's budget included.
    let mut sent = 0;
    let stopped = loop {
        match tokio::time::timeout(Duration::from_millis(1500), stream.write_all(&piece(sent, 1 << 20))).await
        {
            Ok(written) => written.unwrap(),
            Err(_) => break true,
        }
        sent += 1 << 20;
        if sent > 160 << 20 {
            break false;
        }
    };
    assert!(stopped, "nobody has held the sender up");
    drop(stream);
    go.send(()).unwrap();
    let all = soon(heard.recv()).await.unwrap();
    assert!(all.len() >= sent && all[..sent] == piece(0, sent)[..], "{} of at least {sent}", all.len());
    soon(conn.close()).await;
}

pub(super) async fn not_idle() {
    let limit = Duration::from_millis(300);
    let served =
        Served::with(|config| config.router(open_house()).initial_idle_timeout(limit).idle_timeout(limit))
            .await;
    let conn = served.connect().await;
    let listener = soon(conn.tcpip_forward("localhost", 0, answer)).await.unwrap();
    tokio::time::sleep(3 * limit).await;
    soon(exchange(TcpStream::connect(local(listener.port())).await.unwrap(), b"still there")).await;
    tokio::time::sleep(3 * limit).await;
    soon(exchange(TcpStream::connect(local(listener.port())).await.unwrap(), b"and again")).await;
    soon(listener.cancel()).await.unwrap();
    soon(conn.closed()).await;
    eventually(|| served.daemon.info().counters.idle_timeouts == 1).await;
}
