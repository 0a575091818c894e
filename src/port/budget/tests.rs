//! Sequences and races on the byte accounts.

use std::sync::atomic::AtomicU64;
use std::task::{Wake, Waker};
use std::thread;

use proptest::prelude::*;

use super::*;

mod credit;

/// Counts how often its task was woken.
#[derive(Default)]
struct Wakes(AtomicU64);

impl Wakes {
    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn waiter() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::new(Wakes::default());
    (Arc::clone(&wakes), Waker::from(wakes))
}

fn poll(budget: &ConnectionBudget, waker: &Waker) -> Poll<()> {
    budget.poll_open(&Context::from_waker(waker))
}

#[test]
fn an_event_is_charged_with_its_overhead_and_given_back_once() {
    let connection = ConnectionBudget::new(1024 * 1024);
    let channel = ChannelBudget::new(Arc::clone(&connection), 1000);
    let mut charge = channel.charge(1000);
    assert_eq!(charge.bytes(), 1000 + PER_EVENT_OVERHEAD);
    assert_eq!((connection.used(), channel.held()), (1128, 1128));
    assert!(channel.is_over());

    let part = charge.take(600);
    assert_eq!((charge.bytes(), part.bytes(), connection.used()), (528, 600, 1128));
    drop(part);
    assert_eq!((connection.used(), channel.held()), (528, 528));
    assert!(!channel.is_over());

    drop(charge.take(usize::MAX));
    assert_eq!((charge.bytes(), connection.used()), (0, 0));
    drop(charge);
    assert_eq!((connection.used(), channel.held()), (0, 0));
}

#[test]
fn merging_a_charge_of_another_channel_moves_it() {
    let connection = ConnectionBudget::new(1024 * 1024);
    let [a, b] = [1, 2].map(|_| ChannelBudget::new(Arc::clone(&connection), 0));
    let mut charge = a.charge(1);
    charge.merge(b.charge(2));
    assert_eq!((a.held(), b.held()), (259, 0));
    assert_eq!((a.budget(), a.connection().limit()), (0, connection.limit()));
    assert_eq!((charge.bytes(), connection.used()), (259, 259));
}

#[test]
fn the_marks_of_the_gate_follow_the_limit() {
    for (limit, low) in [
        (0, 0),
        (1, 0),
        (4, 3),
        (1000, 750),
        (2 * 1024 * 1024, 1536 * 1024),
        (64 * 1024 * 1024, 64 * 1024 * 1024 - MAX_HYSTERESIS),
    ] {
        let budget = ConnectionBudget::new(limit);
        assert_eq!((budget.limit(), budget.low), (limit.max(1), low), "limit {limit}");
    }
}

#[test]
fn the_gate_shuts_at_the_limit_and_opens_at_the_low_water_mark() {
    let (wakes, waker) = waiter();
    let budget = ConnectionBudget::new(1000);
    budget.add(999);
    assert!(poll(&budget, &waker).is_ready());
    budget.add(1);
    assert!(poll(&budget, &waker).is_pending());
    assert_eq!(budget.pauses(), 1);
    budget.sub(249);
    assert!(poll(&budget, &waker).is_pending(), "one byte over the low-water mark");
    assert_eq!(wakes.count(), 0);
    budget.sub(1);
    assert_eq!(wakes.count(), 1);
    assert!(poll(&budget, &waker).is_ready());
    assert_eq!(budget.shut_since(), None);
}

#[tokio::test(start_paused = true)]
async fn time_shut_is_counted_over_all_pauses() {
    let budget = ConnectionBudget::new(100);
    for expected in [3, 6] {
        budget.add(100);
        assert_eq!(budget.shut_since(), Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(budget.shut_total(), Duration::from_secs(expected));
        budget.sub(100);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(budget.shut_total(), Duration::from_secs(expected));
    }
    assert_eq!(budget.pauses(), 2);
}

#[test]
fn the_hook_runs_once_a_pause_and_at_once_if_the_gate_is_shut_already() {
    let calls = Arc::new(AtomicU64::new(0));
    let hook = || {
        let calls = Arc::clone(&calls);
        move || {
            calls.fetch_add(1, Ordering::SeqCst);
        }
    };
    let budget = ConnectionBudget::new(100);
    budget.add(100);
    assert!(budget.on_shut(hook()));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(!budget.on_shut(hook()), "the first hook stays");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    budget.add(100);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "shut already");
    budget.sub(200);
    budget.add(100);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[derive(Debug, Clone)]
enum Op {
    Charge { channel: usize, payload: usize },
    Take { from: usize, bytes: usize },
    Merge { into: usize, from: usize },
    Drop { which: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..3_usize, 0..2000_usize).prop_map(|(channel, payload)| Op::Charge { channel, payload }),
        (any::<usize>(), 0..2500_usize).prop_map(|(from, bytes)| Op::Take { from, bytes }),
        (any::<usize>(), any::<usize>()).prop_map(|(into, from)| Op::Merge { into, from }),
        any::<usize>().prop_map(|which| Op::Drop { which }),
    ]
}

fn apply(op: &Op, channels: &[Arc<ChannelBudget>], live: &mut Vec<Charge>) {
    match *op {
        Op::Charge { channel, payload } => live.push(channels[channel].charge(payload)),
        _ if live.is_empty() => {}
        Op::Take { from, bytes } => {
            let from = from % live.len();
            let part = live[from].take(bytes);
            live.push(part);
        }
        Op::Merge { into, from } => {
            let from = live.swap_remove(from % live.len());
            match live.len() {
                0 => drop(from),
                len => live[into % len].merge(from),
            }
        }
        Op::Drop { which } => drop(live.swap_remove(which % live.len())),
    }
}

