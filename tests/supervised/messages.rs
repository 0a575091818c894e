//! What becomes of messages: taken in order, queued or refused while down, answered once or not at all.

use std::time::Duration;

use ractor_ssh::error::CallError;
use ractor_ssh::supervised::{NotUp, SupervisedCallError, SupervisedState};

use crate::peer::{Opens, Peer};
use crate::probe::{PAUSE, Say, is_backoff, is_up, permanent, state};

const LONG: Duration = Duration::from_secs(30);

fn note(say: Say) -> u32 {
    match say {
        Say::Note(n) => n,
        _ => panic!("another message came back"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cast_while_down_is_refused_and_comes_back() {
    let peer = Peer::connect().await;
    peer.opens(Opens::Hold);
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec).await.unwrap();
    let error = channel.cast(Say::Note(7)).unwrap_err();
    assert!(matches!(error.reason, NotUp::Refused { state: SupervisedState::Starting { .. } }));
    assert!(error.reason.is_retryable());
    assert_eq!(error.to_string(), "the supervised channel is not up: incarnation 1 is starting");
    assert_eq!(note(error.msg), 7);
    assert!(matches!(channel.call(Say::Ask, LONG).await, Err(SupervisedCallError::NotUp(_))));
    let error = channel.send("bytes").await.unwrap_err();
    assert_eq!(error.data, "bytes");
    peer.confirm_held().await;
    channel.up().await.unwrap();
    assert_eq!(channel.call(Say::Ask, LONG).await.unwrap(), (1, vec![]));
    channel.send("bytes").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_delivered_in_order_and_no_more_than_the_bound() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec.queue(3)).await.unwrap();
    channel.up().await.unwrap().kill();
    state(&channel, is_backoff).await;
    for n in 0..3 {
        channel.cast(Say::Note(n)).unwrap();
    }
    let error = channel.cast(Say::Note(3)).unwrap_err();
    assert!(matches!(error.reason, NotUp::QueueFull { bound: 3 }));
    assert_eq!(note(error.msg), 3);
    assert_eq!(channel.info().queued, 3);
    is_up(&channel, 2).await;
    channel.cast(Say::Note(4)).unwrap();
    assert_eq!(channel.call(Say::Ask, LONG).await.unwrap(), (2, vec![0, 1, 2, 4]));
    assert_eq!(channel.info().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn messages_cast_through_a_restart_without_a_gap_stay_in_order() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec.queue(1_000)).await.unwrap();
    channel.up().await.unwrap().kill();
    for n in 0..1_000 {
        channel.cast(Say::Note(n)).unwrap();
        if n % 10 == 0 {
            tokio::time::sleep(PAUSE / 40).await;
        }
    }
    let (incarnation, notes) = channel.call(Say::Ask, LONG).await.unwrap();
    assert_eq!(incarnation, 2);
    assert!(notes.is_sorted(), "out of order: {notes:?}");
    assert_eq!(notes.last(), Some(&999));
}

#[tokio::test(start_paused = true)]
async fn a_queued_call_is_answered_by_the_next_incarnation_or_times_out() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec.queue(2)).await.unwrap();
    channel.up().await.unwrap().kill();
    state(&channel, is_backoff).await;
    let (patient, hasty) = tokio::join!(channel.call(Say::Ask, LONG), channel.call(Say::Ask, PAUSE / 2));
    assert_eq!(patient.unwrap(), (2, vec![]));
    assert!(matches!(hasty, Err(SupervisedCallError::Call(CallError::Timeout { .. }))));
}

#[tokio::test(start_paused = true)]
async fn every_call_gets_one_answer_or_one_error_when_its_incarnation_ends() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec).await.unwrap();
    channel.up().await.unwrap();
    let swallowed = channel.call(Say::Swallow, LONG).await;
    assert!(matches!(swallowed, Err(SupervisedCallError::Call(CallError::NoReply))));
    let (before, panicking, behind) = tokio::join!(
        biased;
        channel.call(Say::Ask, LONG),
        channel.call(Say::PanicWith, LONG),
        channel.call(Say::Ask, LONG),
    );
    assert_eq!(before.unwrap().0, 1);
    assert!(matches!(panicking, Err(SupervisedCallError::Call(CallError::NoReply | CallError::Closed))));
    assert!(matches!(behind, Err(SupervisedCallError::Call(CallError::Closed))), "{behind:?}");
    is_up(&channel, 2).await;
    assert_eq!(channel.call(Say::Ask, LONG).await.unwrap(), (2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_queued_call_gets_its_error_when_the_channel_is_stopped() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec.queue(1)).await.unwrap();
    channel.up().await.unwrap().kill();
    state(&channel, is_backoff).await;
    let (answer, ()) = tokio::join!(biased; channel.call(Say::Ask, LONG), async { channel.stop() });
    assert!(matches!(answer, Err(SupervisedCallError::Call(CallError::Closed))), "{answer:?}");
    assert!(matches!(
        channel.call(Say::Ask, LONG).await,
        Err(SupervisedCallError::NotUp(NotUp::Over { .. }))
    ));
}
