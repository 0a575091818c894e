//! Tables of answers and the steps that must follow them.

use super::*;
use AuthMethod::{KeyboardInteractive as Kbd, None as NoneM, Password as Pw, PublicKey as Key};

/// What the far side does about a step.
#[derive(Debug, Clone)]
enum Do {
    List(usize),
    Refuse(&'static [AuthMethod]),
    Partial(&'static [AuthMethod]),
    Fail,
    GiveUp(&'static [AuthMethod]),
}

const fn attempt(slot: usize, item: usize) -> Step {
    Step::Try { slot, item }
}

const EXHAUSTED: Step = Step::Stop(AuthStop::Exhausted);

/// Walks through a script; the last step must be the given one.
fn walk(name: &str, slots: Vec<Slot>, max: u32, script: &[(Step, Do)], last: Step) -> Plan {
    let mut plan = Plan::new(slots, max);
    for (number, (expected, action)) in script.iter().enumerate() {
        let step = plan.next_step();
        assert_eq!(step, *expected, "{name}: step {number}");
        match (action.clone(), step) {
            (Do::List(count), Step::List { slot }) => plan.handle_listed(slot, count),
            (Do::List(_), other) => panic!("{name}: {other:?} lists nothing"),
            (Do::Refuse(offered), _) => plan.handle_answer(Answer::Refused(offered.to_vec())),
            (Do::Partial(offered), _) => plan.handle_answer(Answer::Partial(offered.to_vec())),
            (Do::GiveUp(offered), _) => plan.handle_answer(Answer::GaveUp(offered.to_vec())),
            (Do::Fail, _) => plan.handle_answer(Answer::Unusable),
        }
    }
    assert_eq!(plan.next_step(), last, "{name}: last step");
    plan
}

#[test]
fn a_password_is_not_sent_before_the_server_has_offered_it() {
    let slots = vec![Slot::once(Pw), Slot::asks(Kbd, 1)];
    let script = [(Step::Probe, Do::Refuse(&[Key, Kbd])), (attempt(1, 0), Do::Refuse(&[Key, Kbd]))];
    let plan = walk("password", slots, 6, &script, EXHAUSTED);
    assert_eq!(plan.left_over(), [(Pw, LeftOver::NotOffered)]);
    assert_eq!(plan.wanted(), [Key, Kbd]);
}

#[test]
fn a_key_is_tried_at_once_without_asking_for_methods() {
    let script = [
        (Step::List { slot: 0 }, Do::List(1)),
        (attempt(0, 0), Do::Refuse(&[Pw])),
        (attempt(1, 0), Do::Refuse(&[Pw])),
    ];
    walk("key", vec![Slot::named_keys(), Slot::once(Pw)], 6, &script, EXHAUSTED);
}

#[test]
fn the_order_of_the_list_is_kept_not_the_servers() {
    let slots = vec![Slot::asks(Kbd, 1), Slot::once(Pw), Slot::named_keys()];
    let all: &[_] = &[Key, Pw, Kbd];
    let script = [
        (Step::Probe, Do::Refuse(all)),
        (attempt(0, 0), Do::Refuse(all)),
        (attempt(1, 0), Do::Refuse(all)),
        (Step::List { slot: 2 }, Do::List(2)),
        (attempt(2, 0), Do::Refuse(all)),
        (attempt(2, 1), Do::Refuse(all)),
    ];
    walk("order", slots, 6, &script, EXHAUSTED);
}

#[test]
fn partial_success_goes_on_with_what_the_server_wants_next() {
    let slots = || vec![Slot::named_keys(), Slot::once(Pw), Slot::asks(Kbd, 1)];
    for (name, next, slot) in [("publickey,password", Pw, 1), ("publickey,keyboard-interactive", Kbd, 2)] {
        let next: &'static [AuthMethod] = if next == Pw { &[Pw] } else { &[Kbd] };
        let script = [
            (Step::List { slot: 0 }, Do::List(1)),
            (attempt(0, 0), Do::Partial(next)),
            (attempt(slot, 0), Do::Refuse(next)),
        ];
        walk(name, slots(), 6, &script, EXHAUSTED);
    }
}

#[test]
fn two_keys_in_a_row_need_two_different_keys() {
    let script = [
        (Step::List { slot: 0 }, Do::List(2)),
        (attempt(0, 0), Do::Partial(&[Key])),
        (attempt(0, 1), Do::Partial(&[Key])),
    ];
    walk("publickey,publickey", vec![Slot::named_keys()], 6, &script, EXHAUSTED);
}

#[test]
fn a_method_that_is_wanted_again_after_a_partial_success_may_ask_again_but_not_resend_a_password() {
    let script = [
        (Step::Probe, Do::Refuse(&[Pw, Kbd])),
        (attempt(0, 0), Do::Partial(&[Pw, Kbd])),
        (attempt(1, 0), Do::Partial(&[Kbd])),
        (attempt(1, 0), Do::Refuse(&[Kbd])),
    ];
    walk("again", vec![Slot::once(Pw), Slot::asks(Kbd, 1)], 6, &script, EXHAUSTED);
}

#[test]
fn refusals_stop_at_the_limit_and_none_is_not_counted() {
    let all: &[_] = &[Key, Pw];
    let script = [
        (attempt(0, 0), Do::Refuse(all)),
        (Step::List { slot: 1 }, Do::List(3)),
        (attempt(1, 0), Do::Refuse(all)),
        (attempt(1, 1), Do::Refuse(all)),
    ];
    let slots = vec![Slot::once(NoneM), Slot::named_keys(), Slot::once(Pw)];
    let plan = walk("limit", slots, 2, &script, Step::Stop(AuthStop::AttemptLimit { max: 2 }));
    assert_eq!(plan.left_over(), [(Key, LeftOver::Keys(1)), (Pw, LeftOver::NotReached)]);
}

#[test]
fn keys_of_an_agent_leave_an_attempt_for_each_later_method_that_is_offered() {
    let all: &[_] = &[Key, Pw, Kbd];
    let slots = vec![Slot::found_keys(), Slot::once(Pw), Slot::asks(Kbd, 1)];
    let script = [
        (Step::List { slot: 0 }, Do::List(10)),
        (attempt(0, 0), Do::Refuse(all)),
        (attempt(0, 1), Do::Refuse(all)),
        (attempt(1, 0), Do::Refuse(all)),
        (attempt(2, 0), Do::Refuse(all)),
    ];
    let plan = walk("room", slots.clone(), 4, &script, Step::Stop(AuthStop::AttemptLimit { max: 4 }));
    assert_eq!(plan.left_over(), [(Key, LeftOver::Keys(8))]);

    let only_keys: &[_] = &[Key];
    let script = [
        (Step::List { slot: 0 }, Do::List(10)),
        (attempt(0, 0), Do::Refuse(only_keys)),
        (attempt(0, 1), Do::Refuse(only_keys)),
        (attempt(0, 2), Do::Refuse(only_keys)),
        (attempt(0, 3), Do::Refuse(only_keys)),
    ];
    walk("no reserve", slots, 4, &script, Step::Stop(AuthStop::AttemptLimit { max: 4 }));
}

#[test]
fn an_agent_may_offer_one_key_however_little_room_there_is() {
    let all: &[_] = &[Key, Pw, Kbd];
    let script = [
        (Step::List { slot: 0 }, Do::List(5)),
        (attempt(0, 0), Do::Refuse(all)),
        (attempt(1, 0), Do::Refuse(all)),
    ];
    let slots = vec![Slot::found_keys(), Slot::once(Pw), Slot::asks(Kbd, 1)];
    walk("tight", slots, 2, &script, Step::Stop(AuthStop::AttemptLimit { max: 2 }));
}

#[test]
fn what_fails_on_our_side_is_not_counted_and_not_asked_again() {
    let all: &[_] = &[Key, Pw];
    let script = [
        (Step::List { slot: 0 }, Do::List(2)),
        (attempt(0, 0), Do::Fail),
        (attempt(0, 1), Do::Fail),
        (Step::Probe, Do::Refuse(all)),
        (attempt(1, 0), Do::Fail),
        (attempt(2, 0), Do::Refuse(all)),
    ];
    let slots = vec![Slot::found_keys(), Slot::asks(Pw, 3), Slot::once(Pw)];
    walk("local", slots, 1, &script, Step::Stop(AuthStop::AttemptLimit { max: 1 }));
}

#[test]
fn giving_up_in_the_middle_is_counted_and_not_asked_again() {
    let all: &[_] = &[Kbd, Pw];
    let script = [(Step::Probe, Do::Refuse(all)), (attempt(0, 0), Do::GiveUp(all))];
    let slots = vec![Slot::asks(Kbd, 3), Slot::once(Pw)];
    walk("gave up", slots.clone(), 2, &script, attempt(1, 0));
    walk("gave up", slots, 1, &script, Step::Stop(AuthStop::AttemptLimit { max: 1 }));
}

#[test]
fn somebody_is_asked_as_often_as_allowed() {
    let script = [
        (Step::Probe, Do::Refuse(&[Pw])),
        (attempt(0, 0), Do::Refuse(&[Pw])),
        (attempt(0, 1), Do::Refuse(&[Pw])),
        (attempt(0, 2), Do::Refuse(&[Pw])),
    ];
    walk("asks", vec![Slot::asks(Pw, 3)], 6, &script, EXHAUSTED);
}

#[test]
fn a_source_without_keys_is_passed_over() {
    let script = [(Step::List { slot: 0 }, Do::List(0)), (Step::Probe, Do::Refuse(&[Pw]))];
    walk("empty agent", vec![Slot::found_keys(), Slot::once(Pw)], 6, &script, attempt(1, 0));
}

#[test]
fn a_server_that_is_never_satisfied_is_given_up() {
    let mut plan = Plan::new(vec![Slot::asks(Kbd, 1)], 6);
    assert_eq!(plan.next_step(), Step::Probe);
    plan.handle_answer(Answer::Refused(vec![Kbd]));
    for _ in 0..MAX_STEPS {
        assert_eq!(plan.next_step(), attempt(0, 0));
        plan.handle_answer(Answer::Partial(vec![Kbd]));
    }
    assert_eq!(plan.next_step(), EXHAUSTED);
}
