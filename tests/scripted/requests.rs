//! Requests and their answers.

use ractor_ssh::ChannelMsg;
use ractor_ssh::config::{ChannelOptions, Keepalive};
use ractor_ssh::error::{CloseReason, ConnectionError, RequestError};
use ractor_ssh::test_util::{ScriptConfig, Sent, scripted};
use ractor_ssh::wire::pty::{PtyRequest, WindowSize};
use ractor_ssh::wire::request::ChannelRequest;
use ractor_ssh::wire::signal::Signal;

use crate::kit::{
    Act, Order, Probe, SECOND, assert_alive, assert_clean, closed, info, open, open_with, plain, settle,
    within,
};

#[tokio::test(start_paused = true)]
async fn success_and_failure_reach_the_one_who_asked() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let (accepted, ()) = tokio::join!(channel.here.exec("true"), async {
        let (request, want_reply) = channel.there.expect_request("exec").await;
        assert_eq!(request, ChannelRequest::Exec { command: "true".into() });
        assert!(want_reply);
        channel.there.reply(true);
    });
    accepted.unwrap();
    let (refused, ()) = tokio::join!(channel.here.subsystem("nonexistent"), async {
        channel.there.expect_request("subsystem").await;
        channel.there.reply(false);
    });
    match refused {
        Err(RequestError::Refused { request }) => assert_eq!(request, "subsystem"),
        other => panic!("{other:?}"),
    }
    assert_alive(&mut channel).await;
}

#[tokio::test(start_paused = true)]
async fn answers_are_matched_first_in_first_out() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let (a, b, c, ()) = tokio::join!(
        channel.here.setenv("A", "1"),
        channel.here.setenv("B", "2"),
        channel.here.shell(),
        async {
            channel.there.expect_request("env").await;
            channel.there.expect_request("env").await;
            channel.there.expect_request("shell").await;
            channel.there.reply(false);
            channel.there.reply(true);
            channel.there.reply(false);
        }
    );
    assert!(matches!(a, Err(RequestError::Refused { .. })));
    assert!(b.is_ok());
    assert!(matches!(c, Err(RequestError::Refused { .. })));
}

