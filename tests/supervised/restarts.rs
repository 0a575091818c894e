//! Which ends lead to a restart, after what pause, and when it is enough.

use std::time::Duration;

use ractor_ssh::error::ConnectionError;
use ractor_ssh::supervised::{IncarnationEnd, SupervisedState};
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use tokio::time::Instant;

use crate::peer::{Opens, Peer};
use crate::probe::{Fault, PAUSE, Say, Told, is_backoff, is_up, permanent, probes, state};

#[tokio::test(start_paused = true)]
async fn a_killed_channel_comes_back_as_the_next_incarnation_under_the_same_address() {
    let peer = Peer::connect().await;
    let (spec, mut story) = permanent();
    let channel = peer.conn.supervise(spec).await.unwrap();
    channel.up().await.unwrap();
    assert!(matches!(channel.state(), SupervisedState::Up { incarnation: 1 }));
    let killed = Instant::now();
    channel.current().unwrap().kill();
    let backoff = state(&channel, is_backoff).await;
    assert!(matches!(backoff, SupervisedState::Backoff { attempt: 1, after: PAUSE, .. }), "{backoff}");
    assert!(channel.current().is_none());
    is_up(&channel, 2).await;
    assert!(killed.elapsed() >= PAUSE);
    assert_eq!(story.recv().await, Some(Told::Init(1, None)));
    assert_eq!(story.recv().await, Some(Told::Init(2, Some("killed".to_owned()))));
    peer.sees(|seen| seen.closed == 1).await;
    let info = channel.info();
    assert_eq!((info.incarnation, info.restarts, info.queued), (2, 1, 0));
    assert!(info.channel.is_some() && info.up_for.is_some() && info.last.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_any_callback_or_in_the_factory_leads_to_a_restart() {
    let peer = Peer::connect().await;
    for (fault, reason) in [
        (Fault::Factory, "the factory panicked: as planned"),
        (Fault::Init, "not started: init failed: init panicked: as planned"),
        (Fault::SshMsg, "handle_ssh_msg panicked: as planned"),
        (Fault::Terminate, "stopped from outside"),
        (Fault::Nowhere, "handle_msg panicked: as planned"),
    ] {
        let (spec, mut story) = probes(RestartPolicy::transient(), fault);
        let channel = peer.conn.supervise(spec).await.unwrap();
        match fault {
            Fault::Terminate => channel.up().await.unwrap().stop("to see it terminate"),
            Fault::Nowhere => channel.up().await.unwrap().cast(Say::Panic).unwrap(),
            _ => {}
        }
        is_up(&channel, 2).await;
        let last = loop {
            if let Some(Told::Init(2, last)) = story.recv().await {
                break last.unwrap();
            }
        };
        assert!(last.starts_with(reason), "{fault:?}: {last}");
        channel.stop();
    }
    peer.channels(0).await;
}

#[tokio::test(start_paused = true)]
async fn the_restart_type_decides_after_a_normal_end_and_after_a_failure() {
    let peer = Peer::connect().await;
    for (policy, after_normal, after_failure) in [
        (RestartPolicy::permanent(), true, true),
        (RestartPolicy::transient(), false, true),
        (RestartPolicy::temporary(), false, false),
    ] {
        for (say, restarts) in [(Say::Finish, after_normal), (Say::Panic, after_failure)] {
            let (spec, _story) = probes(policy.clone(), Fault::Nowhere);
            let channel = peer.conn.supervise(spec).await.unwrap();
            channel.up().await.unwrap();
            channel.cast(say).unwrap();
            if restarts {
                is_up(&channel, 2).await;
            } else {
                assert!(matches!(channel.wait().await, SupervisedState::Ended(IncarnationEnd::Stopped(_))));
                assert!(channel.up().await.is_err());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_restarts_give_up_with_the_last_reason() {
    let peer = Peer::connect().await;
    let policy = RestartPolicy::permanent().intensity(3, Duration::from_secs(60));
    let (spec, _story) = probes(policy, Fault::AlwaysInit);
    let channel = peer.conn.supervise(spec).await.unwrap();
    let SupervisedState::GaveUp { restarts: 3, last, .. } = channel.wait().await else {
        panic!("{}", channel.state());
    };
    assert_eq!(last.to_string(), "not started: init failed: init panicked: as planned");
    assert_eq!((peer.asked(), channel.info().restarts), (4, 3));
    peer.channels(0).await;
}

#[tokio::test(start_paused = true)]
async fn refused_opens_are_failures_with_growing_pauses() {
    let peer = Peer::connect().await;
    peer.opens(Opens::Refuse(3));
    let (spec, _story) = permanent();
    let pauses = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).jitter(0.0);
    let started = Instant::now();
    let channel =
        peer.conn.supervise(spec.restart(RestartPolicy::permanent().backoff(pauses))).await.unwrap();
    is_up(&channel, 4).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(8), "1 + 2 + 4 s, not {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_ends_supervision_and_a_closed_one_too() {
    for cut in [true, false] {
        let peer = Peer::connect().await;
        let (spec, mut story) = permanent();
        let (up, pausing) = (peer.conn.supervise(spec.clone()).await, peer.conn.supervise(spec).await);
        let (up, pausing) = (up.unwrap(), pausing.unwrap());
        up.up().await.unwrap();
        pausing.up().await.unwrap().kill();
        state(&pausing, is_backoff).await;
        if cut {
            peer.cut();
        } else {
            peer.conn.close().await;
        }
        for channel in [&up, &pausing] {
            match channel.wait().await {
                SupervisedState::Down(ConnectionError::Closed) if !cut => {}
                SupervisedState::Down(ConnectionError::Lost(_)) if cut => {}
                other => panic!("{other}"),
            }
            assert!(channel.cast(Say::Note(1)).is_err());
        }
        let mut told = Vec::new();
        while told.len() < 3 {
            told.push(story.recv().await.unwrap());
        }
        assert!(
            matches!(&told[2], Told::Terminated(_, why) if why.starts_with("the channel is over")),
            "it heard of the end by itself: {told:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn many_restarts_leave_nothing_behind() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let policy = RestartPolicy::permanent().never_give_up().backoff(Backoff::none());
    let channel = peer.conn.supervise(spec.restart(policy)).await.unwrap();
    let mut after_warm_up = 0;
    for number in 1..=500 {
        is_up(&channel, number).await;
        if number == 10 {
            peer.channels(1).await;
            after_warm_up = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        }
        if number < 500 {
            channel.current().unwrap().kill();
        }
    }
    peer.channels(1).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(tasks <= after_warm_up, "{after_warm_up} tasks grew to {tasks}");
    assert_eq!(channel.info().restarts, 499);
}
