//! Who shares connections, how many are made at a time, and what there is to see.

use std::time::{Duration, Instant};

use futures::future::join_all;
use libtest_mimic::Trial;
use ractor_ssh::error::{ConnectionError, OpenError};
use ractor_ssh::session::CommandError;
use ractor_ssh::{Client, ClientConfig, Pool, PoolConfig};

use crate::kit::peer_test;
use crate::support::{SOON, Served, becomes_true, silent, soon};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("hosts::a_client_and_its_clones_share_connections_and_nobody_else_does", [], identities),
        peer_test("hosts::identities_with_one_name_share_connections_where_the_target_is_one", [], names),
        peer_test("hosts::nothing_is_connected_before_it_is_needed", [], lazy),
        peer_test("hosts::handshakes_with_one_host_are_limited", [], handshakes_of_a_host),
        peer_test("hosts::handshakes_in_all_are_limited", [], handshakes_in_all),
        peer_test("hosts::a_silent_host_holds_nobody_else_up", [], silent_host),
        peer_test("hosts::callers_hear_at_once_that_a_connection_cannot_be_made_for_good", [], for_good),
        peer_test("hosts::a_hundred_hosts_are_kept_apart", [], hundred),
        peer_test("hosts::hosts_that_nobody_needs_are_forgotten", [], forgotten),
        peer_test("hosts::what_a_forgotten_host_leaves_to_drop_may_use_the_pool", [], drops),
        peer_test("hosts::wrong_values_are_named", [], wrong_values),
    ]
}

async fn identities() {
    let served = Served::echo().await;
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let client = served.client();
    assert_eq!(pool.get(&client), pool.get(client.clone()));
    for _ in 0..3 {
        pool.get(&client).exec("x").output().await.unwrap();
    }
    assert_eq!(served.daemon.info().connections, 1);
    // The same key for the same user at the same host; but nobody has said that it is the same identity.
    let other = pool.get(served.client());
    assert_ne!(other, pool.get(client));
    other.exec("x").output().await.unwrap();
    assert_eq!((served.daemon.info().connections, pool.info().hosts.len()), (2, 2));
    pool.close().await;
}

async fn names() {
    let (one, two) = (Served::echo().await, Served::echo().await);
    let pool = Pool::new(PoolConfig::new()).unwrap();
    for _ in 0..3 {
        pool.get_as("deploy", one.config()).exec("x").output().await.unwrap();
    }
    assert_eq!((one.daemon.info().connections, pool.info().hosts.len()), (1, 1));
    pool.get_as("deploy", two.config()).exec("x").output().await.unwrap();
    pool.get_as("backup", one.config()).exec("x").output().await.unwrap();
    assert_eq!(pool.info().hosts.len(), 3);
    assert_eq!((one.daemon.info().connections, two.daemon.info().connections), (2, 1));
    let client = one.client();
    assert_ne!(pool.get(&client), pool.get_as("deploy", &client), "a name is never guessed");
    let elsewhere = one.config().dial_with(|| tokio::net::TcpStream::connect("127.0.0.1:1"));
    assert_eq!(pool.get_as("a", elsewhere.clone()), pool.get_as("a", elsewhere.clone()));
    assert_ne!(pool.get_as("deploy", elsewhere), pool.get_as("deploy", one.config()));
    pool.close().await;
}

async fn lazy() {
    let served = Served::echo().await;
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let host = pool.get(served.client());
    let command = host.exec("x");
    tokio::task::yield_now().await;
    assert_eq!((host.info().counters.connections, served.daemon.info().connections), (0, 0));
    command.output().await.unwrap();
    assert_eq!((host.info().counters.connections, served.daemon.info().connections), (1, 1));
    pool.close().await;
}

async fn handshakes_of_a_host() {
    let (_holding, config) = silent().await;
    let config_of_pool =
        PoolConfig::new().max_handshakes_per_host(2).sessions_per_connection(1).max_connections(10);
    let pool = Pool::new(config_of_pool).unwrap();
    let host = pool.get(config);
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.exec("x").output().await })
        })
        .collect();
    becomes_true("all connections are begun", || host.info().connections.len() == 10).await;
    becomes_true("two shake hands", || host.info().handshakes == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((host.info().handshakes, pool.info().handshakes), (2, 2));
    soon("close", pool.close()).await;
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, CommandError::Open(OpenError::PoolClosed)), "{error}");
    }
    assert_eq!(pool.info().handshakes, 0);
}

async fn handshakes_in_all() {
    let pool = Pool::new(PoolConfig::new().max_handshakes(3)).unwrap();
    let mut kept = Vec::new();
    for _ in 0..8 {
        let (holding, config) = silent().await;
        let host = pool.get(config);
        kept.push((holding, tokio::spawn(async move { host.exec("x").output().await })));
    }
    becomes_true("three shake hands", || pool.info().handshakes == 3).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(pool.info().handshakes, 3);
    soon("close", pool.close()).await;
    for (_, call) in kept {
        call.await.unwrap().unwrap_err();
    }
}