#[tokio::test(start_paused = true)]
async fn answers_of_two_channels_are_not_mixed_up() {
    let (conn, mut peer) = plain().await;
    let mut one = open(&conn, &mut peer).await;
    let mut two = open(&conn, &mut peer).await;
    let (first, second, ()) = tokio::join!(one.here.shell(), two.here.shell(), async {
        one.there.expect_request("shell").await;
        two.there.expect_request("shell").await;
        two.there.reply(true);
        one.there.reply(false);
    });
    assert!(first.is_err());
    assert!(second.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_swallowed_and_never_given_to_the_next_request() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    match channel.here.setenv("LATE", "1").await {
        Err(RequestError::Timeout { request, after }) => {
            assert_eq!((request.as_str(), after), ("env", 30 * SECOND));
        }
        other => panic!("{other:?}"),
    }
    channel.there.expect_request("env").await;
    let (next, ()) = tokio::join!(channel.here.shell(), async {
        channel.there.expect_request("shell").await;
        channel.there.reply(false); // the late one
        settle().await;
        channel.there.reply(true);
    });
    next.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_given_up_keeps_its_place_in_the_order() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let given_up = channel.here.clone();
    let task = tokio::spawn(async move { given_up.setenv("X", "1").await });
    channel.there.expect_request("env").await;
    task.abort();
    settle().await;
    let (next, ()) = tokio::join!(channel.here.shell(), async {
        channel.there.expect_request("shell").await;
        channel.there.reply(false);
        channel.there.reply(true);
    });
    next.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_future_that_is_never_polled_sends_nothing() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    drop(channel.here.exec("never"));
    settle().await;
    assert_eq!(channel.there.try_next(), None);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_never_answered_ask_for_no_answer_and_take_none() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.signal(Signal::Term).unwrap();
    channel.here.window_change(WindowSize::new(80, 24)).unwrap();
    assert!(!channel.there.expect_request("signal").await.1);
    assert!(!channel.there.expect_request("window-change").await.1);
    let (answer, ()) = tokio::join!(channel.here.shell(), async {
        channel.there.expect_request("shell").await;
        channel.there.reply(true);
    });
    answer.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_nobody_asked_for_changes_nothing() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.there.reply(true);
    channel.there.reply(false);
    settle().await;
    let (answer, ()) = tokio::join!(channel.here.shell(), async {
        channel.there.expect_request("shell").await;
        channel.there.reply(true);
    });
    answer.unwrap();
    assert_alive(&mut channel).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_closes_before_the_answer_fails_the_request() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let (answer, ()) = tokio::join!(channel.here.shell(), async {
        channel.there.expect_request("shell").await;
        channel.there.close();
    });
    assert!(matches!(answer, Err(RequestError::Closed(CloseReason::Peer))), "{answer:?}");
    closed(&mut channel).await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_still_unanswered_when_our_own_close_is_done_fails_then_and_not_at_its_timeout() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let handle = channel.here.clone();
    let request = tokio::spawn(async move { handle.shell().await });
    channel.there.expect_request("shell").await;
    channel.here.close();
    channel.there.expect_close().await;
    channel.there.close();
    let answer = within(SECOND, request).await.unwrap();
    assert!(matches!(answer, Err(RequestError::Closed(CloseReason::Local))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_before_the_answer_fails_the_request_with_its_error() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let (answer, ()) = tokio::join!(channel.here.shell(), async {
        channel.there.expect_request("shell").await;
        peer.vanish();
    });
    let lost = |reason: &CloseReason| matches!(reason, CloseReason::Connection(ConnectionError::Lost(_)));
    assert!(matches!(&answer, Err(RequestError::Closed(reason)) if lost(reason)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_on_a_closed_channel_fail_at_once() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.there.close();
    closed(&mut channel).await;
    let handle = &channel.here;
    for result in [handle.subsystem("sftp").await, handle.exec("true").await, handle.signal(Signal::Int)] {
        assert!(matches!(result, Err(RequestError::Closed(CloseReason::Peer))), "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_arguments_are_refused_before_anything_is_sent() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let handle = &channel.here;
    for result in [
        handle.setenv("", "x").await,
        handle.setenv("A=B", "x").await,
        handle.subsystem("").await,
        handle.exec("").await,
        handle.signal(Signal::Other("not a name".into())),
    ] {
        assert!(matches!(result, Err(RequestError::Config(_))), "{result:?}");
    }
    settle().await;
    assert_eq!(channel.there.try_next(), None);
}

#[tokio::test(start_paused = true)]
async fn requests_and_data_go_out_in_the_order_they_were_queued() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel
        .here
        .cast(Order::new(|ctx| {
            ctx.send("before").unwrap();
            ctx.window_change(WindowSize::new(1, 1)).unwrap();
            ctx.send("between").unwrap();
            ctx.signal(Signal::Int).unwrap();
            ctx.send_eof().unwrap();
            ctx.signal(Signal::Term).unwrap();
            ctx.close();
            Act::Go
        }))
        .unwrap();
    assert_eq!(channel.there.expect_data().await, "before");
    channel.there.expect_request("window-change").await;
    assert_eq!(channel.there.expect_data().await, "between");
    channel.there.expect_request("signal").await;
    channel.there.expect_eof().await;
    channel.there.expect_request("signal").await;
    channel.there.expect_close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_awaited_inside_a_callback() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_init(|ctx| {
        let handle = ctx.handle();
        Act::wait(async move { handle.exec("uptime").await.unwrap() })
    });
    let opened = tokio::join!(conn.session_channel(probe), async {
        let mut there = peer.expect_open().await.confirm();
        there.expect_request("exec").await;
        there.reply(true);
        there
    });
    drop((opened.0.unwrap(), opened.1, events));
}

#[tokio::test(start_paused = true)]
async fn output_that_overtakes_the_answer_is_delivered_after_init() {
    let (conn, mut peer) = plain().await;
    let (probe, mut events) = Probe::new();
    let probe = probe.on_init(|ctx| {
        let handle = ctx.handle();
        Act::wait(async move { handle.exec("uptime").await.unwrap() })
    });
    let (here, there) = tokio::join!(conn.session_channel(probe), async {
        let mut there = peer.expect_open().await.confirm();
        there.expect_request("exec").await;
        there.data("early");
        settle().await;
        there.reply(true);
        there.exit_status(0);
        there.close();
        there
    });
    here.unwrap();
    assert_eq!(events.data().await, "early");
    assert!(matches!(events.msg().await, ChannelMsg::ExitStatus { status: 0 }));
    assert!(matches!(events.msg().await, ChannelMsg::Closed { .. }));
    assert_eq!(there.sent().iter().filter(|sent| **sent == Sent::Close).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_may_have_its_own_request_timeout() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let options = ChannelOptions::new().request_timeout(SECOND);
    let channel = open_with(&conn, &mut peer, options, probe, events).await;
    let started = tokio::time::Instant::now();
    assert!(
        matches!(channel.here.shell().await, Err(RequestError::Timeout { after, .. }) if after == SECOND)
    );
    assert_eq!(started.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_pending_answer_does_not_hold_up_siblings_or_other_functions_of_the_channel() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let mut sibling = open(&conn, &mut peer).await;
    let handle = channel.here.clone();
    let _waits = tokio::spawn(async move { handle.shell().await });
    channel.there.expect_request("shell").await;
    assert_alive(&mut channel).await;
    assert_alive(&mut sibling).await;
}

#[tokio::test(start_paused = true)]
async fn a_terminal_is_asked_for_with_its_type_and_size_in_characters_and_pixels() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let size = WindowSize::new(132, 43).pixels(1056, 688);
    let (answer, ()) = tokio::join!(
        channel.here.ptty_alloc(PtyRequest::new("xterm").size(132, 43).pixels(1056, 688)),
        async {
            match channel.there.expect_request("pty-req").await {
                (ChannelRequest::Pty(pty), true) => {
                    assert_eq!(pty.term, "xterm");
                    assert_eq!(pty.requested_size(), size);
                }
                other => panic!("{other:?}"),
            }
            channel.there.reply(true);
        }
    );
    answer.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_subsystem_that_does_not_exist_is_refused_and_the_channel_then_closed_without_a_hang() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let mut sibling = open(&conn, &mut peer).await;
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    let (answer, ()) = tokio::join!(channel.here.subsystem("nonexistent"), async {
        channel.there.expect_request("subsystem").await;
        channel.there.reply(false);
        channel.there.close();
    });
    assert!(matches!(answer, Err(RequestError::Refused { .. })), "the refusal came before the close");
    closed(&mut channel).await;
    assert_alive(&mut sibling).await;
    sibling.there.close();
    closed(&mut sibling).await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn answers_of_channels_and_of_the_connection_are_not_mixed_up() {
    let config = ScriptConfig::new().keepalive(Keepalive::new(SECOND, 100));
    let (conn, mut peer) = scripted(config).await;
    let mut channel = open(&conn, &mut peer).await;
    peer.answer_pings(false);
    let (first, second, ()) = tokio::join!(channel.here.setenv("A", "1"), channel.here.shell(), async {
        channel.there.expect_request("env").await;
        channel.there.expect_request("shell").await;
        tokio::time::sleep(5 * SECOND).await;
        assert!(peer.pings() >= 3);
        channel.there.reply(false);
        peer.answer_pings(true);
        channel.there.reply(true);
    });
    assert!(matches!(first, Err(RequestError::Refused { .. })));
    second.unwrap();
    assert!(info(&conn).await.counters.keepalives_answered >= 3);
}
