//! Policy, with made-up times and chances.

use super::*;
use crate::error::{CloseReason, OpenError, StopReason};
use crate::supervision::Backoff;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn killed() -> IncarnationEnd {
    IncarnationEnd::Stopped(StopReason::Killed)
}

fn normal() -> IncarnationEnd {
    IncarnationEnd::Stopped(StopReason::Normal)
}

fn not_opened() -> IncarnationEnd {
    IncarnationEnd::NotStarted(OpenError::Timeout { after: MS(1) })
}

/// Begun, and up at `now`.
fn up(policy: RestartPolicy, now: Instant) -> Course {
    let mut course = Course::new(policy, false).unwrap();
    course.begin().unwrap();
    course.up(now);
    course
}

fn without_chance() -> RestartPolicy {
    RestartPolicy::permanent().backoff(Backoff::new(MS(100), MS(1_000)).jitter(0.0))
}

#[test]
fn each_incarnation_is_told_its_number_and_why_the_last_one_ended() {
    let now = Instant::now();
    let mut course = Course::new(RestartPolicy::permanent(), false).unwrap();
    let first = course.begin().unwrap();
    assert_eq!((first.number, first.last.is_none()), (1, true));
    assert!(matches!(course.ended(not_opened(), now, 0.0), Then::Pause(_)));
    let second = course.begin().unwrap();
    assert_eq!(second.number, 2);
    assert!(matches!(second.last, Some(IncarnationEnd::NotStarted(OpenError::Timeout { .. }))));
    course.up(now);
    assert!(matches!(course.state(), SupervisedState::Up { incarnation: 2 }));
}

#[test]
fn the_restart_type_decides_after_every_kind_of_end() {
    let local = || IncarnationEnd::Stopped(StopReason::Closed(CloseReason::Local));
    let peer = || IncarnationEnd::Stopped(StopReason::Closed(CloseReason::Peer));
    let stalled =
        || IncarnationEnd::Stopped(StopReason::Closed(CloseReason::Stalled { held: 1, after: MS(1) }));
    let failed = || IncarnationEnd::Stopped(StopReason::Failed { callback: "init", error: "x".into() });
    let factory = || IncarnationEnd::FactoryPanicked("x".into());
    let failures: [fn() -> IncarnationEnd; 5] = [killed, not_opened, stalled, failed, factory];
    let normals: [fn() -> IncarnationEnd; 3] = [normal, local, peer];
    for (policy, after_failure, after_normal) in [
        (RestartPolicy::permanent(), true, true),
        (RestartPolicy::transient(), true, false),
        (RestartPolicy::temporary(), false, false),
    ] {
        let ends = failures.iter().map(|end| (end, after_failure));
        for (end, restarts) in ends.chain(normals.iter().map(|end| (end, after_normal))) {
            let mut course = up(policy.clone(), Instant::now());
            let then = course.ended(end(), Instant::now(), 0.5);
            assert_eq!(matches!(then, Then::Pause(_)), restarts, "{policy:?}: {}", end());
            assert_eq!(matches!(course.state(), SupervisedState::Ended(_)), !restarts);
        }
    }
}

#[test]
fn pauses_grow_and_begin_anew_after_a_quiet_period() {
    let start = Instant::now();
    let mut course = up(without_chance().reset_after(MS(5_000)), start);
    for (attempt, pause) in [(1, 100), (2, 200), (3, 400)] {
        assert_eq!(course.ended(killed(), start, 0.0), Then::Pause(MS(pause)));
        match course.state() {
            SupervisedState::Backoff { attempt: seen, after, at } => {
                assert_eq!((*seen, *after, *at), (attempt, MS(pause), start + MS(pause)));
            }
            other => panic!("{other}"),
        }
        course.begin().unwrap();
        course.up(start);
    }
    assert_eq!(course.ended(killed(), start + MS(5_000), 0.0), Then::Pause(MS(100)), "quiet for long enough");
}

#[test]
fn one_restart_too_many_gives_up_for_ever_with_the_last_reason() {
    let now = Instant::now();
    let mut course = up(RestartPolicy::permanent().backoff(Backoff::none()).intensity(2, MS(1_000)), now);
    for _ in 0..2 {
        assert_eq!(course.ended(normal(), now, 0.0), Then::Pause(Duration::ZERO));
        course.begin().unwrap();
    }
    assert_eq!(course.ended(killed(), now, 0.0), Then::Nothing);
    assert!(matches!(
        course.state(),
        SupervisedState::GaveUp { restarts: 2, last: IncarnationEnd::Stopped(StopReason::Killed), .. }
    ));
    assert!(course.begin().is_none());
    course.stop();
    course.connection_down(ConnectionError::Closed);
    assert!(matches!(course.state(), SupervisedState::GaveUp { .. }), "a final state stays");
}

#[test]
fn a_stop_wins_in_every_state() {
    let now = Instant::now();
    let mut starting = Course::new(RestartPolicy::permanent(), false).unwrap();
    starting.begin().unwrap();
    let running = up(RestartPolicy::permanent(), now);
    let mut pausing = up(RestartPolicy::permanent(), now);
    assert!(matches!(pausing.ended(killed(), now, 0.0), Then::Pause(_)));
    for mut course in [starting, running, pausing] {
        course.stop();
        assert!(course.begin().is_none());
        course.up(now);
        assert_eq!(course.ended(killed(), now, 0.0), Then::Nothing);
        course.connection_down(ConnectionError::Closed);
        assert!(matches!(course.state(), SupervisedState::Stopped));
    }
}

#[test]
fn the_end_of_the_connection_is_no_failure_of_the_channel() {
    let lost = || ConnectionError::Lost("cable".into());
    for end in [
        IncarnationEnd::NotStarted(OpenError::Connection(lost())),
        IncarnationEnd::NotStarted(OpenError::Draining),
        IncarnationEnd::Stopped(StopReason::Closed(CloseReason::Connection(lost()))),
    ] {
        let mut course = up(RestartPolicy::permanent(), Instant::now());
        assert_eq!(course.ended(end, Instant::now(), 0.0), Then::Nothing);
        assert!(matches!(course.state(), SupervisedState::Down(_)));
        assert_eq!(course.restarts(), 0);
    }
}

#[test]
fn the_end_of_an_isolated_channels_own_connection_is_a_failure() {
    let mut course = Course::new(RestartPolicy::transient(), true).unwrap();
    course.begin().unwrap();
    let end = StopReason::Closed(CloseReason::Connection(ConnectionError::Lost("cable".into())));
    assert!(matches!(course.ended(IncarnationEnd::Stopped(end), Instant::now(), 0.0), Then::Pause(_)));
}

#[test]
fn what_can_never_succeed_is_not_tried_again() {
    let mut course = up(RestartPolicy::permanent().never_give_up(), Instant::now());
    let end = IncarnationEnd::NotStarted(OpenError::Unsupported { what: "x11".to_owned() });
    assert_eq!(course.ended(end, Instant::now(), 0.0), Then::Nothing);
    assert!(matches!(course.state(), SupervisedState::Ended(_)));
}
