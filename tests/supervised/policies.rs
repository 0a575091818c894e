//! Restart types, intensity, windows and pauses, on channels that run, with paused time.

use std::time::Duration;

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::test_util::{ScriptConfig, ScriptedChannel, ScriptedPeer, scripted};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::{ChannelSpec, ConnectionRef, Incarnation, SupervisedRef};
use tokio::time::Instant;

use crate::ends::{End, Order, Puppet};
use crate::probe::within;

const SEC: Duration = Duration::from_secs(1);

fn puppets(policy: RestartPolicy) -> ChannelSpec<Puppet> {
    let factory = |incarnation: Incarnation| Puppet::new(incarnation.number);
    ChannelSpec::new(factory).options(ChannelOptions::new().open_timeout(SEC)).restart(policy)
}

async fn set_up(policy: RestartPolicy) -> (ConnectionRef, ScriptedPeer, SupervisedRef<Puppet>) {
    let (conn, peer) = scripted(ScriptConfig::new().patience(Duration::from_secs(7_200))).await;
    let channel = conn.supervise(puppets(policy)).await.unwrap();
    (conn, peer, channel)
}

async fn up(channel: &SupervisedRef<Puppet>, peer: &mut ScriptedPeer) -> ScriptedChannel {
    let remote = peer.expect_open().await.confirm();
    within(channel.up()).await.unwrap();
    remote
}

/// Waits for the end of the incarnation that is up: the pause that follows, or a final state.
async fn after_the_end(channel: &SupervisedRef<Puppet>) -> SupervisedState {
    let over = |s: &SupervisedState| s.is_final() || matches!(s, SupervisedState::Backoff { .. });
    within(channel.states().wait_for(over)).await.unwrap().clone()
}

