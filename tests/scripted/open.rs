//! Opening: confirmed, refused, unanswered, given up.

use ractor_ssh::ChannelMsg;
use ractor_ssh::config::{ChannelOptions, SlowConsumer};
use ractor_ssh::error::{ConnectionError, OpenError};
use ractor_ssh::observe::ChannelState;
use ractor_ssh::test_util::{ScriptConfig, scripted};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::OpenRequest;
use tokio::sync::oneshot;

use crate::kit::{
    Act, Channel, Probe, SECOND, Seen, assert_alive, assert_clean, closed, info, open, open_with, opening,
    plain, settle,
};

#[tokio::test(start_paused = true)]
async fn an_open_returns_when_init_has_returned() {
    let (conn, mut peer) = plain().await;
    let (go, wait) = oneshot::channel::<()>();
    let (probe, mut events) = Probe::new();
    let probe = probe.on_init(|_| Act::wait(async { drop(wait.await) }));
    let mut open = opening(&conn, probe);
    let there = peer.expect_open().await.confirm();
    settle().await;
    assert!(matches!(events.so_far()[..], [Seen::Init]));
    assert!(!open.is_finished());
    go.send(()).unwrap();
    let here = (&mut open).await.unwrap().unwrap();
    assert_alive(&mut Channel { here, events, there }).await;
}

