//! The end of a channel: `Closed` exactly once and last, one CLOSE each way, nothing lost before it.

use ractor_ssh::config::{ChannelOptions, SlowConsumer};
use ractor_ssh::error::{CloseReason, ConnectionError, StopReason};
use ractor_ssh::observe::ChannelState;
use ractor_ssh::test_util::{ScriptConfig, Sent, scripted};
use ractor_ssh::wire::codes::DisconnectCode;
use ractor_ssh::wire::request::ExitSignal;
use ractor_ssh::wire::signal::Signal;
use ractor_ssh::{ChannelMsg, ChannelRef};

use crate::kit::{
    Act, Order, Probe, SECOND, Seen, assert_alive, assert_clean, closed, info, open, open_window, open_with,
    plain, settle, within,
};

#[tokio::test(start_paused = true)]
async fn the_peers_close_is_answered_once_and_closed_is_the_last_event() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.there.data("last words");
    channel.there.close();
    channel.there.data("from beyond");
    channel.there.close();
    assert_eq!(channel.events.data().await, "last words");
    assert!(matches!(closed(&mut channel).await, CloseReason::Peer));
    channel.there.expect_close().await;
    assert!(matches!(channel.here.wait().await, StopReason::Closed(CloseReason::Peer)));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn our_close_is_sent_once_and_closed_comes_when_the_peer_has_answered() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.close();
    channel.here.close();
    channel.there.expect_close().await;
    settle().await;
    assert!(channel.events.so_far().iter().all(|seen| !matches!(seen, Seen::Msg(_))));
    channel.there.close();
    assert!(matches!(closed(&mut channel).await, CloseReason::Local));
    assert_eq!(channel.there.try_next(), None);
    assert!(channel.here.wait().await.is_normal());
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn closes_that_cross_end_the_channel_with_one_close_each_way() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let here = channel.here.clone();
    tokio::join!(async { here.close() }, async { channel.there.close() });
    closed(&mut channel).await;
    channel.there.expect_close().await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_our_close_is_forgotten_after_the_close_timeout() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let started = tokio::time::Instant::now();
    channel.here.close();
    assert!(matches!(closed(&mut channel).await, CloseReason::Local));
    assert_eq!(started.elapsed(), 10 * SECOND);
    settle().await;
    assert!(info(&conn).await.channels.is_empty());
    let mut sibling = open(&conn, &mut peer).await;
    assert_alive(&mut sibling).await;
}

