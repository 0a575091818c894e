//! Policy, with made-up times and chances.

use super::*;
use crate::auth::AuthStop;
use crate::dial::DialError;
use crate::error::Phase;
use crate::host_key::HostKeyError;
use crate::supervision::{Backoff, RestartPolicy};
use crate::wire::codes::DisconnectCode;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn spec(policy: RestartPolicy) -> ManagedSpec {
    ManagedSpec::new().restart(policy.backoff(Backoff::new(MS(100), MS(1_000)).jitter(0.0)))
}

fn begun(spec: &ManagedSpec) -> Course {
    let mut course = Course::new(spec).unwrap();
    assert!(course.begin());
    course
}

fn up(spec: &ManagedSpec, now: Instant) -> Course {
    let mut course = begun(spec);
    course.up(now);
    course
}

fn permanent() -> ManagedSpec {
    spec(RestartPolicy::permanent().never_give_up())
}

fn lost() -> ConnectionError {
    ConnectionError::Lost("cable".into())
}

fn unreachable() -> ConnectError {
    ConnectError::Dial {
        target: "host:22".to_owned(),
        source: DialError::Own(std::io::ErrorKind::ConnectionRefused.into()),
    }
}

fn refused() -> ConnectError {
    AuthError::Refused {
        user: "me".to_owned(),
        stop: AuthStop::Exhausted,
        tried: Vec::new(),
        wanted: Vec::new(),
    }
    .into()
}

fn changed_host() -> ConnectError {
    HostKeyError::NotPinned { name: "host".to_owned(), key: String::new(), pins: Vec::new() }.into()
}

#[test]
fn attempts_in_a_row_are_numbered_and_their_pauses_grow_until_it_was_up_for_long_enough() {
    let now = Instant::now();
    let mut course = begun(&spec(RestartPolicy::permanent().never_give_up().reset_after(MS(5_000))));
    for (attempt, pause) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_000), (6, 1_000)] {
        assert!(matches!(course.state(), ManagedState::Connecting { attempt: seen } if *seen == attempt));
        assert_eq!(course.failed(unreachable(), now, 0.0), Then::Pause(MS(pause)));
        match course.state() {
            ManagedState::Backoff { attempt: seen, after, at, .. } => {
                assert_eq!((*seen, *after, *at), (attempt, MS(pause), now + MS(pause)));
            }
            other => panic!("{other}"),
        }
        assert!(course.begin());
    }
    course.up(now);
    assert_eq!(course.lost(lost(), now + MS(4_999), 0.0), Then::Pause(MS(1_000)), "it did not hold");
    assert!(course.begin());
    assert!(matches!(course.state(), ManagedState::Connecting { attempt: 1 }), "in a row since it was up");
    course.up(now);
    assert_eq!(course.lost(lost(), now + MS(5_000), 0.0), Then::Pause(MS(100)));
}

