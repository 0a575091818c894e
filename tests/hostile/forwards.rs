//! Peers that have forwarding allowed and overdo it: listeners without end, channels that are never answered, opens
//! without end.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::{Limits, Timeouts};
use ractor_ssh::error::{ConnectionError, Phase};
use ractor_ssh::session::stream_fn;
use ractor_ssh::{Client, Router};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::rules::{Memory, alone, test};
use crate::server::serve;
use crate::target::Target;
use crate::wire::{Payload, Reader, number, to_channel};

const SOON: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        alone("ten_thousand_listeners_are_asked_for_and_32_are_there", listeners),
        test("a_peer_that_never_answers_opens_uses_up_its_own_places", silent),
        test("a_peer_that_refuses_or_confirms_what_it_likes_harms_nobody", answers),
        alone("our_client_bears_a_flood_of_forwarded_opens", opens),
    ]
}

fn listening(router: Router) -> Router {
    router.listen_tcpip(|_| true)
}

fn listen(address: &str, port: u32) -> Payload {
    Payload::new(number::GLOBAL_REQUEST).string("tcpip-forward").bool(true).string(address).u32(port)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

async fn listeners() {
    let target = Target::routed(listening, |config| config).await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let memory = Memory::now();
    let (mut ports, mut refused) = (Vec::new(), 0);
    for _ in 0..100 {
        peer.send_all((0..100).map(|_| listen("localhost", 0))).await.unwrap();
        for _ in 0..100 {
            let answer = peer
                .wait_where(|p| [number::REQUEST_SUCCESS, number::REQUEST_FAILURE].contains(&p[0]))
                .await
                .unwrap();
            match answer[0] {
                number::REQUEST_SUCCESS => {
                    ports.push(u16::try_from(Reader::after_number(&answer).u32()).unwrap());
                }
                _ => refused += 1,
            }
        }
    }
    assert_eq!((ports.len(), refused), (32, 10_000 - 32));
    peer.echo(sibling).await.unwrap();
    bystander.lives().await;
    for port in &ports {
        TcpStream::connect(local(*port)).await.unwrap();
    }
    drop(peer);
    tokio::time::timeout(SOON, async {
        for port in ports {
            while TcpStream::connect(local(port)).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await
    .expect("listeners end with their connection");
    bystander.lives().await;
    memory.grew_at_most(32);
}

async fn silent() {
    const CHANNELS: usize = 8;
    let target = Target::routed(listening, |config| {
        let mut timeouts = Timeouts::default();
        timeouts.open = Duration::from_millis(200);
        config.timeouts(timeouts).max_channels(CHANNELS)
    })
    .await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    peer.send(listen("localhost", 0)).await.unwrap();
    let answer = peer.wait_for(number::REQUEST_SUCCESS).await.unwrap();
    let port = u16::try_from(Reader::after_number(&answer).u32()).unwrap();
    peer.counts = Some(Default::default());
    for _ in 0..50 {
        let mut stream = TcpStream::connect(local(port)).await.unwrap();
        let end = tokio::time::timeout(SOON, stream.read(&mut [0; 1])).await.expect("it is closed");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    peer.echo(sibling).await.unwrap();
    let counts = peer.counts.take().unwrap();
    let opens = counts.get(&number::CHANNEL_OPEN).copied().unwrap_or_default();
    assert_eq!(opens, CHANNELS as u64 - 1, "one place is the echo's");
    bystander.lives().await;
}

async fn answers() {
    let target = Target::routed(listening, |config| config).await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    peer.send(listen("localhost", 0)).await.unwrap();
    let answer = peer.wait_for(number::REQUEST_SUCCESS).await.unwrap();
    let port = u16::try_from(Reader::after_number(&answer).u32()).unwrap();
    for round in 0..20 {
        let mut stream = TcpStream::connect(local(port)).await.unwrap();
        let open = peer.wait_for(number::CHANNEL_OPEN).await.unwrap();
        let mut reader = Reader::after_number(&open);
        assert_eq!(reader.text(), "forwarded-tcpip");
        let theirs = reader.u32();
        let confirmed =
            |ours| to_channel(number::OPEN_CONFIRMATION, theirs).u32(ours).u32(1 << 20).u32(1 << 15);
        let answers = match round % 5 {
            0 => vec![to_channel(number::OPEN_FAILURE, theirs).u32(77).string("no").string("")],
            // Once more.
            1 => vec![
                confirmed(1000 + round),
                confirmed(1000 + round),
                to_channel(number::CHANNEL_CLOSE, theirs),
            ],
            // A close comes with the confirmation.
            2 => vec![confirmed(1000 + round), to_channel(number::CHANNEL_CLOSE, theirs)],
            3 => vec![
                confirmed(1000 + round),
                to_channel(number::CHANNEL_DATA, theirs).string("data"),
                to_channel(number::CHANNEL_EOF, theirs),
                to_channel(number::CHANNEL_CLOSE, theirs),
            ],
            _ => vec![
                confirmed(1000 + round),
                to_channel(number::CHANNEL_REQUEST, theirs).string("exec").bool(false).string("echo"),
                to_channel(number::CHANNEL_CLOSE, theirs),
            ],
        };
        peer.send_all(answers).await.unwrap();
        let mut all = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut all)).await.expect("it is closed");
        assert_eq!(all, if round % 5 == 3 { &b"data"[..] } else { b"" }, "{round}");
        peer.echo(sibling).await.unwrap();
    }
    bystander.lives().await;
}

async fn opens() {
    const CHANNELS: usize = 50;
    const FLOOD: u64 = 60_000;
    let (flood, go) = tokio::sync::oneshot::channel::<()>();
    let config = serve(move |mut peer| async move {
        peer.admit().await?;
        peer.wait_for(number::GLOBAL_REQUEST).await?;
        peer.send(Payload::new(number::REQUEST_SUCCESS)).await?;
        let open = |ours: u32| {
            let open = Payload::new(number::CHANNEL_OPEN).string("forwarded-tcpip").u32(ours);
            open.u32(1 << 20).u32(1 << 15).string("localhost").u32(4711).string("192.0.2.1").u32(1)
        };
        peer.counts = Some(Default::default());
        peer.send_all((0..3000).map(open)).await?;
        // Until the client has told that it has seen all of them.
        let counted = |peer: &crate::peer::Peer, number| {
            peer.counts.as_ref().and_then(|counts| counts.get(&number).copied()).unwrap_or_default()
        };
        while counted(&peer, number::OPEN_CONFIRMATION) + counted(&peer, number::OPEN_FAILURE) < 3000 {
            peer.recv().await?;
        }
        assert_eq!(counted(&peer, number::OPEN_CONFIRMATION), CHANNELS as u64);
        let _ = go.await;
        peer.send_all((0..60_000).map(open)).await?;
        while counted(&peer, number::OPEN_FAILURE) < FLOOD + 3000 - CHANNELS as u64 {
            peer.recv().await?;
        }
        Ok(peer)
    })
    .await;
    let mut limits = Limits::default();
    limits.max_channels = CHANNELS;
    let conn = Client::new(config.limits(limits)).connect().await.unwrap();
    let memory = Memory::now();
    let listener = conn
        .tcpip_forward("localhost", 4711, |_| {
            Some(stream_fn(|mut stream| async move {
                let _ = stream.read(&mut [0; 1]).await;
            }))
        })
        .await
        .unwrap();
    tokio::time::timeout(SOON, async {
        while conn.info().await.unwrap().counters.opens_refused < 3000 - CHANNELS as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("all but these are refused");
    assert_eq!(conn.info().await.unwrap().channels.len(), CHANNELS);
    assert_eq!(conn.phase(), Phase::Up);
    flood.send(()).unwrap();
    // As fast as it may be, it ends the connection; slower, every open gets its refusal.
    tokio::time::timeout(SOON, async {
        loop {
            match conn.info().await {
                Ok(info) if info.counters.opens_refused >= FLOOD + 3000 - CHANNELS as u64 => break,
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(end) => {
                    assert!(matches!(end, ConnectionError::Expelled(_)), "{end}");
                    break;
                }
            }
        }
    })
    .await
    .expect("neither ended nor refused");
    memory.grew_at_most(32);
    drop(listener);
    tokio::time::timeout(SOON, conn.close()).await.expect("it closes");
}
