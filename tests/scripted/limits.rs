//! What one channel may hold, and what happens to it and to its siblings when it holds more.

use std::sync::Arc;
use std::time::Duration;

use ractor_ssh::config::{ChannelOptions, SlowConsumer, WindowAdjust};
use ractor_ssh::error::{CloseReason, ConfigError};
use ractor_ssh::test_util::{ScriptConfig, ScriptedPeer, scripted};
use ractor_ssh::{ConnectionRef, Credit};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};

use crate::kit::{
    Act, Channel, Probe, SECOND, Seen, assert_alive, closed, info, open, open_with, settle, within,
};

const BUDGET: usize = 10_000;

async fn small() -> (ConnectionRef, ScriptedPeer) {
    scripted(ScriptConfig::new().limits(|limits| {
        limits.inbound_budget = BUDGET;
        limits.stall_timeout = 30 * SECOND;
    }))
    .await
}

/// A channel that hangs in its first callback.
async fn stuck(conn: &ConnectionRef, peer: &mut ScriptedPeer) -> Channel {
    let (probe, events) = Probe::new();
    open_with(conn, peer, ChannelOptions::new(), probe.on_msg(|_, _| Act::Hang), events).await
}

fn flood(channel: &Channel, bytes: usize) {
    for _ in 0..bytes / 500 {
        channel.there.data(vec![0; 500]);
    }
}