proptest! {
    #[test]
    fn the_account_is_the_sum_of_the_live_charges(
        ops in prop::collection::vec(op(), 0..200),
        limit in 1..20_000_usize,
    ) {
        let connection = ConnectionBudget::new(limit);
        let channels = [0, 1, 2].map(|_| ChannelBudget::new(Arc::clone(&connection), 0));
        let mut live = Vec::new();
        let mut shut = false;
        for op in &ops {
            apply(op, &channels, &mut live);
            let used: usize = live.iter().map(Charge::bytes).sum();
            prop_assert_eq!(connection.used(), used);
            prop_assert_eq!(channels.iter().map(|c| c.held()).sum::<usize>(), used);
            // A merge across channels charges before it gives back, so the gate may have shut at
            // its peak; everything else moves the account one way.
            let exact = !matches!(op, Op::Merge { .. });
            if exact {
                shut = if shut { used > connection.low } else { used >= limit };
            } else {
                shut = connection.is_shut();
            }
            let within_marks = if shut { used > connection.low } else { used < limit };
            prop_assert!(within_marks);
            prop_assert_eq!(connection.is_shut(), shut);
        }
        live.clear();
        prop_assert_eq!(connection.used(), 0);
        prop_assert!(!connection.is_shut());
        for channel in &channels {
            prop_assert_eq!(channel.held(), 0);
        }
    }
}

#[test]
fn charges_dropped_on_other_threads_balance_and_leave_the_gate_open() {
    let connection = ConnectionBudget::new(50_000);
    thread::scope(|scope| {
        for seed in 1..=4_usize {
            let channel = ChannelBudget::new(Arc::clone(&connection), 0);
            let (give, take) = std::sync::mpsc::sync_channel::<Charge>(64);
            scope.spawn(move || {
                for n in 0..2000 {
                    let mut charge = channel.charge(n * seed % 3000);
                    let mut part = charge.take(n % 500);
                    part.merge(charge.take(n % 7));
                    give.send(charge).unwrap();
                    drop(part);
                }
            });
            scope.spawn(move || take.into_iter().for_each(drop));
        }
    });
    assert_eq!(connection.used(), 0);
    assert!(!connection.is_shut());
}

/// One thread fills and waits at the gate, as the reader of a socket does; another one consumes.
/// A lost wake-up would leave the first one parked for ever, and the test with it.
#[test]
fn a_waiter_at_the_gate_is_never_forgotten() {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let connection = ConnectionBudget::new(1);
    let channel = ChannelBudget::new(Arc::clone(&connection), 0);
    let (give, take) = std::sync::mpsc::channel::<Charge>();
    let consumer = thread::spawn(move || take.into_iter().for_each(drop));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    for _ in 0..20_000 {
        while poll(&connection, &waker).is_pending() {
            thread::park();
        }
        give.send(channel.charge(0)).unwrap();
    }
    drop(give);
    consumer.join().unwrap();
    assert!(connection.pauses() > 0);
    assert_eq!(connection.used(), 0);
}

#[test]
fn what_is_written_off_counts_no_more_and_is_not_given_back_twice() {
    let connection = ConnectionBudget::new(1000);
    let channel = ChannelBudget::new(Arc::clone(&connection), 1000);
    let sibling = ChannelBudget::new(Arc::clone(&connection), 1000);
    let kept = sibling.charge(72);
    let mut held = channel.charge(872);
    assert!(connection.is_shut());
    channel.write_off();
    assert_eq!((connection.used(), channel.held(), connection.is_shut()), (200, 1000, false));
    channel.write_off();
    let late = channel.charge(500);
    assert_eq!(connection.used(), 200);
    drop(held.take(10));
    drop((held, late));
    assert_eq!((connection.used(), channel.held()), (200, 0));
    drop(kept);
    assert_eq!(connection.used(), 0);
}

#[test]
fn writing_off_while_others_charge_and_give_back_loses_no_byte() {
    for _ in 0..200 {
        let connection = ConnectionBudget::new(1000);
        let channel = ChannelBudget::new(Arc::clone(&connection), 1000);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for n in 0..50 {
                        drop(channel.charge(n));
                    }
                });
            }
            scope.spawn(|| channel.write_off());
        });
        assert_eq!((connection.used(), channel.held()), (0, 0));
        assert!(!connection.is_shut());
    }
}

#[tokio::test(start_paused = true)]
async fn patience_begins_anew_with_what_is_worth_waiting_for() {
    const PATIENCE: Duration = Duration::from_secs(5);
    for (budget, enough) in [(1 << 20, WORTH_WAITING), (1000, 1000)] {
        let channel = ChannelBudget::new(ConnectionBudget::new(1 << 20), budget);
        channel.yields_after(PATIENCE);
        let pass = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
        pass(3).await;
        let begun = Instant::now();
        let mut held = channel.charge(1 << 16);
        assert_eq!(channel.patience_ends(), Some(begun + PATIENCE), "it held nothing before");
        pass(1).await;
        held.release(enough - 1);
        assert_eq!(channel.patience_ends(), Some(begun + PATIENCE), "too little of {budget}");
        pass(1).await;
        held.release(1);
        assert_eq!(channel.patience_ends(), Some(Instant::now() + PATIENCE), "enough of {budget}");
        pass(1).await;
        held.release(enough - 1);
        assert!(channel.patience_ends() < Some(Instant::now() + PATIENCE), "too little of {budget} again");
    }
}
