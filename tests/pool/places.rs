//! Places: how many a server has, who gets them, and when they are free again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use libtest_mimic::Trial;
use ractor_ssh::error::OpenError;
use ractor_ssh::pool::Host;
use ractor_ssh::session::{Child, CommandError};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{Pool, PoolConfig};

use crate::kit::{Peer, peer_test};
use crate::support::{Served, becomes_true, client, echo, soon, sshd};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("places::two_hundred_callers_on_three_sessions_are_all_served", real, two_hundred),
        peer_test("places::a_limit_is_learned_from_refusals_and_kept", real, learned),
        peer_test("places::one_session_at_a_time_is_never_refused", real, one_at_a_time),
        peer_test("places::a_place_is_free_when_the_channel_is_over_at_the_peer", real, free_at_the_peer),
        peer_test(
            "places::a_process_that_does_not_end_keeps_its_place_until_its_connection_is_replaced",
            real,
            lingers,
        ),
        peer_test("places::more_connections_are_made_when_one_is_full", real, grows),
        peer_test("places::callers_are_served_in_the_order_they_came", [], in_order),
        peer_test("places::who_goes_away_gives_the_turn_to_the_next", [], gone_away),
        peer_test("places::a_full_queue_turns_callers_away_at_once", [], full_queue),
        peer_test("places::who_is_put_back_is_not_turned_away", real, put_back),
        peer_test("places::waiting_for_a_connection_of_its_own_is_waiting", [], waiting_isolated),
        peer_test("places::waiting_has_a_deadline_that_says_what_for", [], deadline),
        peer_test("places::other_channels_than_sessions_need_no_place_of_theirs", real, no_session),
        peer_test("places::isolated_channels_have_connections_of_their_own_and_are_counted", [], isolated),
    ]
}

/// A command that runs until its channel is closed.
async fn hold(host: &Host) -> Child {
    soon("a place", host.exec("cat").spawn()).await.unwrap()
}

async fn two_hundred() {
    let sshd = sshd(3);
    let pool = Pool::new(PoolConfig::new().max_connections(1)).unwrap();
    let host = pool.get(client(&sshd));
    let mut running: FuturesUnordered<_> = (0..200)
        .map(|number| {
            let host = host.clone();
            async move { (number, host.exec(format!("echo {number}")).output().await) }
        })
        .collect();
    let mut served = 0;
    while let Some((number, output)) = soon("the next one", running.next()).await {
        assert_eq!(output.unwrap().stdout_text(), format!("{number}\n"));
        served += 1;
    }
    assert_eq!(served, 200);
    let info = host.info();
    assert_eq!((info.connections.len(), info.counters.connections), (1, 1), "{info:#?}");
    assert!(info.learned.is_some_and(|learned| (1..=3).contains(&learned)), "{info:#?}");
    assert_eq!(info.counters.granted, 200 + info.counters.put_back);
    pool.close().await;
}

async fn learned() {
    let sshd = sshd(3);
    let pool = Pool::new(PoolConfig::new().max_connections(1)).unwrap();
    let host = pool.get(client(&sshd));
    let calls: Vec<_> = (0..10).map(|_| host.exec("cat").spawn()).collect();
    let mut calls: FuturesUnordered<_> = calls.into_iter().collect();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(soon("a place", calls.next()).await.unwrap().unwrap());
    }
    becomes_true("the others wait", || host.info().waiting == 7).await;
    let info = host.info();
    assert_eq!((info.learned, info.limit), (Some(3), 3), "{info:#?}");
    let refused = info.counters.put_back;
    // Each ends by itself, and the server says so.
    while let Some(mut child) = held.pop() {
        soon("its end", child.wait()).await.unwrap();
        held.extend(soon("a place", calls.next()).await.transpose().unwrap());
    }
    let info = host.info();
    assert_eq!(info.counters.put_back, refused, "nobody was refused any more: {info:#?}");
    assert_eq!(info.learned, Some(3));
    pool.close().await;
}

async fn one_at_a_time() {
    let sshd = sshd(1);
    let pool = Pool::new(PoolConfig::new().sessions_per_connection(1).max_connections(1)).unwrap();
    let host = pool.get(client(&sshd));
    for number in 0..60 {
        let output = soon("output", host.exec(format!("echo {number}")).output()).await.unwrap();
        assert_eq!(output.stdout_text(), format!("{number}\n"));
    }
    assert_eq!(host.info().counters.put_back, 0);
    assert_eq!(sshd.log().matches("no more sessions").count(), 0);
    pool.close().await;
}

