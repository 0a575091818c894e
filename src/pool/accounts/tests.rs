//! What follows from what.

use super::*;

fn accounts(config: &PoolConfig) -> (Accounts, Instant) {
    (Accounts::new(config), Instant::now())
}

/// One connection that is up.
fn one(sessions: usize) -> (Accounts, Instant) {
    let (mut accounts, now) = accounts(&PoolConfig::new().sessions_per_connection(sessions));
    let number = accounts.open(now);
    accounts.up(number, now);
    (accounts, now)
}

fn take(accounts: &mut Accounts, now: Instant) -> Ticket {
    accounts.take(true, now).expect("there is room")
}

#[test]
fn places_are_given_on_the_oldest_connection_first() {
    let (mut accounts, now) = one(2);
    let second = accounts.open(now);
    assert_eq!([1, 1].map(|_| take(&mut accounts, now).number), [1, 1]);
    assert_eq!(accounts.take(true, now), None, "the second is not up");
    accounts.up(second, now);
    assert_eq!([2, 2].map(|_| take(&mut accounts, now).number), [2, 2]);
    assert_eq!(accounts.take(true, now), None);
    assert_eq!(accounts.take(false, now).map(|ticket| ticket.number), Some(1), "no session needs a place");
}

#[test]
fn a_refusal_with_others_there_teaches_the_limit_and_one_alone_does_not() {
    let (mut accounts, now) = one(10);
    let tickets: Vec<_> = (0..5).map(|_| take(&mut accounts, now)).collect();
    tickets[..3].iter().for_each(|ticket| accounts.confirmed(*ticket, now));
    assert_eq!(accounts.refused(tickets[3], now), Verdict::Again);
    assert_eq!(accounts.limit(now), 3);
    accounts.release(tickets[3], Left::Nothing, now);
    // Confirmed before the refusal, and heard of later.
    accounts.confirmed(tickets[4], now);
    assert_eq!(accounts.limit(now), 4);

    let (mut accounts, now) = one(10);
    let ticket = take(&mut accounts, now);
    assert_eq!(accounts.refused(ticket, now), Verdict::Tell);
    assert_eq!(accounts.learned(), None);
}

#[test]
fn a_while_after_a_refusal_one_more_is_tried_ever_less_often() {
    let (mut accounts, mut now) = one(10);
    let tickets: Vec<_> = (0..3).map(|_| take(&mut accounts, now)).collect();
    tickets[..2].iter().for_each(|ticket| accounts.confirmed(*ticket, now));
    let mut refused = tickets[2];
    for seconds in [5, 10, 20, 40, 60, 60] {
        let _ = accounts.refused(refused, now);
        accounts.release(refused, Left::Nothing, now);
        assert_eq!(accounts.limit(now + Duration::from_millis(seconds * 1000 - 1)), 2);
        now += Duration::from_secs(seconds);
        assert_eq!(accounts.limit(now), 3);
        refused = take(&mut accounts, now);
    }
    accounts.close(1);
    assert_eq!(accounts.limit(now), 10, "whoever is there next may have another limit");
}

#[test]
fn a_place_the_server_has_not_noticed_is_not_free() {
    let (mut accounts, now) = one(1);
    let ticket = take(&mut accounts, now);
    accounts.confirmed(ticket, now);
    accounts.release(ticket, Left::Notice, now);
    assert_eq!(accounts.take(true, now), None);
    assert_eq!(accounts.settling().collect::<Vec<_>>(), [1]);
    assert!(accounts.get(1).is_some_and(Account::is_unused), "nobody uses it");
    accounts.settled(1, ticket.generation, 1);
    assert!(accounts.take(true, now).is_some());
}