fn pause(state: &SupervisedState) -> (u32, Duration) {
    match state {
        SupervisedState::Backoff { attempt, after, .. } => (*attempt, *after),
        other => panic!("no pause but {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_restart_type_after_each_kind_of_end() {
    for (policy, after_normal, after_failure) in [
        (RestartPolicy::permanent(), true, true),
        (RestartPolicy::transient(), false, true),
        (RestartPolicy::temporary(), false, false),
    ] {
        for end in End::ALL {
            let (_conn, mut peer, channel) = set_up(policy.clone().backoff(Backoff::fixed(SEC))).await;
            let mut remote = None;
            match end {
                End::Refused => peer.expect_open().await.refuse(OpenFailureReason::ConnectFailed, "no"),
                End::NotAnswered => drop(peer.expect_open().await),
                _ => remote = Some(up(&channel, &mut peer).await),
            }
            if let (Some(remote), Some(running)) = (&remote, channel.current()) {
                match end {
                    End::PeerCloses => remote.close(),
                    End::WeClose => running.close(),
                    End::Killed => running.kill(),
                    End::StoppedOutside => running.stop("somebody wants it so"),
                    End::Finished => running.cast(Order::Finish).unwrap(),
                    End::Failed => running.cast(Order::Fail).unwrap(),
                    End::Panicked => running.cast(Order::Panic).unwrap(),
                    End::Refused | End::NotAnswered => unreachable!(),
                }
            }
            let restarts = if end.is_normal() { after_normal } else { after_failure };
            let state = after_the_end(&channel).await;
            match (&state, restarts) {
                (SupervisedState::Backoff { attempt: 1, .. }, true) | (SupervisedState::Ended(_), false) => {}
                _ => panic!("{policy:?}, {end:?}: {state}"),
            }
            if restarts {
                let _remote = peer.expect_open().await.confirm();
                within(channel.up()).await.unwrap();
                assert_eq!((channel.info().incarnation, channel.info().restarts), (2, 1));
            } else {
                tokio::time::sleep(SEC * 100).await;
                assert_eq!((peer.pending_opens(), channel.info().restarts), (0, 0));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_as_many_restarts_as_the_intensity_allows_fit_into_its_window() {
    // Long enough to be seen.
    let pause = Backoff::fixed(Duration::from_millis(1));
    let policy = RestartPolicy::permanent().backoff(pause).intensity(3, SEC * 10);
    // Every 4 s: never more than three in ten seconds.
    let (_conn, mut peer, channel) = set_up(policy.clone()).await;
    for _ in 0..20 {
        let _remote = up(&channel, &mut peer).await;
        tokio::time::sleep(SEC * 4).await;
        channel.current().unwrap().kill();
        assert!(!after_the_end(&channel).await.is_final());
    }
    // Every 3 s: the fourth is one too many.
    let (_conn, mut peer, channel) = set_up(policy).await;
    let mut ends = 0;
    let last = loop {
        let _remote = up(&channel, &mut peer).await;
        tokio::time::sleep(SEC * 3).await;
        channel.current().unwrap().kill();
        ends += 1;
        let state = after_the_end(&channel).await;
        if state.is_final() {
            break state;
        }
    };
    assert!(
        matches!(last, SupervisedState::GaveUp { restarts: 3, within, .. } if within == SEC * 10),
        "{last}"
    );
    assert_eq!(ends, 4);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_their_limit_and_begin_anew_after_a_quiet_period() {
    let pauses = Backoff::new(SEC, SEC * 10).jitter(0.0);
    let policy = RestartPolicy::permanent().never_give_up().backoff(pauses).reset_after(SEC * 60);
    let (_conn, mut peer, channel) = set_up(policy).await;
    // How long it is up, which attempt follows, after what pause in seconds.
    for (uptime, attempt, after) in [
        (0, 1, 1),
        (0, 2, 2),
        (59, 3, 4),
        (1, 4, 8),
        (0, 5, 10),
        (0, 6, 10),
        (60, 1, 1),
        (0, 2, 2),
        (3_000, 1, 1),
    ] {
        let _remote = up(&channel, &mut peer).await;
        tokio::time::sleep(SEC * uptime).await;
        let ended = Instant::now();
        channel.current().unwrap().kill();
        let state = after_the_end(&channel).await;
        assert_eq!(pause(&state), (attempt, SEC * after));
        let starting = |s: &SupervisedState| matches!(s, SupervisedState::Starting { .. });
        within(channel.states().wait_for(starting)).await.unwrap();
        let waited = ended.elapsed();
        assert!(waited >= SEC * after && waited < SEC * after + SEC / 10, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_shortens_pauses_within_its_bounds_and_spreads_them() {
    let pauses = Backoff::fixed(SEC * 10).jitter(0.5);
    let policy = RestartPolicy::permanent().never_give_up().backoff(pauses);
    let (_conn, mut peer, channel) = set_up(policy).await;
    let mut seen = Vec::new();
    for _ in 0..200 {
        let _remote = up(&channel, &mut peer).await;
        channel.current().unwrap().kill();
        seen.push(pause(&after_the_end(&channel).await).1);
    }
    assert!(seen.iter().all(|pause| (SEC * 5..=SEC * 10).contains(pause)));
    let halves = seen.iter().filter(|pause| **pause < SEC * 15 / 2).count();
    assert!((50..150).contains(&halves), "{halves} of 200 are in the lower half");
}

#[tokio::test(start_paused = true)]
async fn starts_that_keep_failing_are_no_quiet_time() {
    let pauses = Backoff::new(SEC, SEC * 1_000).jitter(0.0);
    let policy = RestartPolicy::permanent().never_give_up().backoff(pauses).reset_after(SEC * 5);
    let (_conn, mut peer, channel) = set_up(policy).await;
    for attempt in 1..=8 {
        peer.expect_open().await.refuse(OpenFailureReason::ResourceShortage, "later");
        let state = after_the_end(&channel).await;
        assert_eq!(pause(&state), (attempt, SEC * 2_u32.pow(attempt - 1)));
    }
    let _remote = up(&channel, &mut peer).await;
}