async fn free_at_the_peer() {
    let sshd = sshd(2);
    let pool = Pool::new(PoolConfig::new().sessions_per_connection(2).max_connections(1)).unwrap();
    let host = pool.get(client(&sshd));
    // We close first here, and the server counts the session until its process has ended.
    for _ in 0..50 {
        let (one, two) = (hold(&host).await, hold(&host).await);
        assert_eq!(host.info().connections[0].sessions, 2);
        drop((one, two));
    }
    let info = host.info();
    assert_eq!((info.limit, info.counters.connections), (2, 1), "{info:#?}");
    pool.close().await;
}

async fn lingers() {
    let sshd = sshd(2);
    let pool = Pool::new(PoolConfig::new().sessions_per_connection(2).max_connections(1)).unwrap();
    let host = pool.get(client(&sshd));
    for _ in 0..2 {
        let child = soon("a place", host.exec("exec sleep 600").spawn()).await.unwrap();
        child.hang_up();
        drop(child);
    }
    becomes_true("both channels are over here", || host.info().connections[0].sessions == 0).await;
    let output = soon("a place elsewhere", host.exec("echo served").output()).await.unwrap();
    assert_eq!(output.stdout_text(), "served\n");
    let info = host.info();
    assert_eq!((info.counters.evictions, info.counters.connections, info.limit), (1, 2, 2), "{info:#?}");
    pool.close().await;
}

async fn grows() {
    let sshd = sshd(2);
    let pool = Pool::new(PoolConfig::new().max_connections(3)).unwrap();
    let host = pool.get(client(&sshd));
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(hold(&host).await);
    }
    assert_eq!(host.info().connections.len(), 3);
    let seventh = host.exec("cat").spawn();
    tokio::pin!(seventh);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut seventh).await.is_err(),
        "there are no more"
    );
    held.pop();
    drop(soon("the place of another", seventh).await.unwrap());
    assert_eq!(host.info().connections.len(), 3);
    pool.close().await;
}

async fn in_order() {
    let served = Served::echo().await;
    let pool = Pool::new(PoolConfig::new().sessions_per_connection(1).max_connections(1)).unwrap();
    let host = pool.get(served.client());
    host.exec("first").output().await.unwrap();
    let next = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let (host, next) = (host.clone(), Arc::clone(&next));
            let call = async move {
                host.exec("turn").output().await.unwrap();
                assert_eq!(next.fetch_add(1, Ordering::SeqCst), number);
            };
            Box::pin(call)
        })
        .collect();
    // Each is polled once, in order, before any can be done.
    soon("all", futures::future::join_all(calls)).await;
    pool.close().await;
}

async fn gone_away() {
    let served = Served::start(ractor_ssh::Router::new().exec_stream_fn(|_, mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        0
    }))
    .await;
    let pool = Pool::new(PoolConfig::new().sessions_per_connection(1).max_connections(1)).unwrap();
    let host = pool.get(served.client());
    for round in 0..20 {
        let holder = hold(&host).await;
        let mut waiting: Vec<_> = (0..5)
            .map(|_| {
                let host = host.clone();
                tokio::spawn(async move { host.exec("x").spawn().await.map(drop) })
            })
            .collect();
        becomes_true("all wait", || host.info().waiting == 5).await;
        let last = waiting.pop().unwrap();
        waiting.iter().for_each(|call| call.abort());
        for call in waiting {
            assert!(call.await.unwrap_err().is_cancelled(), "round {round}");
        }
        assert_eq!(host.info().waiting, 1);
        drop(holder);
        soon("the turn of those who went", last).await.unwrap().unwrap();
    }
    becomes_true("no place is lost", || {
        let info = host.info();
        info.connections[0].sessions == info.connections[0].settling
    })
    .await;
    pool.close().await;
}

async fn full_queue() {
    let served = Served::start(ractor_ssh::Router::new().exec_stream_fn(|_, mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        0
    }))
    .await;
    let config = PoolConfig::new().sessions_per_connection(1).max_connections(1).max_waiting(2);
    let pool = Pool::new(config).unwrap();
    let host = pool.get(served.client());
    let holder = hold(&host).await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.exec("x").spawn().await.map(drop) })
        })
        .collect();
    becomes_true("two wait", || host.info().waiting == 2).await;
    match host.exec("x").output().await {
        Err(CommandError::Open(error @ OpenError::QueueFull { bound: 2 })) => assert!(error.is_retryable()),
        other => panic!("{other:?}"),
    }
    drop(holder);
    for call in waiting {
        soon("those who waited", call).await.unwrap().unwrap();
    }
    assert_eq!(host.info().counters.turned_away, 1);
    pool.close().await;
}

