//! The end of a pool, in whatever it is at.

use std::time::{Duration, Instant};

use futures::future::join_all;
use libtest_mimic::Trial;
use ractor_ssh::auth::Auth;
use ractor_ssh::config::{ChannelOptions, SlowConsumer, Timeouts};
use ractor_ssh::error::OpenError;
use ractor_ssh::session::CommandError;
use ractor_ssh::{Client, ClientConfig, Pool, PoolConfig, Router};

use crate::kit::{Peer, peer_test};
use crate::support::{Served, becomes_true, client, config, silent, soon, sshd, tasks};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("endings::callers_that_wait_and_that_come_later_are_told", [], told),
        peer_test("endings::a_shutdown_lets_channels_end", real, lets_end),
        peer_test("endings::a_shutdown_ends_what_does_not_end", real, ends),
        peer_test("endings::a_shutdown_is_done_in_time_when_no_peer_answers", real, no_answer),
        peer_test("endings::a_close_hurries_a_shutdown", real, hurried),
        peer_test("endings::nothing_is_left_after_a_close_in_any_phase", real, phases),
        peer_test("endings::nothing_is_left_when_the_last_pool_is_dropped", [], dropped),
        peer_test("endings::what_runs_goes_on_when_the_last_pool_is_dropped", real, runs_on),
        peer_test("endings::ends_are_idempotent", real, idempotent),
        peer_test("endings::a_call_that_is_dropped_leaves_nothing", real, calls_dropped),
    ]
}

fn holding() -> Router {
    Router::new().exec_stream_fn(|_, mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        0
    })
}

fn is_closed(error: &CommandError) -> bool {
    matches!(error, CommandError::Open(error @ OpenError::PoolClosed) if !error.is_retryable())
}

/// What was there before is all there is.
async fn nothing_left(before: usize) {
    becomes_true("no task is left", || tasks() <= before).await;
}

async fn told() {
    let served = Served::start(holding()).await;
    let pool = Pool::new(PoolConfig::new().sessions_per_connection(1).max_connections(1)).unwrap();
    let host = pool.get(served.client());
    let _held = host.exec("x").spawn().await.unwrap();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.exec("x").output().await })
        })
        .collect();
    becomes_true("all wait", || host.info().waiting == 10).await;
    soon("close", pool.close()).await;
    for outcome in join_all(waiting).await {
        let error = outcome.unwrap().unwrap_err();
        assert!(is_closed(&error) && !error.may_have_run(), "{error}");
        assert_eq!(error.to_string(), "no channel for the command: the pool is closed");
    }
    for late in [host.clone(), pool.get(served.client())] {
        let error = soon("a late call", late.exec("x").output()).await.unwrap_err();
        assert!(is_closed(&error), "{error}");
        let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
        let error = soon("a late call", late.exec("x").options(options).output()).await.unwrap_err();
        assert!(is_closed(&error), "{error}");
        assert!(matches!(soon("a late call", late.connection()).await, Err(OpenError::PoolClosed)));
    }
    assert!(pool.info().is_closed);
}

async fn lets_end() {
    let sshd = sshd(10);
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let host = pool.get(client(&sshd));
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let shared = soon("a place", host.exec("sleep 0.5; echo done").spawn()).await.unwrap();
    let own = soon("a place", host.exec("sleep 0.5; echo done").options(options).spawn()).await.unwrap();
    let (_, shared, own) = soon("all", async {
        tokio::join!(
            pool.shutdown(Duration::from_secs(15)),
            shared.wait_with_output(),
            own.wait_with_output()
        )
    })
    .await;
    assert_eq!((&*shared.unwrap().stdout_text(), &*own.unwrap().stdout_text()), ("done\n", "done\n"));
    becomes_true("no session is left", || sshd.pids().len() == 1).await;
}

async fn ends() {
    let sshd = sshd(10);
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let host = pool.get(client(&sshd));
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let mut shared = soon("a place", host.exec("exec sleep 600").spawn()).await.unwrap();
    let mut own = soon("a place", host.exec("exec sleep 600").options(options).spawn()).await.unwrap();
    let began = Instant::now();
    soon("shutdown", pool.shutdown(Duration::from_millis(300))).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(soon("its end", shared.wait()).await.is_err());
    assert!(soon("its end", own.wait()).await.is_err());
}

async fn no_answer() {
    let (one, two) = (sshd(10), sshd(10));
    let before = tasks();
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let mut timeouts = Timeouts::default();
    timeouts.close = Duration::from_millis(500);
    let mut held = Vec::new();
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    for sshd in [&one, &two] {
        let host = pool.get(Client::new(config(sshd).timeouts(timeouts.clone())));
        held.push(soon("a place", host.exec("cat").spawn()).await.unwrap());
        held.push(soon("a place", host.exec("cat").options(options.clone()).spawn()).await.unwrap());
    }
    let _stopped = (one.stop_cont(), two.stop_cont());
    let began = Instant::now();
    soon("shutdown", pool.shutdown(Duration::from_millis(200))).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop((held, pool));
    nothing_left(before).await;
}

async fn hurried() {
    let sshd = sshd(10);
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let host = pool.get(client(&sshd));
    let _held = soon("a place", host.exec("exec sleep 600").spawn()).await.unwrap();
    let slow = pool.clone();
    let slow = tokio::spawn(async move { slow.shutdown(Duration::from_secs(600)).await });
    becomes_true("it is being shut down", || pool.info().is_closed).await;
    soon("close", pool.close()).await;
    soon("the shutdown", slow).await.unwrap();
}

