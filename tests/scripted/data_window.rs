//! Data that comes in: its order, the credit for it, what holds it back, and its bounds.

use std::sync::Arc;

use ractor_ssh::bytes::Bytes;
use ractor_ssh::config::{ChannelOptions, WindowAdjust};
use ractor_ssh::error::CloseReason;
use ractor_ssh::test_util::{ScriptConfig, scripted};
use ractor_ssh::wire::codes::DataType;
use ractor_ssh::{ChannelMsg, Credit};
use tokio::sync::{Semaphore, mpsc};

use crate::kit::{
    Act, Order, Probe, SECOND, Seen, assert_clean, closed, info, open, open_window, open_with, plain, settle,
};

/// What the account of a channel adds for each event that waits.
const OVERHEAD: usize = 128;

pub fn pattern(len: usize) -> Bytes {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[tokio::test(start_paused = true)]
async fn events_arrive_in_wire_order() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.there.data("a");
    channel.there.stderr("b");
    channel.there.data_typed(DataType::Other(7), "c");
    channel.there.data("d");
    channel.there.eof();
    channel.there.exit_status(3);
    channel.there.close();
    let mut seen = Vec::new();
    for event in channel.events.rest().await {
        seen.push(match event {
            Seen::Msg(ChannelMsg::Data { data_type, data }) => format!("{data_type:?} {data:?}"),
            Seen::Msg(ChannelMsg::Eof) => "eof".into(),
            Seen::Msg(ChannelMsg::ExitStatus { status }) => format!("status {status}"),
            Seen::Msg(ChannelMsg::Closed { .. }) => "closed".into(),
            Seen::Terminate(_) => "terminate".into(),
            other => panic!("{other:?}"),
        });
    }
    let expected = [
        "Normal b\"a\"",
        "Stderr b\"b\"",
        "Other(7) b\"c\"",
        "Normal b\"d\"",
        "eof",
        "status 3",
        "closed",
        "terminate",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn half_a_megabyte_arrives_complete_before_the_end_messages() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let output = pattern(480_000);
    for packet in output.chunks(1000) {
        channel.there.data(Bytes::copy_from_slice(packet));
    }
    channel.there.exit_status(0);
    channel.there.eof();
    channel.there.close();
    let mut received = Vec::new();
    loop {
        match channel.events.msg().await {
            ChannelMsg::Data { data, .. } => received.extend_from_slice(&data),
            ChannelMsg::ExitStatus { status: 0 } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received, output);
    assert!(matches!(channel.events.msg().await, ChannelMsg::Eof));
    assert!(matches!(channel.events.msg().await, ChannelMsg::Closed { .. }));
}

#[tokio::test(start_paused = true)]
async fn credit_goes_back_when_the_callback_has_returned_and_not_before() {
    let (conn, mut peer) = plain().await;
    let turns = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&turns);
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(move |_, _| {
        let wait = Arc::clone(&wait);
        Act::wait(async move { wait.acquire_owned().await.unwrap().forget() })
    });
    let channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.there.data(pattern(1000));
    channel.there.data(pattern(500));
    assert_eq!(info(&conn).await.counters.unread, 1500 + 2 * OVERHEAD);
    assert_eq!(info(&conn).await.channels[0].unread, 1500 + 2 * OVERHEAD);
    turns.add_permits(1);
    assert_eq!(info(&conn).await.counters.unread, 500 + OVERHEAD);
    turns.add_permits(1);
    assert_eq!(info(&conn).await.counters.unread, 0);
}

#[tokio::test(start_paused = true)]
async fn in_manual_mode_credit_goes_back_by_adjust_window_only() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let options = ChannelOptions::new().window_adjust(WindowAdjust::Manual);
    let mut channel = open_with(&conn, &mut peer, options, probe, events).await;
    channel.there.data(pattern(1000));
    channel.there.data(pattern(500));
    channel.there.exit_status(0);
    assert_eq!(info(&conn).await.counters.unread, 1500, "events without payload owe nothing");
    let adjust = |bytes: usize, left: usize| {
        let adjust = move |ctx: &mut ractor_ssh::ChannelContext<Probe>| {
            assert_eq!(ctx.adjust_window(bytes), left);
            Act::Go
        };
        channel.here.cast(Order::new(adjust)).unwrap();
    };
    adjust(600, 900);
    assert_eq!(info(&conn).await.counters.unread, 900);
    adjust(5000, 0);
    adjust(1, 0);
    assert_eq!(info(&conn).await.counters.unread, 0);
    channel.there.data(pattern(100));
    channel.there.close();
    closed(&mut channel).await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn credit_that_is_held_goes_back_when_it_is_dropped() {
    let (conn, mut peer) = plain().await;
    let (keep, mut kept) = mpsc::unbounded_channel::<Credit>();
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(move |_, ctx| {
        keep.send(ctx.hold_credit().unwrap()).unwrap();
        assert!(ctx.hold_credit().is_none(), "held once");
        Act::Go
    });
    let channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.there.data(pattern(1000));
    channel.there.data(pattern(10));
    assert_eq!(info(&conn).await.counters.unread, 1010 + 2 * OVERHEAD);
    let mut credit = kept.recv().await.unwrap();
    assert_eq!(credit.bytes(), 1000 + OVERHEAD);
    credit.release(1000);
    assert_eq!(info(&conn).await.counters.unread, 10 + 2 * OVERHEAD);
    credit.merge(kept.recv().await.unwrap());
    drop(credit);
    assert_eq!(info(&conn).await.counters.unread, 0);
}

#[tokio::test(start_paused = true)]
async fn messages_of_other_actors_get_their_turn_between_slow_ssh_events() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::wait(tokio::time::sleep(SECOND)));
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    for _ in 0..100 {
        channel.there.data("x");
    }
    assert_eq!(channel.events.data().await, "x");
    channel.here.cast(Order::new(|_| Act::Go)).unwrap();
    let mut before = 0;
    while let Seen::Msg(_) = channel.events.next().await.unwrap() {
        before += 1;
    }
    assert!(before <= 1, "{before} slow events went first");
}

