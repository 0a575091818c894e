//! Consumers that are slower than their peer: what they may hold, whom they may disturb, how they end.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, Keepalive, Limits, SlowConsumer, Timeouts};
use ractor_ssh::error::{CloseReason, OpenError, Phase};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{Client, ConnectionRef};
use tokio::sync::{oneshot, watch};

use crate::common::{
    Bulk, Echo, End, Take, alone, becomes_true, config, connect, counters, end_of, info, peak_resident,
    resident, run, soon,
};
use crate::kit::{Peer, Sshd, peer_test};

const MIB: usize = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test(
            "slow_consumer::an_unread_channel_within_its_budget_disturbs_nobody",
            SERVER,
            within_budget,
        ),
        peer_test("slow_consumer::one_that_wakes_up_in_time_loses_nothing", SERVER, wakes_up),
        peer_test("slow_consumer::the_culprit_is_ended_and_its_siblings_go_on", SERVER, culprit),
        peer_test(
            "slow_consumer::many_channels_within_their_budgets_shut_nothing_for_long",
            SERVER,
            many_small,
        ),
        peer_test("slow_consumer::a_pause_is_neither_a_dead_peer_nor_a_failed_rekey", SERVER, pause_is_ours),
        peer_test("slow_consumer::fail_ends_the_channel_at_its_budget", SERVER, fail_policy),
        peer_test("slow_consumer::an_isolated_one_has_a_connection_of_its_own", SERVER, isolated),
        peer_test(
            "slow_consumer::an_isolated_one_ends_with_the_connection_it_belongs_to",
            SERVER,
            taken_along,
        ),
        peer_test("slow_consumer::a_connection_that_ends_isolates_nothing_new", SERVER, none_at_the_end),
        alone("slow_consumer::a_gib_into_one_that_sleeps_stays_within_the_budget", gib_while_asleep),
    ]
}

fn limits(inbound_budget: usize, stall_timeout: Duration) -> Limits {
    let mut limits = Limits::default();
    limits.inbound_budget = inbound_budget;
    limits.stall_timeout = stall_timeout;
    limits
}

async fn connect_with(sshd: &Sshd, limits: Limits) -> ConnectionRef {
    Client::new(config(sshd).limits(limits)).connect().await.unwrap()
}

/// A consumer that sleeps until told otherwise.
async fn asleep(conn: &ConnectionRef, command: &str) -> (watch::Sender<bool>, oneshot::Receiver<End>) {
    let (wake, awake) = watch::channel(false);
    let (take, end) = Take::while_awake(command, awake);
    conn.session_channel(take).await.unwrap();
    (wake, end)
}

async fn gate_shuts(conn: &ConnectionRef) {
    becomes_true("reading stops", || async { counters(conn).await.pauses > 0 }).await;
}

async fn within_budget() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    let (wake, end) = asleep(&conn, "head -c 1500000 /dev/zero").await;
    becomes_true("all of it is here", || async { counters(&conn).await.unread >= 1_500_000 }).await;
    for _ in 0..100 {
        sibling.round().await;
    }
    conn.rekey().await.unwrap();
    assert_eq!(counters(&conn).await.pauses, 0);
    wake.send_replace(true);
    let (taken, _) = end_of(end).await;
    assert_eq!((taken.bytes, taken.status), (1_500_000, Some(0)));
    assert_eq!(counters(&conn).await.unread, 0, "all credit is back");
}

async fn wakes_up() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect_with(&sshd, limits(4 * MIB, Duration::from_secs(30))).await;
    let mut sibling = Echo::start(&conn).await;
    let file = sshd.directory().join("bulk");
    let sum = Bulk::new(9, 48 * MIB as u64).into_file(&file);
    let (wake, end) = asleep(&conn, &format!("cat '{}'", file.display())).await;
    gate_shuts(&conn).await;
    let held = counters(&conn).await.unread;
    assert!((4 * MIB..5 * MIB).contains(&held), "{held} bytes are held");
    assert!(!sibling.round_within(Duration::from_millis(100)).await, "the whole connection has stopped");
    wake.send_replace(true);
    let (taken, reason) = end_of(end).await;
    assert_eq!((taken.sha1, taken.status), (sum, Some(0)), "{reason}");
    sibling.catches_up().await;
    sibling.round().await;
    let counters = counters(&conn).await;
    assert_eq!((counters.unread, counters.stalled), (0, 0));
}

