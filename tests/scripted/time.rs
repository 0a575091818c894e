//! Clocks: dead peers, key exchanges, idle channels; and that every deadline has a default.

use ractor_ssh::config::{ChannelOptions, Keepalive, Limits, RekeyLimit, Timeouts};
use ractor_ssh::error::{CloseReason, ConnectionError, Phase};
use ractor_ssh::test_util::{ScriptConfig, scripted};
use ractor_ssh::wire::codes::DisconnectCode;
use tokio::time::{Instant, sleep};

use crate::kit::{Act, Probe, SECOND, assert_alive, closed, info, open, open_with, plain, settle, within};

#[test]
fn every_deadline_has_the_documented_default() {
    let timeouts = Timeouts::default();
    let seconds = [
        (timeouts.dial, 30),
        (timeouts.version, 10),
        (timeouts.kex, 30),
        (timeouts.auth, 120),
        (timeouts.open, 30),
        (timeouts.request, 30),
        (timeouts.send, 30),
        (timeouts.close, 10),
        (timeouts.rekey, 60),
        (timeouts.write_stall, 30),
        (Limits::default().stall_timeout, 30),
        (RekeyLimit::default().time, 3600),
        (Keepalive::default().interval, 30),
    ];
    for (limit, expected) in seconds {
        assert_eq!(limit, expected * SECOND);
    }
    assert_eq!(Keepalive::default().max_missed, 3);
    assert_eq!(RekeyLimit::default().bytes, 1 << 30);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_goes_silent_is_dead_after_interval_times_count() {
    let keepalive = Keepalive::new(10 * SECOND, 3);
    let (conn, mut peer) = scripted(ScriptConfig::new().keepalive(keepalive)).await;
    let mut channel = open(&conn, &mut peer).await;
    peer.answer_pings(false);
    let silent = Instant::now();
    match closed(&mut channel).await {
        CloseReason::Connection(ConnectionError::PeerDead { missed, .. }) => assert_eq!(missed, 2),
        other => panic!("{other:?}"),
    }
    let after = silent.elapsed();
    // The clock is looked at every two seconds or more often.
    assert!(after >= 30 * SECOND && after < 33 * SECOND, "{after:?}");
    assert!(matches!(conn.closed().await, ConnectionError::PeerDead { .. }));
    assert_eq!(peer.pings(), 2);
    peer.expect_end_of_stream().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_keepalives_stays() {
    let keepalive = Keepalive::new(10 * SECOND, 2);
    let (conn, mut peer) = scripted(ScriptConfig::new().keepalive(keepalive)).await;
    let mut channel = open(&conn, &mut peer).await;
    sleep(3600 * SECOND).await;
    assert_alive(&mut channel).await;
    let counters = info(&conn).await.counters;
    assert!(counters.keepalives_sent > 300, "{counters:?}");
    assert_eq!(counters.keepalives_answered, counters.keepalives_sent);
}

#[tokio::test(start_paused = true)]
async fn any_sign_of_life_counts_as_one() {
    let keepalive = Keepalive::new(10 * SECOND, 2);
    let (conn, mut peer) = scripted(ScriptConfig::new().keepalive(keepalive)).await;
    let mut channel = open(&conn, &mut peer).await;
    peer.answer_pings(false);
    for _ in 0..100 {
        sleep(9 * SECOND).await;
        peer.ignore(1);
    }
    assert_alive(&mut channel).await;
    assert_eq!(peer.pings(), 0, "nothing to ask a peer that speaks");
}

#[tokio::test(start_paused = true)]
async fn keepalive_can_be_switched_off() {
    let (conn, mut peer) = scripted(ScriptConfig::new().keepalive(Keepalive::off())).await;
    let mut channel = open(&conn, &mut peer).await;
    peer.answer_pings(false);
    sleep(7200 * SECOND).await;
    assert_alive(&mut channel).await;
    assert_eq!(peer.pings(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_we_have_paused_ourselves_is_not_taken_for_dead() {
    let config = ScriptConfig::new().keepalive(Keepalive::new(10 * SECOND, 2)).limits(|limits| {
        limits.inbound_budget = 1000;
        limits.stall_timeout = 3600 * SECOND;
    });
    let (conn, mut peer) = scripted(config).await;
    let (go, wait) = tokio::sync::watch::channel(false);
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(move |_, _| {
        let mut wait = wait.clone();
        Act::wait(async move { drop(wait.wait_for(|go| *go).await) })
    });
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    for _ in 0..10 {
        channel.there.data(vec![0; 500]);
    }
    sleep(1800 * SECOND).await;
    assert_eq!(conn.phase(), Phase::Up);
    assert!(info(&conn).await.counters.paused_for >= 1800 * SECOND);
    go.send(true).unwrap();
    for _ in 0..10 {
        channel.events.data().await;
    }
    assert_alive(&mut channel).await;
    peer.answer_pings(false);
    let now = Instant::now();
    conn.closed().await;
    assert!(now.elapsed() < 23 * SECOND, "and a dead one is again noticed after {:?}", now.elapsed());
}

#[tokio::test(start_paused = true)]
async fn rekey_returns_when_the_new_keys_are_in_use() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    peer.answer_rekeys(false);
    let other = conn.clone();
    let rekey = tokio::spawn(async move { other.rekey().await });
    sleep(30 * SECOND).await;
    assert!(!rekey.is_finished());
    peer.answer_rekeys(true);
    rekey.await.unwrap().unwrap();
    assert_alive(&mut channel).await;
    conn.rekey().await.unwrap();
    assert_eq!(info(&conn).await.counters.rekeys, 2);
}

#[tokio::test(start_paused = true)]
async fn a_rekey_that_is_not_finished_in_time_ends_the_connection() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    peer.answer_rekeys(false);
    let started = Instant::now();
    let error = conn.rekey().await.unwrap_err();
    assert!(matches!(error, ConnectionError::RekeyTimeout { after } if after == 60 * SECOND), "{error:?}");
    assert!(started.elapsed() < 61 * SECOND);
    let reason = closed(&mut channel).await;
    assert!(matches!(reason, CloseReason::Connection(ConnectionError::RekeyTimeout { .. })), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_are_exchanged_anew_after_the_limit_of_time() {
    let (conn, peer) = scripted(ScriptConfig::new().rekey(RekeyLimit::new(1 << 30, 600 * SECOND))).await;
    sleep(3601 * SECOND).await;
    assert!((5..=6).contains(&peer.rekeys()), "{}", peer.rekeys());
    assert_eq!(conn.phase(), Phase::Up);
}

#[tokio::test(start_paused = true)]
async fn keys_are_exchanged_anew_after_the_limit_of_bytes() {
    let (conn, mut peer) = scripted(ScriptConfig::new().rekey(RekeyLimit::new(10_000, 3600 * SECOND))).await;
    let channel = open(&conn, &mut peer).await;
    channel.there.data(vec![0; 9000]);
    sleep(5 * SECOND).await;
    assert_eq!(peer.rekeys(), 0);
    channel.there.data(vec![0; 2000]);
    sleep(5 * SECOND).await;
    assert_eq!(peer.rekeys(), 1);
    channel.there.data(vec![0; 9000]);
    sleep(5 * SECOND).await;
    assert_eq!(peer.rekeys(), 1, "counted anew");
}

#[tokio::test(start_paused = true)]
async fn a_rekey_by_the_peer_starts_our_clock_again() {
    let (conn, peer) = scripted(ScriptConfig::new().rekey(RekeyLimit::new(1 << 30, 600 * SECOND))).await;
    sleep(500 * SECOND).await;
    peer.rekey();
    sleep(500 * SECOND).await;
    assert_eq!(peer.rekeys(), 0);
    assert_eq!(info(&conn).await.counters.rekeys, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_our_own_does_not_count_against_a_rekey() {
    let config = ScriptConfig::new().limits(|limits| {
        limits.inbound_budget = 1000;
        limits.stall_timeout = 3600 * SECOND;
    });
    let (conn, mut peer) = scripted(config).await;
    let (go, wait) = tokio::sync::watch::channel(false);
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(move |_, _| {
        let mut wait = wait.clone();
        Act::wait(async move { drop(wait.wait_for(|go| *go).await) })
    });
    let channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.there.data(vec![0; 2000]);
    settle().await;
    let other = conn.clone();
    let rekey = tokio::spawn(async move { other.rekey().await });
    sleep(300 * SECOND).await;
    assert_eq!(conn.phase(), Phase::Up);
    go.send(true).unwrap();
    within(SECOND, rekey).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn how_long_a_channel_was_idle_can_be_seen() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    sleep(100 * SECOND).await;
    assert!(info(&conn).await.channels[0].idle >= 100 * SECOND);
    channel.there.data("x");
    assert!(info(&conn).await.channels[0].idle < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_channel_is_ended_politely_and_says_why() {
    let (conn, mut peer) = scripted(ScriptConfig::new().idle_timeouts(10 * SECOND, 100 * SECOND)).await;
    let start = Instant::now();
    let mut channel = open(&conn, &mut peer).await;
    sleep(1000 * SECOND).await;
    assert_alive(&mut channel).await;
    assert!(info(&conn).await.idle < SECOND);
    channel.here.close();
    channel.there.close();
    sleep(50 * SECOND).await;
    assert!(info(&conn).await.idle >= 50 * SECOND);
    let (code, text) = peer.expect_disconnect().await;
    assert_eq!(code, DisconnectCode::BY_APPLICATION);
    assert!(text.contains("no channel"), "{text}");
    assert!(start.elapsed() >= 1100 * SECOND && start.elapsed() < 1110 * SECOND);
    let reason = conn.closed().await;
    assert!(matches!(reason, ConnectionError::Idle { after } if after == 100 * SECOND), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_over_at_its_greatest_age_whatever_it_does() {
    let (conn, mut peer) = scripted(ScriptConfig::new().max_lifetime(60 * SECOND)).await;
    let mut channel = open(&conn, &mut peer).await;
    let (code, _) = peer.expect_disconnect().await;
    assert_eq!(code, DisconnectCode::BY_APPLICATION);
    let reason = closed(&mut channel).await;
    assert!(
        matches!(reason, CloseReason::Connection(ConnectionError::Expired { after }) if after == 60 * SECOND)
    );
}
