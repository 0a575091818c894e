//! The `metrics` facade: what is recorded is what is listed, and it agrees with what happened. Both ends in one
//! process, on one thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation ends the test")]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

mod system;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{ChannelSpec, ManagedSpec, Pool, PoolConfig, metrics};

use system::{Echo, PASSWORD, client, daemon};

/// Everything recorded since the look before, by name and labels.
struct Seen(HashMap<String, DebugValue>);

impl Seen {
    fn look(snapshotter: &Snapshotter) -> Self {
        let seen = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
            let (_, key) = key.into_parts();
            let labels: Vec<_> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            (format!("{}{{{}}}", key.name(), labels.join(",")), value)
        });
        Self(seen.collect())
    }

    fn number(&self, key: &str) -> f64 {
        match self.0.get(key) {
            Some(DebugValue::Counter(count)) => *count as f64,
            Some(DebugValue::Gauge(value)) => value.into_inner(),
            Some(DebugValue::Histogram(values)) => values.len() as f64,
            None => panic!("{key} was not recorded: {:?}", self.0.keys().collect::<Vec<_>>()),
        }
    }

    fn names(&self) -> HashSet<&str> {
        self.0.keys().filter_map(|key| key.split('{').next()).collect()
    }
}

#[tokio::test]
async fn what_happens_is_counted_under_the_names_that_are_listed() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = ::metrics::set_default_local_recorder(&recorder);

    let daemon = daemon().await;
    client(&daemon, "wrong").connect().await.unwrap_err();
    let policy = RestartPolicy::permanent().backoff(Backoff::fixed(Duration::from_millis(1)));
    let managed = client(&daemon, PASSWORD).manage(ManagedSpec::new().restart(policy.clone())).await.unwrap();
    assert!(managed.exec("one").output().await.unwrap().status.success());
    assert!(managed.exec("two").output().await.unwrap().status.success());
    let echo = managed.supervise(ChannelSpec::new(|_| Echo).restart(policy)).await.unwrap();
    echo.up().await.unwrap();
    let mut states = echo.states();
    echo.cast("planted").unwrap();
    states.wait_for(|state| matches!(state, SupervisedState::Up { incarnation: 2, .. })).await.unwrap();
    let conn = managed.connection().await.unwrap();
    let info = conn.info().await.unwrap();

    let seen = Seen::look(&snapshotter);
    for (key, value) in [
        ("ssh_connections_total{role=client}", 1.0),
        ("ssh_connections_total{role=server}", 1.0),
        ("ssh_connections{role=client}", 1.0),
        ("ssh_connections{role=server}", 1.0),
        ("ssh_connect_failures_total{phase=authentication}", 1.0),
        ("ssh_connect_seconds{}", 1.0),
        ("ssh_channels_total{role=client}", 4.0),
        ("ssh_channels_total{role=server}", 4.0),
        ("ssh_channel_open_seconds{role=client}", 4.0),
        ("ssh_channel_actors_failed_total{role=client}", 1.0),
        ("ssh_supervised_channels{}", 1.0),
        ("ssh_supervised_restarts_total{}", 1.0),
        ("ssh_managed_connections{}", 1.0),
        ("ssh_daemon_events_total{event=logins}", 1.0),
        ("ssh_daemon_events_total{event=logins_failed}", 1.0),
        ("ssh_daemon_events_total{event=connections_accepted}", 2.0),
    ] {
        assert_eq!(seen.number(key), value, "{key}");
    }
    assert_eq!(seen.number("ssh_channels_total{role=client}"), info.counters.channels_opened as f64);
    assert!(seen.number("ssh_received_bytes_total{role=client}") > 0.0);
    let listed = described();
    let unlisted: Vec<_> = seen.names().into_iter().filter(|name| !listed.contains(*name)).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");

    conn.close().await;
    let mut states = managed.states();
    states.wait_for(|state| state.is_up() && state.to_string().contains("connection 2")).await.unwrap();
    echo.stop();
    managed.shutdown(Duration::from_secs(5)).await;
    drop((echo, managed, conn));
    daemon.stop().await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let after = Seen::look(&snapshotter);
    let gauges: Vec<_> = seen
        .0
        .iter()
        .filter(|(_, value)| matches!(value, DebugValue::Gauge(_)))
        .map(|(key, _)| key)
        .collect();
    assert!(gauges.len() >= 6, "{gauges:?}");
    for gauge in gauges {
        assert_eq!(seen.number(gauge) + after.number(gauge), 0.0, "{gauge}");
    }
    assert_eq!(after.number("ssh_managed_lost_total{}"), 1.0);
    assert_eq!(after.number("ssh_connections_ended_total{role=client,end=closed}"), 2.0);
}

/// The names that `describe` tells a recorder of.
fn described() -> HashSet<String> {
    let recorder = DebuggingRecorder::new();
    ::metrics::with_local_recorder(&recorder, || {
        metrics::describe();
        // The snapshot has only what was recorded; a description alone is no record.
        recorder.snapshotter().snapshot()
    });
    let source = include_str!("../../src/metrics.rs");
    source.split('"').filter(|text| text.starts_with("ssh_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_pool_counts_is_told() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = ::metrics::set_default_local_recorder(&recorder);

    let daemon = daemon().await;
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let host = pool.get(client(&daemon, PASSWORD));
    for command in ["one", "two"] {
        assert!(host.exec(command).output().await.unwrap().status.success());
    }
    pool.shutdown(Duration::from_secs(5)).await;
    host.exec("three").output().await.unwrap_err();

    let seen = Seen::look(&snapshotter);
    for (event, count) in [("granted", 2.0), ("connections", 1.0)] {
        assert_eq!(seen.number(&format!("ssh_pool_events_total{{event={event}}}")), count, "{event}");
    }
    let counters = pool.info().counters;
    assert_eq!((counters.granted, counters.connections), (2, 1));
    daemon.stop().await;
}
