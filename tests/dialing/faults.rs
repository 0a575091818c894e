//! Proxies that misbehave, each a few lines of our own in front of a real server.

use std::net::SocketAddr;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::ConnectError;
use ractor_ssh::config::Timeouts;
use ractor_ssh::dial::{DialError, Proxy, ProxyError, Via};
use ractor_ssh::error::Phase;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{BlackHole, Once, config, connect, fails, once, soon, works};
use crate::kit::{Peer, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("faults::bytes_glued_to_the_answer_are_kept", Peer::OpenSshServer, glued),
        peer_test(
            "faults::an_answer_in_single_bytes_and_with_odd_heads_is_understood",
            Peer::OpenSshServer,
            odd,
        ),
        peer_test(
            "faults::each_wrong_answer_of_an_http_proxy_has_its_error",
            Peer::OpenSshServer,
            http_answers,
        ),
        peer_test(
            "faults::each_wrong_answer_of_a_socks_proxy_has_its_error",
            Peer::OpenSshServer,
            socks_answers,
        ),
        peer_test("faults::a_silent_proxy_is_given_up_at_its_deadline", Peer::OpenSshServer, silent),
        peer_test("faults::the_dial_limit_holds_for_the_whole_way", Peer::OpenSshServer, dial_limit),
        peer_test("faults::an_endless_head_is_not_read_to_its_end", Peer::OpenSshServer, endless),
        peer_test("faults::a_proxy_that_resets_midway_ends_the_login", Peer::OpenSshServer, reset),
        peer_test("faults::giving_up_closes_the_way", Peer::OpenSshServer, given_up),
        peer_test("faults::the_proxy_that_takes_too_long_is_named", Peer::OpenSshServer, too_long),
        peer_test("faults::a_reset_in_the_middle_of_a_transfer_is_told", Peer::OpenSshServer, mid_transfer),
    ]
}

/// A request's head, read byte by byte.
async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// Its end of a SOCKS5 negotiation without login, and the request up to the port.
async fn socks5_request(stream: &mut TcpStream) {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await.unwrap();
    stream.read_exact(&mut vec![0; greeting[1].into()]).await.unwrap();
    stream.write_all(&[5, 0]).await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
}