#[tokio::test(start_paused = true)]
async fn output_before_the_end_is_never_lost_in_whatever_order_the_end_messages_come() {
    let (conn, mut peer) = plain().await;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut channel = open(&conn, &mut peer).await;
        for what in order {
            match what {
                0 => channel.there.eof(),
                1 => channel.there.exit_status(7),
                _ => channel.there.data("output"),
            }
        }
        channel.there.close();
        let seen: Vec<_> = channel.events.rest().await;
        let messages: Vec<_> = seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Msg(ChannelMsg::Eof) => Some(0),
                Seen::Msg(ChannelMsg::ExitStatus { status: 7 }) => Some(1),
                Seen::Msg(ChannelMsg::Data { .. }) => Some(2),
                _ => None,
            })
            .collect();
        assert_eq!(messages, order);
        assert!(matches!(seen[3], Seen::Msg(ChannelMsg::Closed { reason: CloseReason::Peer })));
        assert!(matches!(seen[4], Seen::Terminate(StopReason::Closed(CloseReason::Peer))));
        assert_eq!(seen.len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_ended_by_a_signal_says_so_before_it_closes() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let mut sibling = open(&conn, &mut peer).await;
    channel.there.exit_signal(ExitSignal::new(Signal::Kill).core_dumped(true).message("killed", "en"));
    channel.there.close();
    match channel.events.msg().await {
        ChannelMsg::ExitSignal(exit) => {
            assert_eq!((exit.signal, exit.core_dumped), (Signal::Kill, true));
            assert_eq!(exit.message, "killed");
        }
        other => panic!("{other:?}"),
    }
    closed(&mut channel).await;
    assert_alive(&mut sibling).await;
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_what_was_queued_before() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    channel.here.send("queued").await.unwrap();
    channel.here.close();
    settle().await;
    assert_eq!(channel.there.try_next(), None);
    channel.there.adjust_window(100);
    assert_eq!(channel.there.expect_data().await, "queued");
    channel.there.expect_close().await;
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_ever_for_a_peer_that_does_not_read() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    channel.here.send("never read").await.unwrap();
    let started = tokio::time::Instant::now();
    channel.here.close();
    channel.there.expect_close().await;
    assert_eq!(started.elapsed(), 10 * SECOND);
    channel.there.close();
    assert!(matches!(closed(&mut channel).await, CloseReason::Local));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn closing_twice_does_not_make_it_wait_twice() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    channel.here.send("never read").await.unwrap();
    let started = tokio::time::Instant::now();
    channel.here.close();
    tokio::time::sleep(5 * SECOND).await;
    channel.here.close();
    channel.there.expect_close().await;
    assert_eq!(started.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn abort_drops_what_is_queued_in_both_directions_and_closes_at_once() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let mut wait = Some(wait);
    let probe = probe.on_msg(move |_, _| {
        let Some(wait) = wait.take() else { return Act::Go };
        Act::wait(async { drop(wait.await) })
    });
    let opening = conn.session_channel(probe);
    let (here, mut there) = tokio::join!(opening, async { peer.expect_open().await.confirm_with(0, 100) });
    let here: ChannelRef<Probe> = here.unwrap();
    here.send("never read").await.unwrap();
    there.data("being handled");
    there.data("dropped");
    settle().await;
    here.abort();
    here.abort();
    there.expect_close().await;
    assert!(info(&conn).await.counters.unread < 300, "what waited was given back");
    go.send(()).unwrap();
    there.close();
    let mut events = events;
    let rest = events.rest().await;
    assert!(
        matches!(
            rest[..],
            [
                Seen::Msg(ChannelMsg::Data { .. }),
                Seen::Msg(ChannelMsg::Closed { reason: CloseReason::Local }),
                Seen::Terminate(_)
            ]
        ),
        "{rest:?}"
    );
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_behaviour_that_stops_sends_what_it_queued_and_then_close() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel
        .here
        .cast(Order::new(|ctx| {
            ctx.send("bye").unwrap();
            Act::Stop
        }))
        .unwrap();
    assert_eq!(channel.there.expect_data().await, "bye");
    channel.there.expect_close().await;
    channel.there.close();
    let rest = channel.events.rest().await;
    assert!(matches!(rest[..], [Seen::Order, Seen::Terminate(StopReason::Normal)]), "{rest:?}");
    assert!(matches!(channel.here.wait().await, StopReason::Normal));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_stopped_from_outside_says_the_reason_it_was_given() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.stop("maintenance");
    match channel.here.wait().await {
        StopReason::Stopped(reason) => assert_eq!(&*reason, "maintenance"),
        other => panic!("{other:?}"),
    }
    match &channel.events.rest().await[..] {
        [Seen::Terminate(StopReason::Stopped(reason))] => assert_eq!(&**reason, "maintenance"),
        other => panic!("{other:?}"),
    }
    channel.there.expect_close().await;
    channel.there.close();
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_closes_every_channel_with_its_error() {
    let (conn, mut peer) = plain().await;
    let mut channels = Vec::new();
    for _ in 0..5 {
        channels.push(open(&conn, &mut peer).await);
    }
    channels[0].there.data("arrived before");
    peer.disconnect(DisconnectCode::BY_APPLICATION, "restarting");
    assert_eq!(channels[0].events.data().await, "arrived before");
    for channel in &mut channels {
        match closed(channel).await {
            CloseReason::Connection(ConnectionError::Disconnected { code, description }) => {
                assert_eq!(code, DisconnectCode::BY_APPLICATION);
                assert_eq!(description, "restarting");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(channel.here.closed(), Some(CloseReason::Connection(_))));
    }
    assert!(matches!(conn.closed().await, ConnectionError::Disconnected { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_channel_whose_sends_fail_with_the_connection_is_told_the_connections_error() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    channel.here.send("never read").await.unwrap();
    channel.here.send_eof().unwrap();
    peer.vanish();
    let reason = closed(&mut channel).await;
    assert!(matches!(reason, CloseReason::Connection(ConnectionError::Lost(_))), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_while_our_close_waits_ends_the_channel_at_once() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.close();
    channel.there.expect_close().await;
    peer.vanish();
    within(SECOND, closed(&mut channel)).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_cannot_keep_a_channel_from_closing_here() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    peer.stop_reading(true);
    channel.here.send("x").await.unwrap();
    channel.here.close();
    let reason = within(21 * SECOND, closed(&mut channel)).await;
    assert!(matches!(reason, CloseReason::Local), "{reason:?}");
    assert!(info(&conn).await.channels.is_empty());
}

#[tokio::test(start_paused = true)]
async fn over_budget_under_the_policy_fail_ends_the_channel_with_closed_once() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let options = ChannelOptions::new().receive_budget(1).slow_consumer(SlowConsumer::Fail);
    let mut channel = open_with(&conn, &mut peer, options, probe, events).await;
    let mut sibling = open(&conn, &mut peer).await;
    channel.there.data("more than one byte");
    match closed(&mut channel).await {
        CloseReason::OverBudget { held, budget } => assert!(held > 1 && budget == 1),
        other => panic!("{other:?}"),
    }
    channel.there.expect_close().await;
    channel.there.close();
    assert_alive(&mut sibling).await;
    assert!(!channel.here.wait().await.is_normal());
}

#[tokio::test(start_paused = true)]
async fn a_channel_shows_as_closing_until_both_closes_are_exchanged() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.cast(Order::new(|_| Act::Stop)).unwrap();
    channel.there.expect_close().await;
    let now = info(&conn).await;
    assert_eq!(now.channels[0].state, ChannelState::Closing);
    assert_eq!(conn.actor().get_children().len(), 0, "its actor is gone already");
    channel.there.close();
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_sends_after_our_close_is_dropped_and_costs_nothing() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.close();
    channel.there.expect_close().await;
    for _ in 0..100 {
        channel.there.data("too late");
    }
    assert_eq!(info(&conn).await.counters.unread, 0);
    channel.there.close();
    let seen = channel.events.rest().await;
    assert!(seen.iter().all(|seen| !matches!(seen, Seen::Msg(ChannelMsg::Data { .. }))), "{seen:?}");
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn data_between_our_queued_close_and_its_sending_is_still_delivered() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    channel.here.send("queued").await.unwrap();
    channel.here.close();
    channel.there.data("meanwhile");
    assert_eq!(channel.events.data().await, "meanwhile");
    channel.there.adjust_window(100);
    channel.there.expect_data().await;
    channel.there.expect_close().await;
    channel.there.close();
    assert!(matches!(closed(&mut channel).await, CloseReason::Local));
}

#[tokio::test(start_paused = true)]
async fn two_commands_in_a_row_and_two_at_a_time_do_not_disturb_each_other() {
    let (conn, mut peer) = scripted(ScriptConfig::new()).await;
    for _ in 0..2 {
        let mut one = open(&conn, &mut peer).await;
        let mut two = open(&conn, &mut peer).await;
        for (channel, status) in [(&mut one, 1), (&mut two, 2)] {
            let (answer, ()) = tokio::join!(channel.here.exec("echo"), async {
                channel.there.expect_request("exec").await;
                channel.there.reply(true);
            });
            answer.unwrap();
            channel.there.exit_status(status);
        }
        two.there.close();
        one.there.close();
        assert!(matches!(one.events.msg().await, ChannelMsg::ExitStatus { status: 1 }));
        assert!(matches!(two.events.msg().await, ChannelMsg::ExitStatus { status: 2 }));
        closed(&mut one).await;
        closed(&mut two).await;
    }
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn the_wire_shows_open_to_close_in_order() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let handle = channel.here.clone();
    let run = tokio::spawn(async move {
        handle.exec("cat").await?;
        handle.send("x").await.unwrap();
        handle.send_eof().unwrap();
        Ok::<_, ractor_ssh::error::RequestError>(())
    });
    channel.there.expect_request("exec").await;
    channel.there.reply(true);
    run.await.unwrap().unwrap();
    channel.there.data("x");
    channel.there.eof();
    channel.there.exit_status(0);
    channel.there.close();
    closed(&mut channel).await;
    let wire: Vec<_> = channel
        .there
        .sent()
        .into_iter()
        .map(|sent| match sent {
            Sent::Request { .. } => "request",
            Sent::Data { .. } => "data",
            Sent::Eof => "eof",
            Sent::Close => "close",
            _ => "?",
        })
        .collect();
    assert_eq!(wire, ["request", "data", "eof", "close"]);
}

/// Messages that made other implementations give up the whole connection.
#[tokio::test(start_paused = true)]
async fn messages_that_do_not_fit_the_state_of_a_channel_harm_nobody() {
    let (conn, mut peer) = plain().await;
    let mut sibling = open(&conn, &mut peer).await;
    let exit = || ExitSignal::new(Signal::Kill);

    // exit-signal, then close: one CLOSE of ours.
    let mut channel = open(&conn, &mut peer).await;
    channel.there.exit_signal(exit());
    channel.there.close();
    closed(&mut channel).await;
    channel.there.expect_close().await;

    // A late exit-signal, answer, window and eof after our close and before the peer's.
    let mut channel = open(&conn, &mut peer).await;
    channel.here.close();
    channel.there.expect_close().await;
    channel.there.exit_signal(exit());
    channel.there.reply(false);
    channel.there.adjust_window(1);
    channel.there.eof();
    channel.there.close();
    closed(&mut channel).await;

    // Everything for a channel that no longer is.
    channel.there.exit_signal(exit());
    channel.there.exit_status(0);
    channel.there.reply(true);
    channel.there.adjust_window(u32::MAX);
    channel.there.data("x");
    channel.there.eof();
    channel.there.close();
    settle().await;
    assert_eq!(channel.there.sent(), [Sent::Close]);

    // Twice eof, twice a status, data after eof, a window beyond measure.
    let mut channel = open(&conn, &mut peer).await;
    channel.there.eof();
    channel.there.eof();
    channel.there.exit_status(1);
    channel.there.exit_status(2);
    channel.there.data("after eof");
    channel.there.adjust_window(u32::MAX);
    channel.there.adjust_window(u32::MAX);
    settle().await;
    channel.here.send("still here").await.unwrap();
    assert_eq!(channel.there.expect_data().await, "still here");
    channel.there.close();
    closed(&mut channel).await;

    assert_alive(&mut sibling).await;
    sibling.there.close();
    closed(&mut sibling).await;
    assert_clean(&conn, &peer).await;
}
