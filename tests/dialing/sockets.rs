//! TCP and Unix sockets, deadlines, and the outbound rate.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::config::Timeouts;
use ractor_ssh::dial::{AddressFamily, DialError, TcpOptions, Via};
use ractor_ssh::error::{ConnectionError, Phase};
use ractor_ssh::{Client, ConnectError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener};

use crate::common::{NobodyListens, config, connect, fails, once, soon, works};
use crate::kit::{Peer, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test(
            "sockets::the_server_sees_the_local_address_and_port_that_were_asked_for",
            Peer::OpenSshServer,
            local,
        ),
        peer_test("sockets::only_the_wanted_family_is_tried", Peer::OpenSshServer, family),
        peer_test("sockets::a_unix_socket_leads_to_a_server", Peer::OpenSshServer, unix),
        peer_test("sockets::every_address_that_was_tried_is_in_the_error", Peer::OpenSshServer, refused),
        peer_test(
            "sockets::the_deadline_is_for_everything_and_names_the_phase",
            Peer::OpenSshServer,
            deadline,
        ),
        peer_test("sockets::the_outbound_rate_holds_and_loses_nothing", Peer::OpenSshServer, rate),
        peer_test("sockets::a_connection_ends_at_its_greatest_age", Peer::OpenSshServer, lifetime),
    ]
}

async fn local() {
    let free = std::net::TcpListener::bind("127.0.0.7:0").unwrap().local_addr().unwrap();
    let options = TcpOptions::new().local_address(free.ip()).local_port(free.port());
    // To two servers at once, from one port.
    let servers = [Sshd::builder().start().unwrap(), Sshd::builder().start().unwrap()];
    let mut connections = Vec::new();
    for sshd in &servers {
        let connection = connect(config(sshd).via(Via::tcp(options.clone()))).await;
        assert_eq!(connection.info().await.unwrap().local_addr, Some(free));
        let output = connection.exec("echo $SSH_CONNECTION").output().await.unwrap();
        let seen = format!("{} {} ", free.ip(), free.port());
        assert!(output.stdout_text().starts_with(&seen), "{output:?}");
        connections.push(connection);
    }
}

async fn family() {
    let sshd = Sshd::builder().start().unwrap();
    let only = |family| config(&sshd).via(Via::tcp(TcpOptions::new().family(family)));
    works(&connect(only(AddressFamily::Ipv4)).await).await;
    let error = fails(only(AddressFamily::Ipv6)).await;
    let ConnectError::Dial { source: DialError::NoAddress { wanted, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*wanted, "IPv6");
}

async fn unix() {
    let sshd = Sshd::builder().start().unwrap();
    let path = sshd.directory().join("in");
    let listener = UnixListener::bind(&path).unwrap();
    let server = sshd.addr();
    let passing = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let connection = connect(config(&sshd).via(Via::unix(&path))).await;
    works(&connection).await;
    connection.close().await;
    soon("the socket is closed", passing).await.unwrap();
    let error = fails(config(&sshd).via(Via::unix(path.join("not-there")))).await;
    assert!(matches!(&error, ConnectError::Dial { source: DialError::Unix { .. }, .. }), "{error:?}");
    assert!(error.to_string().contains("not-there"), "{error}");
}

async fn refused() {
    let sshd = Sshd::builder().start().unwrap();
    let nobody = NobodyListens::new();
    let error = fails(config(&sshd).port(nobody.port())).await;
    let ConnectError::Dial { source: DialError::Tcp { attempts }, .. } = &error else { panic!("{error:?}") };
    assert_eq!(attempts.len(), 1);
    let text = error.to_string();
    let address = format!("127.0.0.1:{}", nobody.port());
    assert!(text.matches(&address).count() == 2 && text.contains("refused"), "target and attempt: {text}");
    assert!(error.is_retryable());
}

async fn deadline() {
    let sshd = Sshd::builder().start().unwrap();
    let limit = Duration::from_millis(300);
    let silent = once(|mut stream| async move { stream.read_to_end(&mut Vec::new()).await }).await;
    let error = fails(config(&sshd).port(silent.addr.port()).deadline(limit)).await;
    let ConnectError::Timeout { phase, after } = &error else { panic!("{error:?}") };
    assert_eq!((*phase, *after), (Phase::Version, limit));
    soon("the socket is closed", silent.served).await.unwrap().unwrap();
    let error = fails(config(&sshd).deadline(Duration::ZERO)).await;
    assert!(matches!(&error, ConnectError::Config(error) if error.field == "deadline"), "{error:?}");
}

async fn rate() {
    let sshd = Sshd::builder().start().unwrap();
    let error = fails(config(&sshd).outbound_rate(0)).await;
    assert!(matches!(&error, ConnectError::Config(error) if error.field == "outbound_rate"), "{error:?}");
    // Over a stream that was given, to see that it holds there as well.
    let stream = TcpStream::connect(sshd.addr()).await.unwrap();
    let paced = config(&sshd).outbound_rate(200_000);
    let connection = soon("connecting", Client::new(paced).connect_stream(stream)).await.unwrap();
    let mut counting = connection.exec("wc -c").stream().await.unwrap();
    let begin = Instant::now();
    soon("writing", counting.write_all(&vec![b'x'; 400_000])).await.unwrap();
    counting.shutdown().await.unwrap();
    let mut said = String::new();
    soon("counting", counting.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said.trim(), "400000");
    // 400,000 bytes and what SSH adds, at 200,000 a second; a load on the machine can only make it longer.
    assert!(begin.elapsed() >= Duration::from_millis(1_900), "{:?}", begin.elapsed());
}

async fn lifetime() {
    let sshd = Sshd::builder().start().unwrap();
    let mut timeouts = Timeouts::default();
    timeouts.close = Duration::from_secs(2);
    let connection = connect(config(&sshd).timeouts(timeouts).max_lifetime(Duration::from_millis(300))).await;
    let end = soon("its end", connection.closed()).await;
    assert!(matches!(end, ConnectionError::Expired { .. }), "{end:?}");
}