async fn pass(mut client: TcpStream, mut server: TcpStream) {
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// The server's first words, which it says unasked.
async fn banner(server: &mut TcpStream) -> Vec<u8> {
    let mut text = Vec::new();
    while !text.ends_with(b"\n") {
        text.push(server.read_u8().await.unwrap());
    }
    text
}

async fn glued() {
    let sshd = Sshd::builder().start().unwrap();
    let target = sshd.addr();
    let http = once(move |mut client| async move {
        head(&mut client).await;
        let mut server = TcpStream::connect(target).await.unwrap();
        let mut answer = b"HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n".to_vec();
        answer.extend(banner(&mut server).await);
        client.write_all(&answer).await.unwrap();
        pass(client, server).await;
    })
    .await;
    let socks = once(move |mut client| async move {
        socks5_request(&mut client).await;
        let mut server = TcpStream::connect(target).await.unwrap();
        let mut answer = b"\x05\x00\x00\x03\x07example\x00\x16".to_vec();
        answer.extend(banner(&mut server).await);
        client.write_all(&answer).await.unwrap();
        pass(client, server).await;
    })
    .await;
    let socks4 = once(move |mut client| async move {
        client.read_exact(&mut [0; 9]).await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        let mut answer = b"\x00\x5a\x00\x00\x00\x00\x00\x00".to_vec();
        answer.extend(banner(&mut server).await);
        client.write_all(&answer).await.unwrap();
        pass(client, server).await;
    })
    .await;
    let port = |once: &Once<()>| once.addr.port();
    let proxies = [
        Proxy::http("127.0.0.1", port(&http)),
        Proxy::socks5("127.0.0.1", port(&socks)),
        Proxy::socks4("127.0.0.1", port(&socks4)),
    ];
    for proxy in proxies {
        works(&connect(config(&sshd).via(Via::default().proxy(proxy))).await).await;
    }
}

async fn odd() {
    let sshd = Sshd::builder().start().unwrap();
    let target = sshd.addr();
    let heads = [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: \u{e4}\r\n\r\n",
        "HTTP/1.1 200 OK\nVia: x\n\n",
    ];
    for text in heads {
        let proxy = once(move |mut client| async move {
            head(&mut client).await;
            client.set_nodelay(true).unwrap();
            for byte in text.bytes() {
                client.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            pass(client, TcpStream::connect(target).await.unwrap()).await;
        })
        .await;
        let via = Via::default().proxy(Proxy::http("127.0.0.1", proxy.addr.port()));
        works(&connect(config(&sshd).via(via)).await).await;
    }
}

/// A proxy that answers so and closes, or resets.
async fn answering(sshd: &Sshd, http: bool, answer: &'static [u8]) -> ConnectError {
    let proxy = once(move |mut client| async move {
        if http {
            head(&mut client).await;
        } else {
            socks5_request(&mut client).await;
        }
        client.write_all(answer).await.unwrap();
        client.shutdown().await.unwrap();
        let _ = client.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let address = ("127.0.0.1", proxy.addr.port());
    let way = if http { Proxy::http(address.0, address.1) } else { Proxy::socks5(address.0, address.1) };
    let error = fails(config(sshd).via(Via::default().proxy(way))).await;
    soon("the socket is closed", proxy.served).await.unwrap();
    assert_eq!(error.phase(), Phase::Dial);
    let text = error.to_string();
    assert!(text.contains(&proxy.addr.port().to_string()), "names the proxy: {text}");
    error
}

fn why(error: ConnectError) -> ProxyError {
    match error {
        ConnectError::Dial { source: DialError::Proxy { source, .. }, .. } => source,
        other => panic!("{other:?}"),
    }
}

async fn http_answers() {
    let sshd = Sshd::builder().start().unwrap();
    let wants: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\n\
                         Proxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 3\r\n\r\nno!";
    let error = why(answering(&sshd, true, wants).await);
    assert!(matches!(&error, ProxyError::LoginRequired { asks } if asks == "Negotiate, Basic"), "{error:?}");
    let chunked: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<html\r\n0\r\n\r\n";
    let error = why(answering(&sshd, true, chunked).await);
    assert!(
        matches!(&error, ProxyError::Failed { why, .. } if why == "503 Service Unavailable"),
        "{error:?}"
    );
    let error = why(answering(&sshd, true, b"HTTP/1.1 403 Forbidden\r\n\r\n").await);
    assert!(matches!(&error, ProxyError::Denied { why, .. } if why == "403 Forbidden"), "{error:?}");
    let bell: &[u8] = b"HTTP/1.1 502 \tBad\tGateway\r\n\r\n";
    let error = why(answering(&sshd, true, bell).await);
    assert!(matches!(&error, ProxyError::Failed { why, .. } if !why.contains('\t')), "{error:?}");
    for closed in [&b""[..], b"HTTP/1.1 200 OK\r\nX"] {
        let error = why(answering(&sshd, true, closed).await);
        assert!(matches!(&error, ProxyError::Closed), "{error:?}");
    }
    for nonsense in [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1 101 Switching\r\n\r\n", b"\x00\x00\x00\x00\r\n\r\n"] {
        let error = why(answering(&sshd, true, nonsense).await);
        assert!(matches!(&error, ProxyError::Nonsense(_)), "{error:?}");
    }
}

async fn socks_answers() {
    let sshd = Sshd::builder().start().unwrap();
    let tail = b"\x00\x01\x00\x00\x00\x00\x00\x00";
    let code = |code: u8| Box::leak([&[5, code][..], tail].concat().into_boxed_slice()) as &'static [u8];
    for (number, words) in
        [(1, "general"), (3, "network"), (4, "host"), (5, "refused"), (6, "TTL"), (8, "type of address")]
    {
        let error = why(answering(&sshd, false, code(number)).await);
        assert!(
            matches!(&error, ProxyError::Failed { why, .. } if why.contains(words)),
            "{number}: {error:?}"
        );
        assert!(error.is_retryable());
    }
    let error = why(answering(&sshd, false, code(2)).await);
    assert!(matches!(&error, ProxyError::Denied { .. }), "{error:?}");
    for nonsense in
        [code(7), code(99), b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\x00\x00\x09\x00\x00\x00\x00\x00\x00"]
    {
        let error = why(answering(&sshd, false, nonsense).await);
        assert!(matches!(&error, ProxyError::Nonsense(_)), "{nonsense:?}: {error:?}");
    }
    for closed in [&b""[..], b"\x05", b"\x05\x00\x00\x01\x00"] {
        let error = why(answering(&sshd, false, closed).await);
        assert!(matches!(&error, ProxyError::Closed), "{error:?}");
    }
}

async fn silent() {
    let sshd = Sshd::builder().start().unwrap();
    let limit = Duration::from_millis(200);
    type Make = fn(SocketAddr) -> Proxy;
    let kinds: [Make; 3] = [
        |at| Proxy::http("127.0.0.1", at.port()),
        |at| Proxy::socks5("127.0.0.1", at.port()),
        |at| Proxy::socks4a("127.0.0.1", at.port()),
    ];
    for make in kinds {
        let proxy = once(|mut client| async move { client.read_to_end(&mut Vec::new()).await }).await;
        let via = Via::default().proxy(make(proxy.addr).deadline(limit));
        let error = why(fails(config(&sshd).via(via)).await);
        assert!(matches!(&error, ProxyError::TimedOut { after } if *after == limit), "{error:?}");
        soon("the socket is closed", proxy.served).await.unwrap().unwrap();
    }
}

async fn dial_limit() {
    let sshd = Sshd::builder().start().unwrap();
    // Never silent for long, and never done.
    let proxy = once(|mut client| async move {
        client.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while client.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut timeouts = Timeouts::default();
    timeouts.dial = Duration::from_millis(300);
    let via = Via::default().proxy(Proxy::http("127.0.0.1", proxy.addr.port()));
    let error = fails(config(&sshd).via(via).timeouts(timeouts)).await;
    let limit = Duration::from_millis(300);
    let text = error.to_string();
    assert!(matches!(why(error), ProxyError::TimedOut { after } if after == limit), "{text}");
    assert!(text.contains(&proxy.addr.to_string()), "names the proxy: {text}");
    soon("the socket is closed", proxy.served).await.unwrap();
}

async fn endless() {
    let sshd = Sshd::builder().start().unwrap();
    let proxy = once(|mut client| async move {
        let mut sent = 0_usize;
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
        while client.write_all(&[b'y'; 4096]).await.is_ok() {
            sent += 4096;
            assert!(sent < 64 << 20, "it reads for ever");
        }
    })
    .await;
    let via = Via::default().proxy(Proxy::http("127.0.0.1", proxy.addr.port()));
    let error = why(fails(config(&sshd).via(via)).await);
    assert!(matches!(&error, ProxyError::Nonsense(_)), "{error:?}");
    soon("the socket is closed", proxy.served).await.unwrap();
}

async fn reset() {
    let sshd = Sshd::builder().start().unwrap();
    let target = sshd.addr();
    let proxy = once(move |mut client| async move {
        head(&mut client).await;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        client.write_all(&banner(&mut server).await).await.unwrap();
        // Half a key exchange, then RST.
        client.read_exact(&mut [0; 40]).await.unwrap();
        client.set_zero_linger().unwrap();
    })
    .await;
    let via = Via::default().proxy(Proxy::http("127.0.0.1", proxy.addr.port()));
    let error = fails(config(&sshd).via(via)).await;
    assert!(matches!(&error, ConnectError::Handshake { .. }), "{error:?}");
    assert!(error.is_retryable());
}

async fn given_up() {
    let sshd = Sshd::builder().start().unwrap();
    let (asked, reached) = tokio::sync::oneshot::channel();
    let proxy = once(move |mut client| async move {
        head(&mut client).await;
        let _ = asked.send(());
        client.read_to_end(&mut Vec::new()).await
    })
    .await;
    let via = Via::default().proxy(Proxy::http("127.0.0.1", proxy.addr.port()));
    let mut connecting = ractor_ssh::Client::new(config(&sshd).via(via)).connect();
    tokio::select! {
        made = &mut connecting => panic!("{made:?}"),
        reached = reached => reached.unwrap(),
    }
    drop(connecting);
    soon("the socket is closed", proxy.served).await.unwrap().unwrap();
}

async fn too_long() {
    let sshd = Sshd::builder().start().unwrap();
    let hole = BlackHole::new("127.0.0.1").await;
    let behind = Proxy::http("127.0.0.1", hole.addr.port());
    let limit = Duration::from_millis(300);
    let mut dial = Timeouts::default();
    dial.dial = limit;
    // One that cannot be reached, by the limit on the dial, and by the one on everything.
    let via = || config(&sshd).via(Via::default().proxy(behind.clone()));
    for config in [via().timeouts(dial), via().deadline(limit)] {
        let error = fails(config).await;
        let text = error.to_string();
        assert!(error.is_retryable() && error.phase() == Phase::Dial);
        assert!(matches!(why(error), ProxyError::TimedOut { after } if after == limit), "{text}");
        assert!(text.contains(&hole.addr.to_string()) && text.contains(&sshd.port().to_string()), "{text}");
    }
    // Of two, the one that is waited for.
    let slow = once(|mut client| async move {
        head(&mut client).await;
        client.read_to_end(&mut Vec::new()).await
    })
    .await;
    let first = Proxy::http("127.0.0.1", slow.addr.port());
    let way = Via::default().proxy(first).proxy(behind);
    let error = fails(config(&sshd).via(way).deadline(limit)).await;
    assert!(error.to_string().contains(&format!("the proxy http://{}", slow.addr)), "{error}");
    soon("the socket is closed", slow.served).await.unwrap().unwrap();
}

async fn mid_transfer() {
    let sshd = Sshd::builder().start().unwrap();
    let target = sshd.addr();
    let proxy = once(move |mut client| async move {
        head(&mut client).await;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut some = (&mut from_server).take(1_000_000);
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            _ = tokio::io::copy(&mut some, &mut to_client) => {}
        }
        client.set_zero_linger().unwrap();
    })
    .await;
    let via = Via::default().proxy(Proxy::http("127.0.0.1", proxy.addr.port()));
    let connection = connect(config(&sshd).via(via)).await;
    let mut stream = connection.exec("cat /dev/zero").stream().await.unwrap();
    let mut got = Vec::new();
    let read = soon("the end of the transfer", stream.read_to_end(&mut got)).await;
    assert!(read.is_err(), "{} bytes, and a clean end", got.len());
    assert!(got.len() > 100_000 && got.iter().all(|byte| *byte == 0), "{}", got.len());
    let end = soon("its end", connection.closed()).await;
    assert!(end.is_retryable(), "{end:?}");
}
