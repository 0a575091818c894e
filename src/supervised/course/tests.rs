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

fn terms(policy: RestartPolicy) -> Terms {
    Terms {
        policy,
        on_give_up: Escalation::Channel,
        isolate_stalled: true,
        isolated: false,
        comes_back: false,
    }
}

fn course(policy: RestartPolicy) -> Result<Course, ConfigError> {
    Course::new(terms(policy))
}

/// Begun, and up at `now`.
fn up(policy: RestartPolicy, now: Instant) -> Course {
    let mut course = course(policy).unwrap();
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
    let mut course = course(RestartPolicy::permanent()).unwrap();
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
    let mut starting = course(RestartPolicy::permanent()).unwrap();
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
    let mut course = Course::new(Terms { isolated: true, ..terms(RestartPolicy::transient()) }).unwrap();
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

/// On a managed connection, begun, and up at `now`.
fn managed(policy: RestartPolicy, on_give_up: Escalation, now: Instant) -> Course {
    let mut course = Course::new(Terms { comes_back: true, on_give_up, ..terms(policy) }).unwrap();
    assert!(
        matches!(course.state(), SupervisedState::Waiting),
        "nothing is opened before there is a connection"
    );
    course.begin().unwrap();
    course.up(now);
    course
}

#[test]
fn on_a_managed_connection_the_end_of_the_connection_is_waited_out_and_counts_for_nothing() {
    let lost = || ConnectionError::Lost("cable".into());
    let now = Instant::now();
    for policy in [RestartPolicy::permanent(), RestartPolicy::transient(), RestartPolicy::temporary()] {
        let policy = policy.intensity(0, MS(1_000));
        let mut course = managed(policy, Escalation::Channel, now);
        for number in 2..6 {
            // The channel says so itself, or it ends in its own way when the connection is known to be gone.
            if number % 2 == 0 {
                course.wait();
                assert_eq!(course.ended(killed(), now, 0.0), Then::Enter);
            } else {
                let end = IncarnationEnd::Stopped(StopReason::Closed(CloseReason::Connection(lost())));
                assert_eq!(course.ended(end, now, 0.0), Then::Enter);
            }
            assert!(matches!(course.state(), SupervisedState::Waiting));
            assert_eq!(course.begin().unwrap().number, number);
            course.up(now);
        }
        assert_eq!(course.restarts(), 0);
    }
}

#[test]
fn a_behaviour_that_ended_itself_when_its_connection_was_lost_comes_back_only_if_permanent() {
    let now = Instant::now();
    for reason in [StopReason::Normal, StopReason::Because("done")] {
        for (policy, comes_back) in [
            (RestartPolicy::permanent(), true),
            (RestartPolicy::transient(), false),
            (RestartPolicy::temporary(), false),
        ] {
            let mut course = managed(policy, Escalation::Channel, now);
            course.wait();
            let then = course.ended(IncarnationEnd::Stopped(reason.clone()), now, 0.0);
            assert_eq!(then == Then::Enter, comes_back, "{then:?}");
            assert_eq!(matches!(course.state(), SupervisedState::Ended(_)), !comes_back);
            assert_eq!(course.restarts(), 0);
        }
    }
}

#[test]
fn a_channel_that_was_restarted_too_often_ends_what_its_specification_names() {
    let now = Instant::now();
    let never = || RestartPolicy::permanent().intensity(0, MS(1_000));
    for (comes_back, on_give_up, then) in [
        (false, Escalation::Channel, Then::Nothing),
        (true, Escalation::Channel, Then::Nothing),
        (false, Escalation::Connection, Then::Escalate),
        (true, Escalation::Connection, Then::Escalate),
    ] {
        let mut course = Course::new(Terms { comes_back, on_give_up, ..terms(never()) }).unwrap();
        course.begin().unwrap();
        course.up(now);
        assert_eq!(course.ended(killed(), now, 0.0), then);
        let goes_on = comes_back && then == Then::Escalate;
        assert_eq!(matches!(course.state(), SupervisedState::GaveUp { .. }), !goes_on);
        assert_eq!(matches!(course.state(), SupervisedState::Waiting), goes_on);
        assert_eq!(course.escalations(), u64::from(then == Then::Escalate));
    }
}

#[test]
fn after_an_escalation_on_a_managed_connection_the_book_begins_anew_and_the_counters_do_not() {
    let now = Instant::now();
    let policy = RestartPolicy::permanent().backoff(Backoff::none()).intensity(1, MS(1_000));
    let mut course = managed(policy, Escalation::Connection, now);
    for round in 1..4 {
        assert_eq!(course.ended(killed(), now, 0.0), Then::Pause(Duration::ZERO));
        course.begin().unwrap();
        assert_eq!(course.ended(killed(), now, 0.0), Then::Escalate);
        assert_eq!((course.escalations(), course.restarts()), (round, round));
        course.begin().unwrap();
    }
}

#[test]
fn a_channel_that_stalled_is_isolated_from_then_on_unless_it_cannot_or_may_not_be() {
    for (may, can, isolated) in [(true, true, true), (false, true, false), (true, false, false)] {
        let terms = Terms { isolate_stalled: may, ..terms(RestartPolicy::permanent()) };
        let mut course = Course::new(terms).unwrap();
        course.begin().unwrap();
        course.stalled(can);
        assert_eq!(course.is_isolated(), isolated);
    }
}