#[test]
fn a_process_that_lingers_is_tried_with_growing_pauses_one_at_a_time() {
    let (mut accounts, now) = one(2);
    for _ in 0..2 {
        let ticket = take(&mut accounts, now);
        accounts.confirmed(ticket, now);
        accounts.release(ticket, Left::Process, now);
    }
    assert_eq!(accounts.take(true, now), None);
    let (mut at, mut pauses) = (now, Vec::new());
    for _ in 1..MOST_ALONE {
        let ticket = accounts.attempt(at).expect("it is time");
        assert_eq!(accounts.attempt(at), None, "one is under way");
        assert_eq!(accounts.refused(ticket, at), Verdict::Again);
        accounts.release(ticket, Left::Nothing, at);
        let next = accounts.try_at(1).expect("there is something to try");
        pauses.push((next - at).as_millis());
        assert_eq!(accounts.attempt(at), None, "too early");
        at = next;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000]);
    assert_eq!(accounts.limit(at), 2, "nothing is learned from it");
    let ticket = accounts.attempt(at).expect("it is time");
    assert_eq!(accounts.refused(ticket, at), Verdict::Leave);
}

#[test]
fn a_try_that_succeeds_shows_that_a_process_has_ended() {
    let (mut accounts, now) = one(2);
    for _ in 0..2 {
        let ticket = take(&mut accounts, now);
        accounts.confirmed(ticket, now);
        accounts.release(ticket, Left::Process, now);
    }
    let ticket = accounts.attempt(now).expect("it is time");
    accounts.confirmed(ticket, now);
    assert_eq!(accounts.get(1).map(|account| (account.used, account.lingering)), Some((1, 1)));
}

#[test]
fn more_connections_are_made_for_those_that_those_in_the_making_have_no_room_for() {
    let (mut accounts, now) = accounts(&PoolConfig::new().sessions_per_connection(2).max_connections(2));
    assert!(!accounts.wants_more(0, now));
    assert!(accounts.wants_more(1, now));
    let first = accounts.open(now);
    assert!(!accounts.wants_more(2, now), "there will be room");
    assert!(accounts.wants_more(3, now));
    accounts.open(now);
    assert!(!accounts.wants_more(100, now), "there may be no more");
    assert!(accounts.retire(first));
    assert!(accounts.wants_more(3, now), "one that is drained does not count");
}

#[test]
fn one_that_cannot_be_made_is_not_made_again_at_once_while_another_is_up() {
    let (mut accounts, now) = one(1);
    let _held = take(&mut accounts, now);
    let second = accounts.open(now);
    assert!(accounts.failed(second, now), "callers can wait for the first");
    assert!(!accounts.wants_more(5, now));
    assert!(accounts.wants_more(5, now + NO_MORE));
    accounts.close(1);
    let third = accounts.open(now);
    assert!(!accounts.failed(third, now), "there is nothing to wait for");
    assert!(accounts.wants_more(1, now));
}

#[test]
fn what_was_on_a_connection_before_is_no_business_of_the_next() {
    let (mut accounts, now) = one(1);
    let old = take(&mut accounts, now);
    accounts.confirmed(old, now);
    accounts.down(1);
    assert_eq!(accounts.take(true, now), None);
    accounts.up(1, now);
    let new = take(&mut accounts, now);
    accounts.release(old, Left::Notice, now);
    assert_eq!(accounts.get(1).map(|account| (account.used, account.settling)), Some((1, 0)));
    assert_eq!(accounts.refused(old, now), Verdict::Again, "it was another one that refused");
    accounts.release(new, Left::Nothing, now);
    assert_eq!(accounts.get(1).map(|account| account.used), Some(0));
}

#[test]
fn a_connection_is_evicted_after_so_many_failed_opens_in_a_row_if_it_ever_had_a_channel() {
    let (mut accounts, now) = one(10);
    for _ in 0..10 {
        let ticket = take(&mut accounts, now);
        assert_eq!(accounts.not_opened(ticket), Verdict::Tell, "another would do no better");
        accounts.release(ticket, Left::Nothing, now);
    }
    let ticket = take(&mut accounts, now);
    accounts.confirmed(ticket, now);
    assert_eq!([(); 3].map(|()| accounts.not_opened(ticket)), [Verdict::Tell, Verdict::Tell, Verdict::Evict]);
}

#[test]
fn a_try_that_is_given_up_is_made_again() {
    let (mut accounts, now) = one(1);
    let ticket = take(&mut accounts, now);
    accounts.confirmed(ticket, now);
    accounts.release(ticket, Left::Process, now);
    let ticket = accounts.attempt(now).expect("it is time");
    assert_eq!(accounts.try_at(1), None, "one is under way");
    accounts.release(ticket, Left::Nothing, now);
    assert!(accounts.attempt(now).is_some());
}
