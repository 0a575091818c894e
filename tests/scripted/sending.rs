//! Data that goes out: the windows it waits for, who is told of room, and what becomes of it at the end.

use ractor_ssh::ChannelMsg;
use ractor_ssh::bytes::Bytes;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{CloseReason, SendErrorKind};
use ractor_ssh::test_util::Sent;
use ractor_ssh::wire::codes::DataType;

use crate::data_window::pattern;
use crate::kit::{
    Act, Order, Probe, SECOND, Seen, assert_alive, assert_clean, closed, info, open, open_window, open_with,
    plain, settle, within,
};

#[tokio::test(start_paused = true)]
async fn sends_are_split_to_the_peers_window_and_packet_size() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (25, 10)).await;
    channel.here.send(pattern(40)).await.unwrap();
    for expected in [10, 10, 5] {
        assert_eq!(channel.there.expect_data().await.len(), expected);
    }
    settle().await;
    assert_eq!(channel.there.try_next(), None, "the window is shut");
    assert_eq!(info(&conn).await.channels[0].queued, 15);
    channel.there.adjust_window(3);
    assert_eq!(channel.there.expect_data().await.len(), 3);
    channel.there.adjust_window(100);
    assert_eq!(channel.there.expect_bytes(12).await, pattern(40).slice(28..));
}

#[tokio::test(start_paused = true)]
async fn ten_megabytes_are_echoed_byte_for_byte() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|msg, ctx| {
        match msg {
            ChannelMsg::Data { data, .. } => ctx.send(data.clone()).unwrap(),
            ChannelMsg::Eof => ctx.send_eof().unwrap(),
            _ => {}
        }
        Act::Go
    });
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    let all = pattern(10_000_000);
    for packet in all.chunks(32 << 10) {
        channel.there.data(Bytes::copy_from_slice(packet));
    }
    channel.there.eof();
    let mut echoed = Vec::with_capacity(all.len());
    loop {
        match channel.there.next().await {
            Sent::Data { data, .. } => {
                channel.there.adjust_window(u32::try_from(data.len()).unwrap());
                echoed.extend_from_slice(&data);
            }
            Sent::Eof => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(echoed == all, "the echo differs");
    channel.there.close();
    closed(&mut channel).await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_maximum_packet_of_zero_neither_crashes_nor_spins_and_the_channel_can_be_closed() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (1000, 0)).await;
    channel.here.send("stuck").await.unwrap();
    settle().await;
    assert_eq!(channel.there.try_next(), None);
    channel.here.close();
    channel.there.expect_close().await;
    channel.there.close();
    closed(&mut channel).await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn ready_to_send_comes_once_when_there_is_room_again() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(10);
    let mut channel = open_window(&conn, &mut peer, options, (0, 100)).await;
    channel
        .here
        .cast(Order::new(|ctx| {
            assert!(ctx.is_ready());
            ctx.send(pattern(20)).unwrap();
            assert!(!ctx.is_ready());
            ctx.notify_when_ready();
            ctx.notify_when_ready();
            Act::Go
        }))
        .unwrap();
    assert!(matches!(channel.events.next().await, Some(Seen::Order)));
    settle().await;
    assert!(channel.events.so_far().is_empty());
    channel.there.adjust_window(20);
    assert!(matches!(channel.events.msg().await, ChannelMsg::ReadyToSend));
    settle().await;
    assert!(channel.events.so_far().is_empty(), "asked once, told once");
}

#[tokio::test(start_paused = true)]
async fn ready_to_send_comes_at_once_when_there_is_room() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let ask = |ctx: &mut ractor_ssh::ChannelContext<Probe>| {
        ctx.notify_when_ready();
        Act::Go
    };
    channel.here.cast(Order::new(ask)).unwrap();
    assert!(matches!(channel.events.next().await, Some(Seen::Order)));
    assert!(matches!(channel.events.msg().await, ChannelMsg::ReadyToSend));
}