async fn silent_host() {
    let (_holding, config) = silent().await;
    let served = Served::echo().await;
    let pool = Pool::new(PoolConfig::new().max_handshakes(3).max_handshakes_per_host(2)).unwrap();
    let quiet = pool.get(config);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let quiet = quiet.clone();
            tokio::spawn(async move { quiet.exec("x").output().await })
        })
        .collect();
    becomes_true("its handshakes are all taken", || quiet.info().handshakes == 2).await;
    let began = Instant::now();
    soon("the other host", pool.get(served.client()).exec("x").output()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    soon("close", pool.close()).await;
    for call in waiting {
        call.await.unwrap().unwrap_err();
    }
}

async fn for_good() {
    use ractor_ssh::host_key::HostKeyPolicy;
    use ractor_ssh::wire::keys::generate_ed25519;
    let served = Served::echo().await;
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let other_key = generate_ed25519().public_key().clone();
    let host = pool.get(served.config().host_key(HostKeyPolicy::pinned([other_key])));
    let calls = join_all((0..20).map(|_| host.exec("x").output()));
    for outcome in soon("all of them", calls).await {
        match outcome.unwrap_err() {
            CommandError::Open(error @ OpenError::Connection(ConnectionError::Abandoned(_))) => {
                assert!(!error.is_retryable());
            }
            other => panic!("{other}"),
        }
    }
    let tries = host.info().counters.connections;
    assert!(tries <= 4, "{tries} for 20 callers");
    becomes_true("nothing is under way", || host.info().connections.is_empty()).await;
    // Who comes later has it tried again: somebody may have changed something.
    soon("one more", host.exec("x").output()).await.unwrap_err();
    assert_eq!(host.info().counters.connections, tries + 1);
    pool.close().await;
}

async fn hundred() {
    let daemons = join_all((0..10).map(|_| Served::echo())).await;
    let pool = Pool::new(PoolConfig::new().max_handshakes(8)).unwrap();
    let calls = (0..100).flat_map(|number| {
        let host = pool.get(daemons[number % 10].client());
        (0..3).map(move |_| {
            let host = host.clone();
            async move { (number, host.exec(format!("{number}")).output().await) }
        })
    });
    for (number, output) in soon("all hosts", join_all(calls)).await {
        assert_eq!(output.unwrap().stdout_text(), format!("{number}"));
    }
    let info = pool.info();
    assert_eq!((info.hosts.len(), info.counters.connections, info.counters.granted), (100, 100, 300));
    soon("close", pool.close()).await;
    becomes_true("no daemon has a connection", || {
        daemons.iter().all(|served| served.daemon.info().connections == 0)
    })
    .await;
}

async fn forgotten() {
    let served = Served::echo().await;
    let pool = Pool::new(PoolConfig::new().idle(Duration::from_millis(20))).unwrap();
    for _ in 0..300 {
        pool.get(served.client()).exec("x").output().await.unwrap();
    }
    let _ = pool.get(served.client());
    let info = pool.info();
    assert!(info.hosts.len() < 200, "{} hosts are kept", info.hosts.len());
    assert_eq!(info.counters.granted, 300, "their counters are");
    pool.close().await;
}

async fn wrong_values() {
    for (config, field) in [
        (PoolConfig::new().sessions_per_connection(0), "sessions_per_connection"),
        (PoolConfig::new().max_connections(0), "max_connections"),
        (PoolConfig::new().max_isolated(0), "max_isolated"),
        (PoolConfig::new().max_handshakes(0), "max_handshakes"),
        (PoolConfig::new().max_handshakes_per_host(0), "max_handshakes_per_host"),
        (PoolConfig::new().max_failed_opens(0), "max_failed_opens"),
        (PoolConfig::new().max_stalls(0), "max_stalls"),
    ] {
        assert_eq!(Pool::new(config).unwrap_err().field, field);
    }
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let nobody = pool.get(Client::new(ClientConfig::new("127.0.0.1", "")));
    let began = Instant::now();
    match nobody.exec("x").output().await {
        Err(CommandError::Open(OpenError::Config(error))) => assert_eq!(error.field, "user"),
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() < SOON);
    pool.close().await;
}

/// Something of a user's in a configuration.
struct Looks(Pool);

impl Drop for Looks {
    fn drop(&mut self) {
        assert!(!self.0.info().is_closed);
    }
}

async fn drops() {
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let (done, is_done) = tokio::sync::oneshot::channel();
    // A thread of its own: if it cannot go on, the test can.
    std::thread::spawn(move || {
        for _ in 0..100 {
            let looks = Looks(pool.clone());
            let config = ClientConfig::new("127.0.0.1", "nobody").dial_with(move || {
                let _looks = &looks;
                std::future::pending::<std::io::Result<tokio::net::TcpStream>>()
            });
            drop(pool.get(config));
        }
        done.send(pool.info().hosts.len())
    });
    let hosts = soon("all hosts", is_done).await.unwrap();
    assert!(hosts < 100, "{hosts} are kept");
}