/// It is alive as soon as `limit` has passed, and not before something was done about the culprit.
async fn resumes_within(limit: Duration, sibling: &mut Channel) {
    let started = Instant::now();
    within(limit, assert_alive(sibling)).await;
    assert!(started.elapsed() > SECOND, "it was not held up at all");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_channel_is_ended_and_its_siblings_go_on() {
    let (conn, mut peer) = small().await;
    let mut culprit = stuck(&conn, &mut peer).await;
    let mut sibling = open(&conn, &mut peer).await;
    flood(&culprit, 20_000);
    resumes_within(40 * SECOND, &mut sibling).await;
    culprit.there.expect_close().await;
    match culprit.here.closed() {
        Some(CloseReason::Stalled { held, after }) => {
            assert!(held >= BUDGET / 2);
            assert_eq!(after, 30 * SECOND);
        }
        other => panic!("{other:?}"),
    }
    let counters = info(&conn).await.counters;
    assert_eq!(counters.stalled, 1);
    assert!(counters.pauses >= 1 && counters.paused_for >= 30 * SECOND);
    sibling.there.data("and on");
    assert_eq!(sibling.events.data().await, "and on");
}

#[tokio::test(start_paused = true)]
async fn closed_of_a_stalled_channel_comes_once_and_says_so() {
    let (conn, mut peer) = small().await;
    let turns = Arc::new(Semaphore::new(0));
    let (probe, events) = Probe::new();
    let wait = Arc::clone(&turns);
    let probe = probe.on_msg(move |_, _| {
        let wait = Arc::clone(&wait);
        Act::wait(async move { wait.acquire().await.unwrap().forget() })
    });
    let mut culprit = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    let mut sibling = open(&conn, &mut peer).await;
    flood(&culprit, 20_000);
    resumes_within(40 * SECOND, &mut sibling).await;
    turns.add_permits(1000);
    assert!(matches!(closed(&mut culprit).await, CloseReason::Stalled { .. }));
    assert!(!culprit.here.wait().await.is_normal());
}

#[tokio::test(start_paused = true)]
async fn credit_that_outsiders_hold_cannot_keep_the_connection_shut() {
    let (conn, mut peer) = small().await;
    let (keep, mut kept) = mpsc::unbounded_channel::<Credit>();
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(move |_, ctx| {
        let _ = keep.send(ctx.hold_credit().unwrap());
        Act::Go
    });
    let mut culprit = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    let mut sibling = open(&conn, &mut peer).await;
    flood(&culprit, 20_000);
    resumes_within(40 * SECOND, &mut sibling).await;
    assert!(matches!(closed(&mut culprit).await, CloseReason::Stalled { .. }));
    while let Ok(credit) = kept.try_recv() {
        drop(credit);
    }
    assert_eq!(info(&conn).await.counters.unread, 0);
}

#[tokio::test(start_paused = true)]
async fn credit_held_of_a_channel_that_is_over_cannot_keep_the_connection_shut() {
    let (conn, mut peer) = small().await;
    let (keep, mut kept) = mpsc::unbounded_channel::<Credit>();
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(move |_, ctx| {
        let _ = keep.send(ctx.hold_credit().unwrap());
        Act::Go
    });
    let mut over = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    let mut sibling = open(&conn, &mut peer).await;
    flood(&over, 9_000);
    over.there.close();
    settle().await;
    flood(&sibling, 5_000);
    closed(&mut over).await;
    settle().await;
    let arrived = sibling.events.so_far().iter().filter(|seen| matches!(seen, Seen::Msg(_))).count();
    assert_eq!(arrived, 10, "reading did not stop");
    assert_alive(&mut sibling).await;
    assert!(kept.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn in_manual_mode_a_channel_that_returns_no_credit_is_stalled() {
    let (conn, mut peer) = small().await;
    let (probe, events) = Probe::new();
    let options = ChannelOptions::new().window_adjust(WindowAdjust::Manual);
    let mut culprit = open_with(&conn, &mut peer, options, probe, events).await;
    let mut sibling = open(&conn, &mut peer).await;
    flood(&culprit, 20_000);
    resumes_within(40 * SECOND, &mut sibling).await;
    assert!(matches!(closed(&mut culprit).await, CloseReason::Stalled { .. }));
}

#[tokio::test(start_paused = true)]
async fn there_is_a_culprit_even_when_all_hold_less_than_the_upper_mark() {
    let (conn, mut peer) = small().await;
    let turns = Arc::new(Semaphore::new(0));
    let mut channels = Vec::new();
    for _ in 0..2 {
        let (probe, events) = Probe::new();
        let wait = Arc::clone(&turns);
        let probe = probe.on_msg(move |_, _| {
            let wait = Arc::clone(&wait);
            Act::wait(async move { wait.acquire_owned().await.unwrap().forget() })
        });
        channels.push(open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await);
    }
    // Together over the mark; then a little is consumed, which is not enough to go on.
    for _ in 0..8 {
        channels[0].there.data(vec![0; 500]);
        channels[1].there.data(vec![0; 500]);
    }
    settle().await;
    turns.add_permits(2);
    assert!(info(&conn).await.counters.unread < BUDGET);
    channels[0].there.data("behind the gate");
    settle().await;
    assert!(peer.unread_messages() > 0);
    sleep(60 * SECOND).await;
    assert_eq!(peer.unread_messages(), 0, "reading goes on");
    assert!(info(&conn).await.counters.stalled >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_slow_but_below_its_share_is_not_ended() {
    let (conn, mut peer) = small().await;
    let mut slow = open(&conn, &mut peer).await;
    let culprit = stuck(&conn, &mut peer).await;
    slow.there.data("a little");
    flood(&culprit, 20_000);
    sleep(60 * SECOND).await;
    assert_eq!(slow.events.data().await, "a little");
    assert_alive(&mut slow).await;
    assert!(matches!(culprit.here.closed(), Some(CloseReason::Stalled { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_channel_alone_on_its_connection_may_be_as_slow_as_it_likes_while_it_moves() {
    let (conn, mut peer) = small().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::wait(sleep(SECOND)));
    let mut alone = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    for _ in 0..1000 {
        alone.there.data(vec![0; 500]);
    }
    for _ in 0..1000 {
        alone.events.data().await;
    }
    let now = info(&conn).await;
    assert!(now.counters.paused_for > 300 * SECOND, "{:?}", now.counters);
    assert_eq!(now.counters.stalled, 0);
    assert!(alone.here.closed().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_slow_and_takes_its_budget_in_the_stall_timeout_is_not_ended_beside_others() {
    for (pace, ended) in [(SECOND, false), (20 * SECOND, true)] {
        let (conn, mut peer) = small().await;
        let (probe, events) = Probe::new();
        let probe = probe.on_msg(move |_, _| Act::wait(sleep(pace)));
        let options = ChannelOptions::new().receive_budget(2_000);
        let slow = open_with(&conn, &mut peer, options, probe, events).await;
        let mut sibling = open(&conn, &mut peer).await;
        flood(&slow, 100_000);
        settle().await;
        sleep(120 * SECOND).await;
        let now = info(&conn).await;
        assert!(now.counters.paused_for > 30 * SECOND, "{:?}", now.counters);
        assert_eq!(now.counters.stalled, u64::from(ended), "{pace:?} a message");
        assert_eq!(matches!(slow.here.closed(), Some(CloseReason::Stalled { .. })), ended);
        slow.here.abort();
        assert_alive(&mut sibling).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_alone_that_takes_nothing_is_ended() {
    let (conn, mut peer) = small().await;
    let culprit = stuck(&conn, &mut peer).await;
    flood(&culprit, 20_000);
    sleep(40 * SECOND).await;
    assert!(matches!(culprit.here.closed(), Some(CloseReason::Stalled { .. })));
}

#[tokio::test(start_paused = true)]
async fn under_the_policy_fail_a_channel_over_its_budget_is_ended_before_it_holds_anybody_up() {
    let (conn, mut peer) = small().await;
    let (probe, events) = Probe::new();
    let options = ChannelOptions::new().receive_budget(2_000).slow_consumer(SlowConsumer::Fail);
    let culprit = open_with(&conn, &mut peer, options, probe.on_msg(|_, _| Act::Hang), events).await;
    let mut sibling = open(&conn, &mut peer).await;
    flood(&culprit, 20_000);
    within(SECOND, assert_alive(&mut sibling)).await;
    match culprit.here.closed() {
        Some(CloseReason::OverBudget { held, budget }) => assert!(held > budget && budget == 2_000),
        other => panic!("{other:?}"),
    }
    assert_eq!(info(&conn).await.counters.pauses, 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_and_capacities_of_one_still_deliver_everything() {
    let (conn, mut peer) = scripted(ScriptConfig::new().limits(|limits| {
        limits.inbound_budget = 1;
        limits.max_channels = 1;
    }))
    .await;
    let (probe, events) = Probe::new();
    let options = ChannelOptions::new().receive_budget(1).high_water(1);
    let mut channel = open_with(&conn, &mut peer, options, probe, events).await;
    for n in 0..200u32 {
        channel.there.data(n.to_be_bytes().to_vec());
        channel.there.exit_status(n);
    }
    channel.there.close();
    for n in 0..200u32 {
        assert_eq!(channel.events.data().await, n.to_be_bytes().to_vec());
        let status = channel.events.msg().await;
        assert!(matches!(status, ractor_ssh::ChannelMsg::ExitStatus { status } if status == n));
    }
    closed(&mut channel).await;
}

#[tokio::test(start_paused = true)]
async fn the_culprit_shows_in_info_while_it_holds_the_connection_up() {
    let (conn, mut peer) = small().await;
    let culprit = stuck(&conn, &mut peer).await;
    let _sibling = open(&conn, &mut peer).await;
    flood(&culprit, 20_000);
    sleep(20 * SECOND).await;
    let now = info(&conn).await;
    let held_up: Vec<_> = now.channels.iter().map(|channel| channel.held_up).collect();
    assert!(held_up[0] >= 10 * SECOND && held_up[1].is_zero(), "{held_up:?}");
    assert_eq!(now.counters.pauses, 1);
}

#[test]
fn limits_that_cannot_work_are_refused_by_name() {
    let wrong = |change: fn(&mut ractor_ssh::config::Limits)| -> ConfigError {
        let mut limits = ractor_ssh::config::Limits::default();
        change(&mut limits);
        limits.check().unwrap_err()
    };
    assert!(wrong(|l| l.max_channels = 0).to_string().contains("max_channels"));
    assert!(wrong(|l| l.inbound_budget = 0).to_string().contains("inbound_budget"));
    assert!(wrong(|l| l.outbound_budget = 0).to_string().contains("outbound_budget"));
    assert!(wrong(|l| l.window = 0).to_string().contains("window"));
    assert!(wrong(|l| l.max_packet = 0).to_string().contains("max_packet"));
    assert!(wrong(|l| l.max_packet = 70_000).to_string().contains("65535"));
}