#[tokio::test(start_paused = true)]
async fn above_high_water_inbound_data_is_withheld_and_control_and_messages_are_not() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|msg, ctx| {
        if let ChannelMsg::Data { data, .. } = msg {
            ctx.send(data.clone()).unwrap();
        }
        Act::Go
    });
    let (options, window) = (ChannelOptions::new().high_water(1), (0, 100));
    let opening = conn.open_channel(ractor_ssh::wire::open::OpenRequest::Session, options, probe);
    let (here, mut there) =
        tokio::join!(opening, async { peer.expect_open().await.confirm_with(window.0, window.1) });
    let (here, mut events) = (here.unwrap(), events);

    there.data("first");
    assert_eq!(events.data().await, "first");
    there.exit_status(1);
    assert!(matches!(events.msg().await, ChannelMsg::ExitStatus { .. }), "control still flows");
    there.data("second");
    there.data("third");
    there.exit_status(2);
    here.cast(Order::new(|_| Act::Go)).unwrap();
    settle().await;
    let seen = events.so_far();
    assert!(matches!(seen[..], [Seen::Order]), "only the message of another actor: {seen:?}");
    assert_eq!(info(&conn).await.counters.unread, "secondthird".len() + 3 * OVERHEAD);

    there.adjust_window(5);
    assert_eq!(there.expect_data().await, "first");
    assert_eq!(events.data().await, "second");
    settle().await;
    assert!(events.so_far().is_empty());
    there.adjust_window(100);
    assert_eq!(there.expect_data().await, "second");
    assert_eq!(events.data().await, "third");
    assert!(matches!(events.msg().await, ChannelMsg::ExitStatus { status: 2 }), "in wire order");
    assert_eq!(there.expect_data().await, "third");
}

#[tokio::test(start_paused = true)]
async fn data_that_is_withheld_is_delivered_when_the_peer_closes_without_ever_reading() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(1);
    let mut channel = open_window(&conn, &mut peer, options, (0, 100)).await;
    channel.here.send("never read").await.unwrap();
    channel.there.data("withheld");
    settle().await;
    assert!(channel.events.so_far().iter().all(|seen| !matches!(seen, Seen::Msg(_))));
    channel.there.close();
    assert_eq!(channel.events.data().await, "withheld");
    assert!(matches!(closed(&mut channel).await, CloseReason::Peer));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn data_that_is_withheld_is_delivered_when_the_connection_is_lost() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(1);
    let mut channel = open_window(&conn, &mut peer, options, (0, 100)).await;
    channel.here.send("never read").await.unwrap();
    channel.there.data("withheld");
    settle().await;
    peer.vanish();
    assert!(matches!(channel.events.next().await, Some(Seen::Msg(ChannelMsg::Data { .. }))));
    assert!(matches!(closed(&mut channel).await, CloseReason::Connection(_)));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_waits_for_the_window_lets_withheld_data_wait_without_spinning() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(1);
    let mut channel = open_window(&conn, &mut peer, options, (0, 100)).await;
    channel.here.send("queued").await.unwrap();
    channel.there.data("withheld");
    channel.here.close();
    let ask = |ctx: &mut ractor_ssh::ChannelContext<Probe>| {
        ctx.notify_when_ready();
        Act::Go
    };
    channel.here.cast(Order::new(ask)).unwrap();
    // An actor that asks itself again and again would keep the clock from moving.
    settle().await;
    channel.there.adjust_window(100);
    channel.there.expect_data().await;
    channel.there.expect_close().await;
    settle().await;
    let seen = channel.events.so_far();
    assert!(seen.iter().any(|seen| matches!(seen, Seen::Msg(ChannelMsg::Data { .. }))), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_ignores_the_window_fills_the_budget_and_no_more() {
    let budget = 64 << 10;
    let (conn, mut peer) = scripted(ScriptConfig::new().limits(|limits| {
        limits.inbound_budget = budget;
        limits.window = 1000;
    }))
    .await;
    let (probe, events) = Probe::new();
    let channel =
        open_with(&conn, &mut peer, ChannelOptions::new(), probe.on_msg(|_, _| Act::Hang), events).await;
    for _ in 0..1000 {
        channel.there.data(pattern(1000));
    }
    let unread = info(&conn).await.counters.unread;
    assert!(unread >= budget && unread <= budget + 1000 + OVERHEAD, "{unread}");
    assert!(peer.unread_messages() > 900);
}

#[tokio::test(start_paused = true)]
async fn many_tiny_packets_count_for_what_they_cost() {
    let budget = 10_000;
    let (conn, mut peer) =
        scripted(ScriptConfig::new().limits(|limits| limits.inbound_budget = budget)).await;
    let (probe, events) = Probe::new();
    let channel =
        open_with(&conn, &mut peer, ChannelOptions::new(), probe.on_msg(|_, _| Act::Hang), events).await;
    for _ in 0..1000 {
        channel.there.data("x");
    }
    settle().await;
    assert!(peer.unread_messages() > 900, "{}", peer.unread_messages());
}