async fn culprit() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect_with(&sshd, limits(4 * MIB, Duration::from_secs(1))).await;
    let mut sibling = Echo::start(&conn).await;
    let start = Instant::now();
    let (wake, end) = asleep(&conn, "cat /dev/zero").await;
    gate_shuts(&conn).await;
    assert!(!sibling.round_within(Duration::from_millis(100)).await, "the whole connection has stopped");
    let culprit = info(&conn).await.channels.into_iter().max_by_key(|channel| channel.unread).unwrap();
    assert!(culprit.unread > culprit.receive_budget, "the one that holds most is over its budget");
    becomes_true("one is ended", || async { counters(&conn).await.stalled == 1 }).await;
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(1), "not before its time: {waited:?}");
    sibling.catches_up().await;
    for _ in 0..20 {
        sibling.round().await;
    }
    wake.send_replace(true);
    let (_, reason) = end_of(end).await;
    assert!(matches!(reason, CloseReason::Stalled { held, .. } if held > 2 * MIB), "{reason:?}");
    becomes_true("only the sibling is left", || async { info(&conn).await.channels.len() == 1 }).await;
    assert_eq!(counters(&conn).await.unread, 0);
    assert_eq!(run(&conn, "echo again").await.stdout, b"again\n", "the connection is as good as new");
}

/// Eight channels that together fill the connection, none of them over its own budget: the fullest goes.
async fn many_small() {
    let sshd = Sshd::builder().max_sessions(20).start().unwrap();
    let conn = connect_with(&sshd, limits(4 * MIB, Duration::from_millis(500))).await;
    let mut sibling = Echo::start(&conn).await;
    let mut sleepers = Vec::new();
    for _ in 0..8 {
        sleepers.push(asleep(&conn, "cat /dev/zero").await);
    }
    gate_shuts(&conn).await;
    becomes_true("all of them are ended", || async { counters(&conn).await.stalled == 8 }).await;
    sibling.round().await;
    for (wake, end) in sleepers {
        wake.send_replace(true);
        let (_, reason) = end_of(end).await;
        assert!(matches!(reason, CloseReason::Stalled { .. }), "{reason:?}");
    }
}

async fn pause_is_ours() {
    let sshd = Sshd::builder().start().unwrap();
    let mut timeouts = Timeouts::default();
    timeouts.rekey = Duration::from_millis(1000);
    let config = config(&sshd)
        .limits(limits(4 * MIB, Duration::from_secs(30)))
        .keepalive(Keepalive::new(Duration::from_millis(200), 3))
        .timeouts(timeouts);
    let conn = Client::new(config).connect().await.unwrap();
    let mut sibling = Echo::start(&conn).await;
    let (wake, end) = asleep(&conn, "head -c 32M /dev/zero").await;
    gate_shuts(&conn).await;
    let rekey = tokio::spawn({
        let conn = conn.clone();
        async move { conn.rekey().await }
    });
    let long = Duration::from_millis(1500);
    becomes_true("that takes longer than a dead peer would", || async {
        counters(&conn).await.paused_for > long
    })
    .await;
    assert!(!rekey.is_finished(), "no keys can be exchanged unread");
    wake.send_replace(true);
    let (taken, _) = end_of(end).await;
    assert_eq!(taken.bytes, 32 * MIB as u64);
    soon("the exchange", rekey).await.unwrap().expect("its time stood still as well");
    sibling.round().await;
    assert_eq!(counters(&conn).await.rekeys, 1);
}