#[tokio::test(start_paused = true)]
async fn the_peer_is_asked_for_what_the_caller_wants() {
    let (conn, mut peer) = plain().await;
    let request = OpenRequest::DirectTcpip {
        host: "db".into(),
        port: 5432,
        originator_host: "127.0.0.1".into(),
        originator_port: 1,
    };
    let (probe, _events) = Probe::new();
    let (here, _there) =
        tokio::join!(conn.open_channel(request.clone(), ChannelOptions::new(), probe), async {
            let pending = peer.expect_open().await;
            assert_eq!(*pending.request(), request);
            pending.confirm()
        });
    here.unwrap();
    assert_eq!(info(&conn).await.channels[0].kind, "direct-tcpip");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_gives_the_peers_reason_and_text() {
    let (conn, mut peer) = plain().await;
    let (probe, mut events) = Probe::new();
    let open = opening(&conn, probe);
    peer.expect_open().await.refuse(OpenFailureReason::ResourceShortage, "try later");
    match open.await.unwrap() {
        Err(error @ OpenError::Refused { .. }) => {
            assert!(error.is_retryable());
            assert!(error.to_string().contains("try later"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(events.rest().await.is_empty(), "a refused channel's behaviour must not run");
    assert_clean(&conn, &peer).await;
    assert_eq!(info(&conn).await.counters.opens_failed, 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_that_is_not_answered_in_time_fails_and_is_closed_when_it_is_confirmed() {
    let (conn, mut peer) = plain().await;
    let (probe, mut events) = Probe::new();
    let open = opening(&conn, probe);
    let pending = peer.expect_open().await;
    match open.await.unwrap() {
        Err(OpenError::Timeout { after }) => assert_eq!(after, 30 * SECOND),
        other => panic!("{other:?}"),
    }
    assert_eq!(info(&conn).await.channels.len(), 1, "its slot at the peer is still taken");
    let mut there = pending.confirm();
    there.expect_close().await;
    there.close();
    assert_clean(&conn, &peer).await;
    assert!(events.rest().await.is_empty());
    assert_eq!(there.try_next(), None, "one CLOSE only");
}

#[tokio::test(start_paused = true)]
async fn an_open_that_is_refused_too_late_is_forgotten() {
    let (conn, mut peer) = plain().await;
    let open = opening(&conn, Probe::new().0);
    let pending = peer.expect_open().await;
    assert!(matches!(open.await.unwrap(), Err(OpenError::Timeout { .. })));
    pending.refuse(OpenFailureReason::ConnectFailed, "");
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_may_have_its_own_open_timeout() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().open_timeout(2 * SECOND);
    let started = tokio::time::Instant::now();
    let error = conn.open_channel(OpenRequest::Session, options, Probe::new().0).await.unwrap_err();
    assert!(matches!(error, OpenError::Timeout { after } if after == 2 * SECOND));
    assert_eq!(started.elapsed(), 2 * SECOND);
    peer.expect_open().await.refuse(OpenFailureReason::ConnectFailed, "");
}

#[tokio::test(start_paused = true)]
async fn an_open_whose_caller_went_away_is_closed_when_it_is_confirmed() {
    let (conn, mut peer) = plain().await;
    let (probe, mut events) = Probe::new();
    let open = opening(&conn, probe);
    let pending = peer.expect_open().await;
    open.abort();
    settle().await;
    let mut there = pending.confirm();
    there.expect_close().await;
    there.close();
    assert_clean(&conn, &peer).await;
    assert!(events.rest().await.is_empty(), "init must not run for nobody");
}

#[tokio::test(start_paused = true)]
async fn an_open_whose_caller_went_away_during_init_is_closed() {
    let (conn, mut peer) = plain().await;
    let (go, wait) = oneshot::channel::<()>();
    let (probe, mut events) = Probe::new();
    let open = opening(&conn, probe.on_init(|_| Act::wait(async { drop(wait.await) })));
    let mut there = peer.expect_open().await.confirm();
    settle().await;
    open.abort();
    settle().await;
    let _ = go.send(());
    there.expect_close().await;
    there.close();
    assert!(matches!(events.rest().await[..], [Seen::Terminate(_)]));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_on_channels_counts_opening_and_closing_ones_and_there_is_room_after() {
    let (conn, mut peer) = scripted(ScriptConfig::new().limits(|limits| limits.max_channels = 1)).await;
    let full = |result: Result<_, OpenError>| match result {
        Err(OpenError::TooManyChannels { limit }) => assert_eq!(limit, 1),
        other => panic!("{other:?}"),
    };
    let first = opening(&conn, Probe::new().0);
    let pending = peer.expect_open().await;
    full(conn.session_channel(Probe::new().0).await);
    let mut there = pending.confirm();
    let here = first.await.unwrap().unwrap();
    full(conn.session_channel(Probe::new().0).await);
    here.close();
    there.expect_close().await;
    full(conn.session_channel(Probe::new().0).await);
    there.close();
    settle().await;
    open(&conn, &mut peer).await;
    assert_eq!(peer.pending_opens(), 0, "what is over the limit is never sent");
}

#[tokio::test(start_paused = true)]
async fn data_that_comes_during_init_is_kept_in_order() {
    let (conn, mut peer) = plain().await;
    let (go, wait) = oneshot::channel::<()>();
    let (probe, mut events) = Probe::new();
    let open = opening(&conn, probe.on_init(|_| Act::wait(async { drop(wait.await) })));
    let there = peer.expect_open().await.confirm();
    there.data("one");
    there.stderr("two");
    there.data("three");
    there.close();
    settle().await;
    assert!(matches!(events.so_far()[..], [Seen::Init]));
    go.send(()).unwrap();
    open.await.unwrap().unwrap();
    assert_eq!(events.data().await, "one");
    assert!(matches!(events.msg().await, ChannelMsg::Data { data, .. } if data == "two"));
    assert_eq!(events.data().await, "three");
    assert!(matches!(events.msg().await, ChannelMsg::Closed { .. }));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_init_does_not_delay_siblings() {
    let (conn, mut peer) = plain().await;
    let mut sibling = open(&conn, &mut peer).await;
    let _slow = opening(&conn, Probe::new().0.on_init(|_| Act::Hang));
    let _there = peer.expect_open().await.confirm();
    settle().await;
    assert_alive(&mut sibling).await;
    let mut later = open(&conn, &mut peer).await;
    assert_alive(&mut later).await;
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_open_does_not_delay_siblings() {
    let (conn, mut peer) = plain().await;
    let _waits = opening(&conn, Probe::new().0);
    let _pending = peer.expect_open().await;
    let mut sibling = open(&conn, &mut peer).await;
    assert_alive(&mut sibling).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_while_opening_is_the_openers_error() {
    let (conn, mut peer) = plain().await;
    let open = opening(&conn, Probe::new().0);
    let _pending = peer.expect_open().await;
    peer.vanish();
    let result = open.await.unwrap();
    assert!(matches!(result, Err(OpenError::Connection(ConnectionError::Lost(_)))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_closed_while_opening_is_the_openers_error() {
    let (conn, mut peer) = plain().await;
    let open = opening(&conn, Probe::new().0);
    let _pending = peer.expect_open().await;
    conn.close().await;
    let result = open.await.unwrap();
    assert!(matches!(result, Err(OpenError::Connection(ConnectionError::Closed))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_opens_on_a_connection_that_is_down_and_the_error_says_why() {
    let (conn, mut peer) = plain().await;
    peer.vanish();
    peer.expect_end_of_stream().await;
    conn.closed().await;
    let error = conn.session_channel(Probe::new().0).await.unwrap_err();
    assert!(matches!(error, OpenError::Connection(ConnectionError::Lost(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn wrong_options_are_refused_by_name() {
    let (conn, peer) = plain().await;
    for (options, field) in [
        (ChannelOptions::new().receive_budget(0), "receive_budget"),
        (ChannelOptions::new().high_water(0), "high_water"),
    ] {
        let error = conn.open_channel(OpenRequest::Session, options, Probe::new().0).await.unwrap_err();
        assert!(matches!(error, OpenError::Config(_)));
        assert!(error.to_string().contains(field), "{error}");
    }
    assert_eq!(peer.pending_opens(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_channel_cannot_be_isolated_without_a_way_to_connect_again() {
    let (conn, _peer) = plain().await;
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let error = conn.open_channel(OpenRequest::Session, options, Probe::new().0).await.unwrap_err();
    assert!(matches!(error, OpenError::Isolate(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_opens_shows_as_opening_then_open_then_is_gone() {
    let (conn, mut peer) = plain().await;
    let opens = opening(&conn, Probe::new().0);
    let pending = peer.expect_open().await;
    assert_eq!(info(&conn).await.channels[0].state, ChannelState::Opening);
    let mut there = pending.confirm();
    let here = opens.await.unwrap().unwrap();
    assert_eq!(info(&conn).await.channels[0].state, ChannelState::Open);
    here.stop("enough");
    there.expect_close().await;
    assert_eq!(info(&conn).await.channels[0].state, ChannelState::Closing);
    there.close();
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_right_after_confirming_ends_the_channel() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let opens = opening(&conn, probe);
    let there = peer.expect_open().await.confirm();
    there.close();
    let here = opens.await.unwrap().unwrap();
    let mut channel = Channel { here, events, there };
    closed(&mut channel).await;
    channel.there.expect_close().await;
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn keys_of_channels_are_never_used_twice() {
    let (conn, mut peer) = plain().await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let (probe, events) = Probe::new();
        let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
        assert!(seen.insert(channel.here.id()));
        channel.there.close();
        closed(&mut channel).await;
    }
    assert_clean(&conn, &peer).await;
}