/// Somebody who waits, and what the pool is at then.
async fn phases() {
    let sshd = sshd(1);
    let (_holding, silent) = silent().await;
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        ClientConfig::new("127.0.0.1", "nobody").port(listener.local_addr().unwrap().port())
    };
    let at_login = config(&sshd).auth_with(std::future::pending::<Result<Auth, ractor_ssh::BoxError>>);
    let dialling = config(&sshd).dial_with(std::future::pending::<std::io::Result<tokio::net::TcpStream>>);
    let isolated = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let shared = ChannelOptions::new();
    let cases = [
        ("dial", dialling.clone(), shared.clone()),
        ("version exchange", silent.clone(), shared.clone()),
        ("login", at_login.clone(), shared.clone()),
        ("pause", nobody, shared.clone()),
        ("up", config(&sshd), shared),
        ("isolated, dial", dialling, isolated.clone()),
        ("isolated, version exchange", silent, isolated.clone()),
        ("isolated, login", at_login, isolated.clone()),
        ("isolated, up", config(&sshd), isolated),
    ];
    let before = tasks();
    for (phase, config, options) in cases {
        for grace in [None, Some(Duration::ZERO), Some(Duration::from_millis(50))] {
            for delay in [0, 1, 5, 30, 120] {
                let pool = Pool::new(PoolConfig::new().max_connections(2).max_isolated(2)).unwrap();
                let host = pool.get(config.clone());
                let calls: Vec<_> = (0..4)
                    .map(|_| {
                        let call = host.exec("exec sleep 600").options(options.clone());
                        tokio::spawn(async move { call.output().await })
                    })
                    .collect();
                tokio::time::sleep(Duration::from_millis(delay)).await;
                let began = Instant::now();
                match grace {
                    None => soon(phase, pool.close()).await,
                    Some(grace) => soon(phase, pool.shutdown(grace)).await,
                }
                assert!(began.elapsed() < Duration::from_secs(5), "{phase}: {:?}", began.elapsed());
                for call in calls {
                    let outcome = soon("every call", call).await.unwrap();
                    assert!(outcome.is_err(), "{phase}: {outcome:?}");
                }
                assert!(host.info().connections.is_empty(), "{phase}: {:#?}", host.info());
                assert_eq!((host.info().isolated, pool.info().handshakes), (0, 0), "{phase}");
            }
        }
    }
    nothing_left(before).await;
}

async fn dropped() {
    let served = Served::echo().await;
    let (_holding, silent) = silent().await;
    let before = tasks();
    for _ in 0..10 {
        let pool = Pool::new(PoolConfig::new()).unwrap();
        let host = pool.get(served.client());
        host.exec("x").output().await.unwrap();
        let quiet = pool.get(silent.clone());
        let call = tokio::spawn(async move { quiet.exec("x").output().await });
        becomes_true("a handshake is under way", || pool.info().handshakes == 1).await;
        drop(pool);
        host.exec("a host keeps it").output().await.unwrap();
        call.abort();
        let _ = call.await;
        drop(host);
    }
    becomes_true("the server has no connection", || served.daemon.info().connections == 0).await;
    nothing_left(before).await;
}

async fn runs_on() {
    let sshd = sshd(10);
    let before = tasks();
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let child = soon("a place", pool.get(client(&sshd)).exec("read line; echo $line").spawn()).await.unwrap();
    drop(pool);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut child = child;
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"still here\n").await.unwrap();
    drop(stdin);
    let output = soon("its end", child.wait_with_output()).await.unwrap();
    assert_eq!(output.stdout_text(), "still here\n");
    becomes_true("the connection ends with it", || sshd.pids().len() == 1).await;
    nothing_left(before).await;
}

async fn idempotent() {
    let sshd = sshd(10);
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let host = pool.get(client(&sshd));
    let _held = soon("a place", host.exec("cat").spawn()).await.unwrap();
    let ends = (pool.close(), pool.shutdown(Duration::ZERO), pool.close());
    soon("all ends", async { tokio::join!(ends.0, ends.1, ends.2) }).await;
    soon("one more", pool.close()).await;
    soon("one more", pool.shutdown(Duration::from_secs(60))).await;
}

async fn calls_dropped() {
    let sshd = sshd(2);
    let pool = Pool::new(PoolConfig::new().max_connections(1)).unwrap();
    let host = pool.get(client(&sshd));
    for delay in 0..60 {
        let options = ChannelOptions::new().slow_consumer(if delay % 4 == 0 {
            SlowConsumer::Isolate
        } else {
            SlowConsumer::Pause
        });
        let call = host.exec("echo x").options(options).output();
        let _ = tokio::time::timeout(Duration::from_micros(delay * 300), call).await;
    }
    soon("a place", host.exec("true").status()).await.unwrap();
    becomes_true("no place is lost", || {
        let info = host.info();
        info.isolated == 0
            && info.waiting == 0
            && info.connections[0].sessions == info.connections[0].settling
    })
    .await;
    soon("close", pool.close()).await;
    becomes_true("no session is left", || sshd.pids().len() == 1).await;
}