#[tokio::test(start_paused = true)]
async fn ready_to_send_can_be_asked_for_in_init() {
    let (conn, mut peer) = plain().await;
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let (probe, mut events) = Probe::new();
    let probe = probe.on_init(move |ctx| {
        ctx.send(pattern(20)).unwrap();
        ctx.notify_when_ready();
        Act::wait(async { drop(wait.await) })
    });
    let options = ChannelOptions::new().high_water(1);
    let opening = conn.open_channel(ractor_ssh::wire::open::OpenRequest::Session, options, probe);
    let (here, _there) = tokio::join!(opening, async {
        let mut there = peer.expect_open().await.confirm_with(0, 100);
        settle().await;
        there.adjust_window(20);
        there.expect_bytes(20).await;
        settle().await;
        go.send(()).unwrap();
        there
    });
    here.unwrap();
    assert!(matches!(events.msg().await, ChannelMsg::ReadyToSend));
}

#[tokio::test(start_paused = true)]
async fn ready_to_send_survives_more_being_queued_before_it_is_told() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(10);
    let mut channel = open_window(&conn, &mut peer, options, (0, 100)).await;
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    channel
        .here
        .cast(Order::new(|ctx| {
            ctx.send(pattern(20)).unwrap();
            ctx.notify_when_ready();
            // The room comes and goes again while this callback runs.
            let handle = ctx.handle();
            Act::wait(async move {
                let _ = wait.await;
                handle.send(pattern(30)).await.unwrap();
            })
        }))
        .unwrap();
    settle().await;
    channel.there.adjust_window(20);
    channel.there.expect_bytes(20).await;
    settle().await;
    go.send(()).unwrap();
    settle().await;
    assert!(channel.events.so_far().iter().all(|seen| !matches!(seen, Seen::Msg(_))), "there is no room");
    channel.there.adjust_window(30);
    assert!(matches!(channel.events.msg().await, ChannelMsg::ReadyToSend));
}

#[tokio::test(start_paused = true)]
async fn sends_of_many_tasks_stay_whole_and_each_in_its_own_order() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(1);
    let mut channel = open_window(&conn, &mut peer, options, (0, 3)).await;
    const LEN: usize = 7;
    let senders: Vec<_> = (0..10u8)
        .map(|sender| {
            let handle = channel.here.clone();
            tokio::spawn(async move {
                for n in 0..20u8 {
                    let mut piece = vec![sender; LEN];
                    piece[LEN - 1] = n;
                    handle.send(piece).await.unwrap();
                }
            })
        })
        .collect();
    let mut next = [0u8; 10];
    for _ in 0..200 {
        channel.there.adjust_window(u32::try_from(LEN).unwrap());
        let piece = channel.there.expect_bytes(LEN).await;
        let sender = usize::from(piece[0]);
        assert!(piece[..LEN - 1].iter().all(|byte| usize::from(*byte) == sender), "mixed: {piece:?}");
        assert_eq!(piece[LEN - 1], next[sender]);
        next[sender] += 1;
    }
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_that_finds_no_room_in_time_gives_all_back_and_the_channel_stays_usable() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(1);
    let mut channel = open_window(&conn, &mut peer, options, (0, 100)).await;
    channel.here.send("queued").await.unwrap();
    let started = tokio::time::Instant::now();
    let error = channel.here.send("too much").await.unwrap_err();
    assert!(matches!(error.kind, SendErrorKind::Timeout { after } if after == 30 * SECOND));
    assert_eq!(started.elapsed(), 30 * SECOND);
    assert_eq!(error.data, "too much");
    channel.there.adjust_window(100);
    assert_eq!(channel.there.expect_data().await, "queued");
    assert_alive(&mut channel).await;
}

#[tokio::test(start_paused = true)]
async fn a_send_that_was_given_up_took_nothing_and_lets_the_next_sender_through() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(1);
    let mut channel = open_window(&conn, &mut peer, options, (0, 100)).await;
    channel.here.send("queued").await.unwrap();
    let handle = channel.here.clone();
    let given_up = tokio::spawn(async move { handle.send("given up").await });
    settle().await;
    let handle = channel.here.clone();
    let behind = tokio::spawn(async move { handle.send("behind").await });
    settle().await;
    given_up.abort();
    channel.there.adjust_window(100);
    behind.await.unwrap().unwrap();
    assert_eq!(channel.there.expect_data().await, "queued");
    assert_eq!(channel.there.expect_data().await, "behind");
}