async fn deadline() {
    let served = Served::start(ractor_ssh::Router::new().exec_stream_fn(|_, mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        0
    }))
    .await;
    let limit = Duration::from_millis(200);
    let config = PoolConfig::new().sessions_per_connection(1).max_connections(1).wait(limit);
    let pool = Pool::new(config).unwrap();
    let host = pool.get(served.client());
    let _holder = hold(&host).await;
    match soon("the deadline", host.exec("x").output()).await {
        Err(CommandError::Open(OpenError::NoTurn { after, why })) => {
            assert_eq!(after, limit);
            assert_eq!(&*why, "connection 1 has 1 of 1 sessions");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((host.info().counters.timed_out, host.info().waiting), (1, 0));
    pool.close().await;
}

async fn no_session() {
    let sshd = sshd(1);
    let pool = Pool::new(PoolConfig::new().sessions_per_connection(1).max_connections(1)).unwrap();
    let host = pool.get(client(&sshd));
    let _holder = hold(&host).await;
    let request = OpenRequest::DirectTcpip {
        host: "127.0.0.1".into(),
        port: sshd.port(),
        originator_host: "127.0.0.1".into(),
        originator_port: 0,
    };
    let session = tokio::spawn(host.exec("true").status());
    becomes_true("a session waits for a place", || host.info().waiting == 1).await;
    let connection = soon("connection", host.connection()).await.unwrap();
    let mut stream = soon("stream", connection.open_stream(request, Default::default())).await.unwrap();
    let mut greeting = [0; 8];
    soon("greeting", tokio::io::AsyncReadExt::read_exact(&mut stream, &mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"SSH-2.0-");
    drop(stream);
    assert_eq!(host.info().waiting, 1, "the session still waits");
    session.abort();
    pool.close().await;
}

async fn isolated() {
    use ractor_ssh::config::{ChannelOptions, SlowConsumer};
    let served = Served::with(echo(), |config| config).await;
    let pool = Pool::new(PoolConfig::new().max_isolated(1)).unwrap();
    let host = pool.get(served.client());
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    host.exec("shared").output().await.unwrap();
    for _ in 0..5 {
        let (one, two) = tokio::join!(
            host.exec("one").options(options.clone()).output(),
            host.exec("two").options(options.clone()).output(),
        );
        assert_eq!((&*one.unwrap().stdout_text(), &*two.unwrap().stdout_text()), ("one", "two"));
    }
    becomes_true("nothing of them is left", || host.info().isolated == 0).await;
    let info = host.info();
    assert_eq!((info.counters.isolated, info.connections.len()), (10, 1), "{info:#?}");
    becomes_true("their connections are closed", || served.daemon.info().connections == 1).await;
    pool.close().await;
}

async fn put_back() {
    let sshd = sshd(2);
    let pool = Pool::new(PoolConfig::new().max_connections(1).max_waiting(1)).unwrap();
    let host = pool.get(client(&sshd));
    soon("a connection", host.exec("true").status()).await.unwrap();
    // All of them get a place at once; most are refused by the server.
    let calls = futures::future::join_all((0..8).map(|_| host.exec("sleep 0.1").status()));
    for outcome in soon("all of them", calls).await {
        assert!(outcome.unwrap().success());
    }
    let counters = host.info().counters;
    assert!(counters.put_back > 1 && counters.turned_away == 0, "{counters:?}");
    pool.close().await;
}

async fn waiting_isolated() {
    use ractor_ssh::config::{ChannelOptions, SlowConsumer};
    let served = Served::start(ractor_ssh::Router::new().exec_stream_fn(|_, mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        0
    }))
    .await;
    let limit = Duration::from_millis(500);
    let pool = Pool::new(PoolConfig::new().max_isolated(1).max_waiting(1).wait(limit)).unwrap();
    let host = pool.get(served.client());
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let call = || host.exec("x").options(options.clone()).spawn();
    let holder = soon("a connection", call()).await.unwrap();
    let waiting = tokio::spawn(call());
    becomes_true("it is seen to wait", || host.info().waiting_isolated == 1).await;
    match call().await {
        Err(CommandError::Open(OpenError::QueueFull { bound: 1 })) => {}
        other => panic!("{other:?}"),
    }
    match soon("the deadline", waiting).await.unwrap() {
        Err(CommandError::Open(OpenError::NoTurn { why, .. })) => {
            assert_eq!(&*why, "1 of 1 isolated channels are there or being made");
        }
        other => panic!("{other:?}"),
    }
    let info = host.info();
    assert_eq!(
        (info.waiting_isolated, info.counters.turned_away, info.counters.timed_out),
        (0, 1, 1),
        "{info:#?}"
    );
    drop(holder);
    drop(soon("its turn", call()).await.unwrap());
    pool.close().await;
}