async fn fail_policy() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    let (wake, awake) = watch::channel(false);
    let (take, end) = Take::while_awake("cat /dev/zero", awake);
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Fail).receive_budget(MIB);
    let channel = conn.open_channel(OpenRequest::Session, options, take).await.unwrap();
    becomes_true("it is closed", || async { channel.closed().is_some() }).await;
    sibling.round().await;
    wake.send_replace(true);
    let (_, reason) = end_of(end).await;
    let CloseReason::OverBudget { held, budget } = reason else { panic!("{reason:?}") };
    assert_eq!(budget, MIB);
    assert!((MIB..MIB + 64 * 1024).contains(&held), "{held}");
    assert_eq!(counters(&conn).await.pauses, 0);
    sibling.round().await;
}

async fn isolated() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect_with(&sshd, limits(4 * MIB, Duration::from_secs(1))).await;
    let mut sibling = Echo::start(&conn).await;
    let (wake, awake) = watch::channel(false);
    let (take, end) = Take::while_awake("cat /dev/zero", awake);
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let channel = conn.open_channel(OpenRequest::Session, options, take).await.unwrap();
    let logins = || sshd.log().matches("Accepted publickey").count();
    assert_eq!(logins(), 2, "one more connection");
    while channel.closed().is_none() {
        sibling.round().await;
    }
    assert!(matches!(channel.closed(), Some(CloseReason::Stalled { .. })), "{:?}", channel.closed());
    wake.send_replace(true);
    end_of(end).await;
    sshd.wait_for_log("closed by the application", Duration::from_secs(15)).await.unwrap();
    let info = info(&conn).await;
    assert_eq!((info.counters.pauses, info.channels.len()), (0, 1), "none of it was seen here");
    sibling.round().await;
}

async fn isolate(conn: &ConnectionRef, command: &str) -> Result<oneshot::Receiver<End>, OpenError> {
    let (_, awake) = watch::channel(true);
    let (take, end) = Take::while_awake(command, awake);
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    conn.open_channel(OpenRequest::Session, options, take).await.map(|_| end)
}

async fn taken_along() {
    let sshd = Sshd::builder().start().unwrap();
    for how in ["closed", "lost"] {
        let conn = connect(&sshd).await;
        let end = isolate(&conn, "exec sleep 1000").await.unwrap();
        if how == "closed" {
            conn.close().await;
        } else {
            // The process that serves this connection, and not the isolated channel's.
            conn.session_channel(Take::new("kill -9 $PPID").0).await.unwrap();
            conn.closed().await;
        }
        let (_, reason) = end_of(end).await;
        assert!(matches!(reason, CloseReason::Local), "{how}: {reason:?}");
    }
}

async fn none_at_the_end() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    let draining = tokio::spawn({
        let conn = conn.clone();
        async move { conn.shutdown(Duration::from_secs(30)).await }
    });
    becomes_true("the drain begins", || async { conn.phase() == Phase::Draining }).await;
    assert!(matches!(isolate(&conn, "true").await, Err(OpenError::Draining)));
    sibling.round().await;
    conn.close().await;
    draining.await.unwrap();
    assert!(matches!(isolate(&conn, "true").await, Err(OpenError::Connection(_))));
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "and none was made for it");
}

async fn gib_while_asleep() {
    let budget = 64 * MIB;
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect_with(&sshd, limits(budget, Duration::from_secs(2))).await;
    let mut sibling = Echo::start(&conn).await;
    let before = resident();
    let (wake, end) = asleep(&conn, "head -c 1G /dev/zero").await;
    let mut rounds = 0;
    while sibling.round_within(Duration::from_millis(500)).await {
        rounds += 1;
    }
    assert!(rounds > 0, "the sibling echoes until the gate shuts");
    becomes_true("the sleeper is ended", || async { counters(&conn).await.stalled == 1 }).await;
    sibling.catches_up().await;
    sibling.round().await;
    wake.send_replace(true);
    let (taken, reason) = end_of(end).await;
    assert!(matches!(reason, CloseReason::Stalled { .. }), "{reason:?}");
    assert!(taken.bytes < budget as u64, "the rest was dropped");
    let grown = peak_resident().saturating_sub(before);
    assert!(grown <= (budget + 32 * MIB) as u64, "{} MiB more in memory", grown / MIB as u64);
    becomes_true("only the sibling is left", || async { info(&conn).await.channels.len() == 1 }).await;
}
