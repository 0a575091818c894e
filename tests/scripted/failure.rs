//! A behaviour that fails takes down its channel only, whatever callback it fails in and however.

use std::sync::{Arc, Mutex};

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{CloseReason, ConnectionError, OpenError, StopReason};
use ractor_ssh::{ChannelMsg, ChannelRef};

use crate::kit::{
    Act, Channel, Order, Probe, SECOND, Seen, assert_alive, assert_clean, closed, info, open, open_with,
    opening, plain, settle, within,
};

fn failed(reason: &StopReason, callback: &str) -> bool {
    matches!(reason, StopReason::Failed { callback: at, error } if *at == callback && error.contains("told to fail"))
}

fn panicked(reason: &StopReason, callback: &str) -> bool {
    matches!(reason, StopReason::Panicked { callback: at, message } if *at == callback && message.contains("told to panic"))
}

/// What must hold after any failure: CLOSE at the peer, nothing left here, the siblings live.
async fn aftermath(
    conn: &ractor_ssh::ConnectionRef,
    peer: &ractor_ssh::test_util::ScriptedPeer,
    mut channel: Channel,
    mut sibling: Channel,
) {
    channel.there.expect_close().await;
    assert_alive(&mut sibling).await;
    channel.there.close();
    sibling.there.close();
    closed(&mut sibling).await;
    assert_clean(conn, peer).await;
    assert_eq!(channel.there.try_next(), None);
    assert_eq!(info(conn).await.counters.actors_failed, 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_in_handle_ssh_msg_ends_its_channel_only() {
    let (conn, mut peer) = plain().await;
    let sibling = open(&conn, &mut peer).await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::Fail);
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.there.data("a");
    channel.there.data("never delivered");
    let reason = channel.here.wait().await;
    assert!(failed(&reason, "handle_ssh_msg"), "{reason:?}");
    let rest = channel.events.rest().await;
    assert!(matches!(&rest[..], [Seen::Msg(_), Seen::Terminate(why)] if failed(why, "handle_ssh_msg")));
    aftermath(&conn, &peer, channel, sibling).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_handle_ssh_msg_ends_its_channel_only() {
    let (conn, mut peer) = plain().await;
    let sibling = open(&conn, &mut peer).await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::Panic);
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.there.eof();
    let reason = channel.here.wait().await;
    assert!(panicked(&reason, "handle_ssh_msg"), "{reason:?}");
    let rest = channel.events.rest().await;
    assert!(matches!(&rest[..], [Seen::Msg(_), Seen::Terminate(why)] if panicked(why, "handle_ssh_msg")));
    aftermath(&conn, &peer, channel, sibling).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_in_handle_msg_ends_its_channel_only() {
    let (conn, mut peer) = plain().await;
    let sibling = open(&conn, &mut peer).await;
    let channel = open(&conn, &mut peer).await;
    channel.here.cast(Order::new(|_| Act::Fail)).unwrap();
    let reason = channel.here.wait().await;
    assert!(failed(&reason, "handle_msg"), "{reason:?}");
    aftermath(&conn, &peer, channel, sibling).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_handle_msg_ends_its_channel_only() {
    let (conn, mut peer) = plain().await;
    let sibling = open(&conn, &mut peer).await;
    let channel = open(&conn, &mut peer).await;
    // Before the first await, where no future of ours is around it.
    channel.here.cast(Order::new(|_| panic!("told to panic"))).unwrap();
    let reason = channel.here.wait().await;
    assert!(panicked(&reason, "handle_msg"), "{reason:?}");
    aftermath(&conn, &peer, channel, sibling).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_terminate_ends_its_channel_only_and_the_first_reason_stays() {
    let (conn, mut peer) = plain().await;
    let mut sibling = open(&conn, &mut peer).await;
    let (probe, events) = Probe::new();
    let probe = probe.on_terminate(Act::Panic);
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.here.cast(Order::new(|_| Act::Stop)).unwrap();
    assert!(matches!(channel.here.wait().await, StopReason::Normal));
    channel.there.expect_close().await;
    channel.there.close();
    assert_alive(&mut sibling).await;
    sibling.there.close();
    closed(&mut sibling).await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_in_init_is_the_openers_and_the_channel_is_closed() {
    let (conn, mut peer) = plain().await;
    let mut sibling = open(&conn, &mut peer).await;
    for (act, words) in [(Act::Fail, "told to fail"), (Act::Panic, "told to panic")] {
        let (probe, mut events) = Probe::new();
        let opens = opening(&conn, probe.on_init(|_| act));
        let mut there = peer.expect_open().await.confirm();
        match opens.await.unwrap() {
            Err(OpenError::Init(text)) => assert!(text.contains(words), "{text}"),
            other => panic!("{other:?}"),
        }
        there.expect_close().await;
        there.close();
        assert!(matches!(events.rest().await[..], [Seen::Terminate(_)]));
        assert_alive(&mut sibling).await;
    }
    sibling.there.close();
    closed(&mut sibling).await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_channel_is_closed_without_terminate() {
    let (conn, mut peer) = plain().await;
    let sibling = open(&conn, &mut peer).await;
    let mut channel = open(&conn, &mut peer).await;
    channel.here.kill();
    assert!(matches!(channel.here.wait().await, StopReason::Killed));
    assert!(channel.events.rest().await.is_empty());
    aftermath(&conn, &peer, channel, sibling).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_killed_in_a_callback_is_closed_and_gives_its_budget_back() {
    let (conn, mut peer) = plain().await;
    let sibling = open(&conn, &mut peer).await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::Hang);
    let channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    for _ in 0..10 {
        channel.there.data("unread");
    }
    settle().await;
    channel.here.kill();
    assert!(matches!(channel.here.wait().await, StopReason::Killed));
    assert_eq!(info(&conn).await.counters.unread, 0);
    aftermath(&conn, &peer, channel, sibling).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_killed_in_init_fails_the_open_and_is_closed() {
    let (conn, mut peer) = plain().await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let (probe, _events) = Probe::new();
    let opens = opening(
        &conn,
        probe.on_init(|ctx| {
            let _ = tell.send(ctx.myself());
            Act::Hang
        }),
    );
    let mut there = peer.expect_open().await.confirm();
    let here: ChannelRef<Probe> = told.await.unwrap();
    here.kill();
    let result = within(SECOND, opens).await.unwrap();
    assert!(matches!(result, Err(OpenError::Init(_))), "{result:?}");
    there.expect_close().await;
    there.close();
    assert!(matches!(here.wait().await, StopReason::Killed));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_killed_in_terminate_is_closed() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_terminate(Act::Hang);
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.here.stop("over");
    channel.there.expect_close().await;
    settle().await;
    channel.here.kill();
    assert!(matches!(within(SECOND, channel.here.wait()).await, StopReason::Killed));
    channel.there.close();
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_behaviour_had_queued_is_not_sent_and_close_goes_at_once() {
    let (conn, mut peer) = plain().await;
    let (probe, _events) = Probe::new();
    let opening = conn.session_channel(probe);
    let (here, mut there) = tokio::join!(opening, async { peer.expect_open().await.confirm_with(0, 100) });
    here.unwrap()
        .cast(Order::new(|ctx| {
            ctx.send("never").unwrap();
            Act::Fail
        }))
        .unwrap();
    within(SECOND, there.expect_close()).await;
}

#[tokio::test(start_paused = true)]
async fn handles_of_a_failed_channel_say_why_it_is_closed() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    channel.here.cast(Order::new(|_| Act::Panic)).unwrap();
    channel.here.wait().await;
    settle().await;
    match channel.here.closed() {
        Some(CloseReason::ActorEnded(text)) => assert!(text.contains("told to panic"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(channel.here.send("x").await.is_err());
    assert!(channel.here.exec("x").await.is_err());
    assert!(channel.here.cast(Order::new(|_| Act::Go)).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_actor_is_killed_closes_the_byte_stream_and_ends_every_channel() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let waits = channel.here.clone();
    let waits = tokio::spawn(async move { waits.wait().await });
    settle().await;
    conn.actor().kill();
    peer.expect_end_of_stream().await;
    within(SECOND, waits).await.unwrap();
    assert!(matches!(within(SECOND, conn.closed()).await, ConnectionError::ActorGone(_)));
    within(SECOND, channel.events.rest()).await;
    assert!(within(SECOND, conn.session_channel(Probe::new().0)).await.is_err());
    assert!(within(SECOND, conn.info()).await.is_err());
    within(SECOND, conn.close()).await;
    within(SECOND, conn.shutdown(SECOND)).await;
    assert!(within(SECOND, conn.rekey()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_the_peer_closes_is_one_close_each_way() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|msg, _| match msg {
        ChannelMsg::Closed { .. } => Act::Panic,
        _ => Act::Go,
    });
    let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.there.close();
    assert!(panicked(&channel.here.wait().await, "handle_ssh_msg"));
    channel.there.expect_close().await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_channels_ended_in_every_way_leave_nothing() {
    let (conn, mut peer) = plain().await;
    settle().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for n in 0..10_000u32 {
        let mut channel = open(&conn, &mut peer).await;
        match n % 7 {
            0 => channel.there.close(),
            1 => channel.here.close(),
            2 => channel.here.kill(),
            3 => channel.here.cast(Order::new(|_| Act::Fail)).unwrap(),
            4 => channel.here.stop("enough"),
            5 => channel.here.abort(),
            _ => channel.here.cast(Order::new(|_| Act::Stop)).unwrap(),
        }
        channel.there.expect_close().await;
        channel.there.close();
        channel.here.wait().await;
    }
    assert_clean(&conn, &peer).await;
    assert_eq!(info(&conn).await.counters.channels_opened, 10_000);
    // Those that wait for the end of a time limit have no more to wait for.
    tokio::time::sleep(60 * SECOND).await;
    assert!(tasks() <= before, "{} tasks where there were {before}", tasks());
}

/// Keeps what the whole process logs: a subscriber of one thread misses places that another thread came by first.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_logged_once_with_the_channel() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let id = channel.here.id();
    channel.here.cast(Order::new(|_| panic!("only here"))).unwrap();
    channel.here.wait().await;
    channel.there.expect_close().await;
    channel.there.close();
    assert_clean(&conn, &peer).await;
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    let about: Vec<_> = text.lines().filter(|line| line.contains("only here")).collect();
    assert_eq!(about.len(), 1, "{text}");
    assert!(about[0].contains(&id.to_string()), "{text}");
}
