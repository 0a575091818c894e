//! The end of a connection: abrupt, drained, by the peer, by nobody holding it.

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{CloseReason, ConnectionError, OpenError, Phase, StopReason};
use ractor_ssh::wire::codes::DisconnectCode;
use ractor_ssh::{ChannelMsg, ConnectionRef};
use tokio::time::Instant;

use crate::kit::{
    Act, Order, Probe, SECOND, Seen, assert_alive, closed, info, open, open_window, open_with, opening,
    plain, settle, within,
};

/// The actor is gone, with all its children.
async fn assert_gone(conn: &ConnectionRef) {
    within(SECOND, conn.actor().wait(None)).await.unwrap();
    assert_eq!(conn.phase(), Phase::Down);
    assert!(conn.info().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn close_tells_every_channel_says_goodbye_and_returns_at_once() {
    let (conn, mut peer) = plain().await;
    let mut one = open(&conn, &mut peer).await;
    let mut two = open(&conn, &mut peer).await;
    let started = Instant::now();
    conn.close().await;
    assert!(started.elapsed() < SECOND);
    for channel in [&mut one, &mut two] {
        let reason = closed(channel).await;
        assert!(matches!(reason, CloseReason::Connection(ConnectionError::Closed)), "{reason:?}");
        assert!(matches!(channel.here.wait().await, StopReason::Closed(_)));
    }
    assert_eq!(peer.expect_disconnect().await.0, DisconnectCode::BY_APPLICATION);
    assert!(matches!(conn.closed().await, ConnectionError::Closed));
    assert_gone(&conn).await;
    conn.close().await;
    conn.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn close_is_done_within_its_deadline_with_a_peer_that_takes_nothing() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    peer.stop_reading(true);
    channel.here.send("stuck").await.unwrap();
    within(11 * SECOND, conn.close()).await;
    closed(&mut channel).await;
    peer.expect_end_of_stream().await;
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn close_is_done_within_its_deadline_with_an_actor_stuck_in_a_callback() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::Hang);
    let stuck = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    let mut free = open(&conn, &mut peer).await;
    stuck.there.data("x");
    settle().await;
    let started = Instant::now();
    let other = conn.clone();
    let close = tokio::spawn(async move { other.close().await });
    closed(&mut free).await;
    assert!(started.elapsed() < SECOND, "the others are told at once");
    within(11 * SECOND, close).await.unwrap();
    assert!(matches!(within(SECOND, stuck.here.wait()).await, StopReason::Killed));
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn close_is_done_within_its_deadline_while_an_open_is_unanswered() {
    let (conn, peer) = plain().await;
    peer.stop_reading(true);
    let open = opening(&conn, Probe::new().0);
    settle().await;
    within(11 * SECOND, conn.close()).await;
    assert!(matches!(open.await.unwrap(), Err(OpenError::Connection(_))));
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_channels_finish_and_opens_nothing_new() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let other = conn.clone();
    let shutdown = tokio::spawn(async move { other.shutdown(60 * SECOND).await });
    settle().await;
    assert_eq!(conn.phase(), Phase::Draining);
    let error = conn.session_channel(Probe::new().0).await.unwrap_err();
    assert!(matches!(error, OpenError::Draining), "{error:?}");
    assert_alive(&mut channel).await;
    assert!(!shutdown.is_finished());
    channel.there.exit_status(0);
    channel.there.close();
    within(SECOND, shutdown).await.unwrap();
    assert!(matches!(channel.events.msg().await, ChannelMsg::ExitStatus { .. }));
    assert!(matches!(closed(&mut channel).await, CloseReason::Peer), "it ended by itself");
    peer.expect_disconnect().await;
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn channels_left_when_the_grace_is_over_get_what_they_queued_then_eof_then_close_then_the_peer_a_goodbye()
 {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (4, 100)).await;
    channel.here.send("the last words").await.unwrap();
    let started = Instant::now();
    let other = conn.clone();
    let shutdown = tokio::spawn(async move { other.shutdown(5 * SECOND).await });
    assert_eq!(channel.there.expect_bytes(4).await, "the ");
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(channel.there.try_next(), None, "the window is empty");
    channel.there.adjust_window(100);
    assert_eq!(channel.there.expect_bytes(10).await, "last words");
    channel.there.expect_eof().await;
    channel.there.expect_close().await;
    channel.there.close();
    within(SECOND, shutdown).await.unwrap();
    assert!(started.elapsed() >= 6 * SECOND && started.elapsed() < 7 * SECOND, "{:?}", started.elapsed());
    let reason = closed(&mut channel).await;
    assert!(matches!(reason, CloseReason::Connection(ConnectionError::Closed)), "{reason:?}");
    peer.expect_disconnect().await;
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_close_after_the_grace_holds_nobody_up_beyond_the_close_timeout() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    peer.answer_pings(false);
    let started = Instant::now();
    conn.shutdown(5 * SECOND).await;
    assert!(started.elapsed() >= 5 * SECOND && started.elapsed() <= 15 * SECOND, "{:?}", started.elapsed());
    closed(&mut channel).await;
    peer.expect_disconnect().await;
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_done_within_grace_and_close_timeout_whatever_the_peer_and_the_behaviours_do() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::Hang).on_terminate(Act::Hang);
    let stuck = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    let unread = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    unread.here.send("never read").await.unwrap();
    stuck.there.data("x");
    settle().await;
    peer.stop_reading(true);
    within(16 * SECOND, conn.shutdown(5 * SECOND)).await;
    within(SECOND, stuck.here.wait()).await;
    within(SECOND, unread.here.wait()).await;
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_of_an_idle_connection_is_immediate() {
    let (conn, mut peer) = plain().await;
    within(SECOND, conn.shutdown(600 * SECOND)).await;
    peer.expect_disconnect().await;
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_can_only_make_it_shorter_and_close_cuts_it_short() {
    let (conn, mut peer) = plain().await;
    let _channel = open(&conn, &mut peer).await;
    let first = conn.clone();
    let first = tokio::spawn(async move { first.shutdown(600 * SECOND).await });
    settle().await;
    let longer = conn.clone();
    let longer = tokio::spawn(async move { longer.shutdown(6000 * SECOND).await });
    settle().await;
    let shorter = conn.clone();
    let shorter = tokio::spawn(async move { shorter.shutdown(300 * SECOND).await });
    tokio::time::sleep(100 * SECOND).await;
    assert!(!first.is_finished() && !longer.is_finished() && !shorter.is_finished());
    within(SECOND, conn.close()).await;
    for task in [first, longer, shorter] {
        within(SECOND, task).await.unwrap();
    }
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_during_shutdown_ends_it_at_once() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let other = conn.clone();
    let shutdown = tokio::spawn(async move { other.shutdown(600 * SECOND).await });
    settle().await;
    peer.vanish();
    within(SECOND, shutdown).await.unwrap();
    let reason = closed(&mut channel).await;
    assert!(matches!(reason, CloseReason::Connection(ConnectionError::Lost(_))), "{reason:?}");
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn behaviours_can_close_their_connection_without_deadlock() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    let other = conn.clone();
    channel.here.cast(Order::new(move |_| Act::wait(async move { other.close().await }))).unwrap();
    within(11 * SECOND, conn.closed()).await;
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_dropped_ends_an_idle_connection() {
    let (conn, mut peer) = plain().await;
    let actor = conn.actor();
    let second = conn.clone();
    drop(conn);
    settle().await;
    assert_eq!(second.phase(), Phase::Up);
    drop(second);
    assert_eq!(peer.expect_disconnect().await.0, DisconnectCode::BY_APPLICATION);
    within(SECOND, actor.wait(None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_dropped_leaves_running_channels_alone() {
    let (conn, mut peer) = plain().await;
    let actor = conn.actor();
    let mut channel = open(&conn, &mut peer).await;
    drop(conn);
    tokio::time::sleep(60 * SECOND).await;
    assert_alive(&mut channel).await;
    channel.there.close();
    closed(&mut channel).await;
    peer.expect_disconnect().await;
    within(SECOND, actor.wait(None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handle_dropped_while_opening_leaves_the_open_alone() {
    let (conn, mut peer) = plain().await;
    let (probe, mut events) = Probe::new();
    let opens = opening(&conn, probe);
    drop(conn);
    let pending = peer.expect_open().await;
    let there = pending.confirm();
    opens.await.unwrap().unwrap();
    there.data("x");
    assert_eq!(events.data().await, "x");
}

#[tokio::test(start_paused = true)]
async fn phases_can_be_followed_to_the_end() {
    let (conn, mut peer) = plain().await;
    let mut phases = conn.phases();
    assert_eq!(phases.borrow_and_update().phase, Phase::Up);
    let _channel = open(&conn, &mut peer).await;
    let other = conn.clone();
    let shutdown = tokio::spawn(async move { other.shutdown(5 * SECOND).await });
    phases.changed().await.unwrap();
    assert_eq!(phases.borrow_and_update().phase, Phase::Draining);
    phases.changed().await.unwrap();
    {
        let last = phases.borrow_and_update();
        assert_eq!(last.phase, Phase::Down);
        assert!(matches!(last.reason, Some(ConnectionError::Closed)));
    }
    shutdown.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_down_at_once_even_with_an_actor_stuck_in_a_callback() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::Hang);
    let stuck = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    stuck.there.data("x");
    settle().await;
    peer.vanish();
    assert!(matches!(within(SECOND, conn.closed()).await, ConnectionError::Lost(_)));
    within(SECOND, conn.close()).await;
}

#[tokio::test(start_paused = true)]
async fn channel_actors_have_ended_when_close_returns() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_terminate(Act::wait(tokio::time::sleep(3 * SECOND)));
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    let started = Instant::now();
    conn.close().await;
    assert!(started.elapsed() >= 3 * SECOND, "{:?}", started.elapsed());
    let seen = channel.events.so_far();
    assert!(matches!(seen.last(), Some(Seen::Terminate(_))));
    assert!(matches!(within(SECOND, channel.here.wait()).await, StopReason::Closed(_)));
    assert_gone(&conn).await;
}

#[tokio::test(start_paused = true)]
async fn counters_still_make_sense_while_draining() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let other = conn.clone();
    tokio::spawn(async move { other.shutdown(60 * SECOND).await });
    let now = info(&conn).await;
    assert_eq!(now.phase, Phase::Draining);
    assert_eq!(now.channels.len(), 1);
    channel.there.close();
    closed(&mut channel).await;
}
