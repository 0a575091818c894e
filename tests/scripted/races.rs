//! The same rules on several threads and a clock that runs: for races that a single thread cannot have.

use std::time::Duration;

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::test_util::{ScriptConfig, ScriptedChannel, scripted};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{ChannelMsg, ConnectionRef};

use crate::kit::{Act, Events, Order, Probe, Seen, within};

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until nothing is left, in real time.
async fn clean(conn: &ConnectionRef) {
    let clean = async {
        loop {
            let info = conn.info().await.unwrap();
            if info.channels.is_empty() && info.counters.unread == 0 && conn.actor().get_children().is_empty()
            {
                return info;
            }
            tokio::task::yield_now().await;
        }
    };
    let info = within(PATIENCE, clean).await;
    assert_eq!(info.counters.channels_opened, info.counters.channels_closed);
}

fn check(seen: &[Seen], n: usize) {
    let closed = seen.iter().filter(|seen| matches!(seen, Seen::Msg(ChannelMsg::Closed { .. }))).count();
    assert!(closed <= 1, "channel {n}: {seen:?}");
    let data = seen.iter().filter(|seen| matches!(seen, Seen::Msg(ChannelMsg::Data { .. }))).count();
    assert!(data <= 20, "channel {n}");
}

async fn one_channel(conn: ConnectionRef, n: usize) {
    let (probe, mut events): (Probe, Events) = Probe::new();
    let probe = probe.on_msg(|msg, ctx| {
        if let ChannelMsg::Data { data, .. } = msg {
            let _ = ctx.send(data.clone());
        }
        Act::Go
    });
    let options = ChannelOptions::new().high_water(1);
    let open = conn.open_channel(OpenRequest::Session, options, probe);
    if n % 9 == 8 {
        // Given up at some moment.
        let _ = tokio::time::timeout(Duration::from_micros(n as u64 % 200), open).await;
        return;
    }
    let channel = open.await.unwrap();
    let _ = channel.send(vec![0; 100]).await;
    match n % 9 {
        0 => {}
        1 => channel.close(),
        2 => channel.kill(),
        3 => drop(channel.cast(Order::new(|_| Act::Fail))),
        4 => channel.stop("enough"),
        5 => channel.abort(),
        6 => drop(channel.cast(Order::new(|_| Act::Stop))),
        _ => drop(channel.cast(Order::new(|_| Act::Panic))),
    }
    within(PATIENCE, channel.wait()).await;
    check(&events.rest().await, n);
}

/// Sends, grants, and closes after a while whatever happens.
async fn their_end(mut there: ScriptedChannel) {
    for _ in 0..20 {
        there.data(vec![1; 100]);
        there.adjust_window(50);
        tokio::task::yield_now().await;
    }
    there.adjust_window(100_000);
    there.close();
    // One CLOSE of ours, whoever was first.
    let last = async { while there.next().await != ractor_ssh::test_util::Sent::Close {} };
    within(PATIENCE, last).await;
    assert_eq!(there.try_next(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_channels_ended_in_every_way_at_once_leave_nothing() {
    let (conn, mut peer) = scripted(ScriptConfig::new().window(50).max_packet(30)).await;
    const CHANNELS: usize = 450;
    let ours: Vec<_> = (0..CHANNELS).map(|n| tokio::spawn(one_channel(conn.clone(), n))).collect();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let theirs = tokio::spawn(async move {
        let mut ends = Vec::new();
        loop {
            tokio::select! {
                biased;
                pending = peer.expect_open() => ends.push(tokio::spawn(their_end(pending.confirm()))),
                _ = &mut stopped => return (peer, ends),
            }
        }
    });
    for task in ours {
        task.await.unwrap();
    }
    clean(&conn).await;
    stop.send(()).unwrap();
    let (peer, ends) = theirs.await.unwrap();
    for end in ends {
        end.await.unwrap();
    }
    assert_eq!(peer.open_channels(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_end_under_load_end_every_channel() {
    for round in 0..30 {
        let (conn, mut peer) = scripted(ScriptConfig::new().window(50).max_packet(30)).await;
        let mut channels = Vec::new();
        for _ in 0..10 {
            let (probe, events) = Probe::new();
            let (here, there) =
                tokio::join!(conn.session_channel(probe), async { peer.expect_open().await.confirm() });
            let here = here.unwrap();
            let sender = here.clone();
            tokio::spawn(async move { while sender.send(vec![0; 500]).await.is_ok() {} });
            channels.push((here, events));
            tokio::spawn(async move {
                for _ in 0..1000 {
                    there.data(vec![1; 100]);
                    there.adjust_window(500);
                    tokio::task::yield_now().await;
                }
            });
        }
        tokio::task::yield_now().await;
        match round % 4 {
            0 => peer.vanish(),
            1 => within(PATIENCE, conn.close()).await,
            2 => within(PATIENCE, conn.shutdown(Duration::from_millis(1))).await,
            _ => conn.actor().kill(),
        }
        within(PATIENCE, conn.closed()).await;
        for (here, mut events) in channels {
            within(PATIENCE, here.wait()).await;
            check_last(&events.rest().await);
        }
        within(PATIENCE, conn.actor().wait(None)).await.unwrap();
    }
}

fn check_last(seen: &[Seen]) {
    let closed = seen.iter().position(|seen| matches!(seen, Seen::Msg(ChannelMsg::Closed { .. })));
    if let Some(at) = closed {
        assert!(seen[at + 1..].iter().all(|seen| matches!(seen, Seen::Terminate(_))), "after Closed");
    }
}