#[tokio::test(start_paused = true)]
async fn eof_goes_out_after_all_data_queued_before_and_once() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 1000)).await;
    channel.here.send(pattern(5000)).await.unwrap();
    channel.here.send_eof().unwrap();
    channel.here.send_eof().unwrap();
    settle().await;
    assert_eq!(channel.there.try_next(), None);
    channel.there.adjust_window(5000);
    assert_eq!(channel.there.expect_bytes(5000).await, pattern(5000));
    channel.there.expect_eof().await;
    settle().await;
    assert_eq!(channel.there.try_next(), None);
}

#[tokio::test(start_paused = true)]
async fn a_send_after_eof_or_close_is_an_error_that_gives_the_data_back() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.send_eof().unwrap();
    let error = channel.here.send("after").await.unwrap_err();
    assert!(matches!(error.kind, SendErrorKind::AfterEof));
    assert_eq!(error.data, "after");
    channel.there.data("we still listen");
    assert_eq!(channel.events.data().await, "we still listen");
    channel.there.close();
    closed(&mut channel).await;
    let error = channel.here.send("late").await.unwrap_err();
    assert!(matches!(error.kind, SendErrorKind::Closed(CloseReason::Peer)));
    assert_eq!(error.data, "late");
    assert!(matches!(channel.here.send_eof(), Err(CloseReason::Peer)));
    let io = std::io::Error::from(error);
    assert_eq!(io.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn sends_with_a_data_type_go_out_as_extended_data() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.send_typed(DataType::Stderr, "oops".into()).await.unwrap();
    let expected = Sent::Data { data_type: DataType::Stderr, data: "oops".into() };
    assert_eq!(channel.there.next().await, expected);
}

#[tokio::test(start_paused = true)]
async fn empty_data_is_never_sent() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.send("").await.unwrap();
    channel.here.send("x").await.unwrap();
    assert_eq!(channel.there.expect_data().await, "x");
}

#[tokio::test(start_paused = true)]
async fn a_channel_whose_peer_stopped_reading_delays_no_other() {
    let (conn, mut peer) = plain().await;
    let stuck = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    for _ in 0..10 {
        stuck.here.send(pattern(100_000)).await.unwrap();
    }
    let mut sibling = open(&conn, &mut peer).await;
    within(SECOND, assert_alive(&mut sibling)).await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_to_a_channel_that_closes_meanwhile_learns_it_and_what_arrived_is_exact() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (4_000, 1_000)).await;
    let handle = channel.here.clone();
    let sender = tokio::spawn(async move {
        let all = pattern(10_000_000);
        for piece in 0..100 {
            handle.send(all.slice(piece * 100_000..(piece + 1) * 100_000)).await?;
        }
        Ok::<_, ractor_ssh::error::SendError>(())
    });
    assert_eq!(channel.there.expect_bytes(4_000).await, pattern(4_000));
    channel.there.close();
    let error = within(SECOND, sender).await.unwrap().unwrap_err();
    assert!(matches!(error.kind, SendErrorKind::Closed(CloseReason::Peer)));
    closed(&mut channel).await;
    channel.there.expect_close().await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn flush_returns_when_the_peers_window_took_everything() {
    let (conn, mut peer) = plain().await;
    let channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    channel.here.flush().await.unwrap();
    channel.here.send("data").await.unwrap();
    let handle = channel.here.clone();
    let flush = tokio::spawn(async move { handle.flush().await });
    settle().await;
    assert!(!flush.is_finished());
    channel.there.adjust_window(4);
    within(SECOND, flush).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn flush_fails_when_the_channel_ends_before() {
    let (conn, mut peer) = plain().await;
    for abort in [true, false] {
        let channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
        channel.here.send("data").await.unwrap();
        let handle = channel.here.clone();
        let flush = tokio::spawn(async move { handle.flush().await });
        settle().await;
        if abort {
            channel.here.abort();
        } else {
            channel.there.close();
        }
        assert!(within(SECOND, flush).await.unwrap().is_err(), "abort: {abort}");
    }
}

#[tokio::test(start_paused = true)]
async fn flush_after_close_waits_for_the_data_and_not_for_the_peers_close() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.send("data").await.unwrap();
    channel.here.close();
    within(SECOND, channel.here.flush()).await.unwrap();
    assert_eq!(channel.there.expect_data().await, "data");
}