#[test]
fn what_somebody_has_to_look_at_is_not_tried_again_unless_told_so() {
    let limit = || ConnectError::Timeout { phase: Phase::Kex, after: MS(1) };
    let kicked = |description: &str, tried: bool| {
        let attempt = crate::auth::AuthAttempt::new(
            crate::auth::AuthMethod::Password,
            String::new(),
            crate::auth::AttemptOutcome::Refused,
        );
        ConnectError::from(AuthError::Disconnected {
            code: DisconnectCode(2),
            description: description.to_owned(),
            tried: if tried { vec![attempt] } else { Vec::new() },
        })
    };
    let config = || ConnectError::Config(ConfigError::new("user", "is empty", "give one"));
    let provider = || ConnectError::from(AuthError::Provider { problem: "the vault is sealed".into() });
    let (plain, host, login) =
        (permanent(), permanent().retry_untrusted_host(true), permanent().retry_refused_login(true));
    type Make<'a> = &'a dyn Fn() -> ConnectError;
    let table: [(Make<'_>, [bool; 3]); 8] = [
        (&unreachable, [true, true, true]),
        (&limit, [true, true, true]),
        (&provider, [true, true, true]),
        (&changed_host, [false, true, false]),
        (&refused, [false, false, true]),
        (&|| kicked("too many failures", true), [false, false, true]),
        (&|| kicked("restarting", false), [true, true, true]),
        (&config, [false, false, false]),
    ];
    for (error, retried) in table {
        for (spec, retried) in [&plain, &host, &login].into_iter().zip(retried) {
            let mut course = begun(spec);
            let then = course.failed(error(), Instant::now(), 0.0);
            assert_eq!(matches!(then, Then::Pause(_)), retried, "{}: {spec:?}", error());
            assert_eq!(matches!(course.state(), ManagedState::Failed(_)), !retried);
        }
    }
}

#[test]
fn the_restart_type_decides_after_a_close_on_our_side_a_loss_and_a_failed_attempt() {
    let now = Instant::now();
    for (policy, after_close, after_loss) in [
        (RestartPolicy::permanent(), true, true),
        (RestartPolicy::transient(), false, true),
        (RestartPolicy::temporary(), false, false),
    ] {
        let spec = spec(policy.never_give_up());
        let restarts = |course: Course, then: Then| {
            assert_eq!(matches!(course.state(), ManagedState::Ended(_)), then == Then::Nothing);
            then != Then::Nothing
        };
        let mut closed = up(&spec, now);
        let then = closed.lost(ConnectionError::Closed, now, 0.0);
        assert_eq!(restarts(closed, then), after_close, "{spec:?}");
        let mut cut = up(&spec, now);
        let then = cut.lost(lost(), now, 0.0);
        assert_eq!(restarts(cut, then), after_loss, "{spec:?}");
        let mut escalated = up(&spec, now);
        let then = escalated.escalated("x".into(), now, 0.0);
        assert_eq!(restarts(escalated, then), after_loss, "{spec:?}");
        let mut failed = begun(&spec);
        let then = failed.failed(unreachable(), now, 0.0);
        assert_eq!(restarts(failed, then), after_loss, "{spec:?}");
    }
}

#[test]
fn too_many_restarts_give_up_whatever_they_were_for() {
    let now = Instant::now();
    let mut course = up(&spec(RestartPolicy::permanent().intensity(2, MS(60_000))), now);
    assert!(matches!(course.lost(lost(), now, 0.0), Then::Pause(_)));
    assert!(course.begin());
    assert!(matches!(course.failed(unreachable(), now, 0.0), Then::Pause(_)));
    assert!(course.begin());
    course.up(now);
    assert_eq!(course.escalated("a channel".into(), now, 0.0), Then::Nothing);
    assert!(matches!(
        course.state(),
        ManagedState::GaveUp { restarts: 2, last: ManagedEnd::Escalated(_), .. }
    ));
    assert!(matches!(course.state().over(), Some(ConnectionError::Abandoned(_))));
    assert!(!course.begin());
    assert!(!course.stop());
}

#[test]
fn a_stop_wins_in_every_state() {
    let now = Instant::now();
    let mut pausing = up(&permanent(), now);
    assert!(matches!(pausing.lost(lost(), now, 0.0), Then::Pause(_)));
    for mut course in [begun(&permanent()), up(&permanent(), now), pausing] {
        assert!(course.stop());
        assert!(!course.begin());
        course.up(now);
        assert_eq!(course.failed(unreachable(), now, 0.0), Then::Nothing);
        assert_eq!(course.lost(lost(), now, 0.0), Then::Nothing);
        assert!(matches!(course.state(), ManagedState::Stopping));
        course.stopped(now);
        assert!(matches!(course.state(), ManagedState::Stopped));
    }
}

#[test]
fn everything_is_counted_by_what_it_was() {
    let start = Instant::now();
    let mut course = begun(&permanent().retry_untrusted_host(true).retry_refused_login(true));
    for error in [unreachable(), changed_host(), refused(), refused()] {
        let _ = course.failed(error, start, 0.0);
        assert!(course.begin());
    }
    course.up(start);
    let _ = course.lost(lost(), start + MS(10), 0.0);
    assert!(course.begin());
    course.up(start + MS(20));
    let _ = course.escalated("x".into(), start + MS(25), 0.0);
    let tally = course.tally();
    assert_eq!((tally.attempts, tally.connects, tally.losses, tally.escalations), (6, 2, 2, 1));
    let Failures { dial, kex, auth, .. } = tally.failures;
    assert_eq!((dial, kex, auth, tally.failures.total()), (1, 1, 2, 4));
    assert_eq!((tally.uptime, tally.up_since), (MS(15), None));
}
