//! The outbound semaphore.

use std::pin::pin;

use proptest::prelude::*;

use super::super::*;
use super::waiter;

fn take(credit: &OutboundCredit, bytes: usize) -> Option<OutboundPermit<'_>> {
    let (_, waker) = waiter();
    match pin!(credit.acquire(bytes)).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(permit) => Some(permit.unwrap()),
        Poll::Pending => None,
    }
}

#[test]
fn a_chunk_larger_than_the_capacity_takes_the_capacity() {
    let credit = OutboundCredit::new(1);
    let permit = take(&credit, 32 * 1024).unwrap();
    assert_eq!((permit.bytes(), credit.outstanding()), (1, 1));
    permit.spend();
    assert!(take(&credit, 1).is_none());
    credit.released(32 * 1024);
    assert_eq!(credit.outstanding(), 0);
    assert!(take(&credit, 1).is_some());
}

#[test]
fn waiters_are_served_first_come_first_served() {
    let credit = OutboundCredit::new(10);
    take(&credit, 10).unwrap().spend();
    let (_, waker) = waiter();
    let cx = &mut Context::from_waker(&waker);
    let mut large = pin!(credit.acquire(8));
    let mut small = pin!(credit.acquire(1));
    assert!(large.as_mut().poll(cx).is_pending());
    assert!(small.as_mut().poll(cx).is_pending());
    credit.released(7);
    assert!(small.as_mut().poll(cx).is_pending(), "the small one must not overtake");
    credit.released(3);
    assert!(large.as_mut().poll(cx).is_ready());
    assert!(small.as_mut().poll(cx).is_ready());
}

#[test]
fn an_unspent_permit_goes_back_and_so_does_a_cancelled_wait() {
    let credit = OutboundCredit::new(10);
    drop(take(&credit, 6).unwrap());
    assert_eq!(credit.outstanding(), 0);
    let kept = take(&credit, 6).unwrap();
    {
        let (_, waker) = waiter();
        let waiting = pin!(credit.acquire(10));
        assert!(waiting.poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(take(&credit, 4).is_some());
    drop(kept);
    assert_eq!(credit.outstanding(), 0);
}

#[test]
fn more_ciphertext_than_credit_gives_back_no_more_than_was_out() {
    let credit = OutboundCredit::new(10);
    credit.released(1000);
    take(&credit, 10).unwrap().spend();
    assert!(take(&credit, 1).is_none());
    credit.released(1000);
    take(&credit, 10).unwrap().spend();
    assert!(take(&credit, 1).is_none());
}

#[test]
fn settling_forgives_what_will_not_come_home() {
    let all = OutboundCredit::DEFAULT_CAPACITY;
    let credit = OutboundCredit::new(all);
    take(&credit, all).unwrap().spend();
    credit.settle();
    assert_eq!(credit.outstanding(), 0);
    take(&credit, all).unwrap().spend();
    assert!(take(&credit, 1).is_none());
}

#[test]
fn closing_ends_those_who_wait_and_those_who_come() {
    let credit = OutboundCredit::new(1);
    take(&credit, 1).unwrap().spend();
    let (wakes, waker) = waiter();
    let cx = &mut Context::from_waker(&waker);
    let mut waiting = pin!(credit.acquire(1));
    assert!(waiting.as_mut().poll(cx).is_pending());
    credit.close();
    assert_eq!(wakes.count(), 1);
    assert!(matches!(waiting.poll(cx), Poll::Ready(Err(OutboundClosed))));
    assert!(matches!(pin!(credit.acquire(0)).poll(cx), Poll::Ready(Err(OutboundClosed))));
    assert!(credit.is_closed());
}

proptest! {
    #[test]
    fn free_and_outstanding_add_up_to_the_capacity(
        capacity in 1..100_usize,
        ops in prop::collection::vec((0..4_u8, 0..150_usize), 0..100),
    ) {
        let credit = OutboundCredit::new(capacity);
        let mut held = Vec::new();
        for (op, n) in ops {
            match op {
                0 => held.extend(take(&credit, n)),
                1 if !held.is_empty() => held.swap_remove(n % held.len()).spend(),
                2 => drop(held.pop()),
                _ => credit.released(n),
            }
            prop_assert_eq!(credit.free_now() + credit.outstanding(), capacity);
        }
        held.clear();
        credit.settle();
        prop_assert_eq!(credit.free_now(), capacity);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_and_one_wire_never_stop() {
    let credit = OutboundCredit::new(100);
    let (wire, mut sent) = tokio::sync::mpsc::unbounded_channel::<usize>();
    let writers: Vec<_> = (1..=8_usize)
        .map(|seed| {
            let (credit, wire) = (Arc::clone(&credit), wire.clone());
            tokio::spawn(async move {
                for n in 0..300 {
                    let permit = credit.acquire(n * seed % 150).await.unwrap();
                    let bytes = permit.bytes();
                    if n % 10 == 0 {
                        continue;
                    }
                    permit.spend();
                    wire.send(bytes).unwrap();
                }
            })
        })
        .collect();
    drop(wire);
    while let Some(bytes) = sent.recv().await {
        credit.released(bytes);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!((credit.outstanding(), credit.free_now()), (0, 100));
}
