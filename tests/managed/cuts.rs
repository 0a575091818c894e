//! The way to the server is cut, and mended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::config::{Keepalive, Timeouts};
use ractor_ssh::error::ConnectionError;
use ractor_ssh::managed::ManagedEnd;
use ractor_ssh::supervised::NotUp;
use ractor_ssh::{ClientConfig, SupervisedRef};

use crate::common::{CLOSE, becomes_true, channel_up, config_by, is_up, manage, reaches, soon, spec};
use crate::kit::{Peer, Sshd, peer_test};
use crate::lines::{Lines, Plan, Say};
use crate::proxy::{Proxy, Way};

/// Three of these without a sound are the end.
const INTERVAL: Duration = Duration::from_millis(250);

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("cuts::silence_is_noticed_by_keepalive_and_outlasted", SERVER, silence),
        peer_test("cuts::every_call_across_a_cut_gets_one_answer_or_one_error", SERVER, calls),
        peer_test("cuts::every_queued_call_across_a_cut_gets_one_answer_or_one_error", SERVER, queued_calls),
        peer_test("cuts::what_is_cast_while_cut_off_is_refused_and_comes_back", SERVER, refused_casts),
        peer_test("cuts::what_is_queued_is_delivered_once_in_order_up_to_the_bound", SERVER, queued_casts),
        peer_test("cuts::casts_through_many_cuts_come_at_most_once_and_in_order", SERVER, casts_through_cuts),
        peer_test("cuts::a_hundred_cuts_in_a_row_are_survived", SERVER, many_cuts),
    ]
}

/// Notices silence soon, and does not wait for answers for long.
pub(crate) fn alert(sshd: &Sshd, port: u16) -> ClientConfig {
    let mut timeouts = Timeouts::default();
    timeouts.close = CLOSE;
    timeouts.version = 3 * INTERVAL;
    config_by(sshd, port).keepalive(Keepalive::new(INTERVAL, 3)).timeouts(timeouts)
}

async fn server() -> (Sshd, Proxy) {
    let sshd = Sshd::builder().max_sessions(100).start().unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    (sshd, proxy)
}

async fn silence() {
    let (sshd, proxy) = server().await;
    let (plan, _story) = Plan::new("cat");
    let managed = manage(alert(&sshd, proxy.port()), spec()).await;
    let channel = managed.supervise(plan.spec()).await.unwrap();
    channel_up(&channel, 1).await;
    // As long as there are answers, silence is no harm.
    tokio::time::sleep(10 * INTERVAL).await;
    assert_eq!(managed.info().losses, 0);

    proxy.set(Way::Silent);
    let start = Instant::now();
    reaches(&managed, "lost", |state| !state.is_up()).await;
    let noticed = start.elapsed();
    assert!(noticed >= 2 * INTERVAL && noticed < 30 * INTERVAL, "noticed after {noticed:?}");
    let info = managed.info();
    match &info.last {
        Some(ManagedEnd::Lost(ConnectionError::PeerDead { .. })) => {}
        other => panic!("{other:?}"),
    }
    reaches(&managed, "trying", |_| managed.info().failures.version >= 2).await;
    proxy.set(Way::Open);
    channel_up(&channel, 2).await;
    let answer = channel.call(|port| Say::Ask(7, port), Duration::from_secs(5)).await;
    assert_eq!(answer.unwrap(), 7);
    assert_eq!(managed.info().losses, 1);
}

/// Resets and silences, each when the channel is up again.
async fn disturb(proxy: &Proxy, channel: &SupervisedRef<Lines>, times: u64) {
    for time in 0..times {
        channel_up(channel, time + 1).await;
        soon("the channel", channel.up()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        if time % 2 == 0 {
            proxy.set(Way::Reset);
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else {
            proxy.set(Way::Silent);
            tokio::time::sleep(6 * INTERVAL).await;
        }
        proxy.set(Way::Open);
    }
}

async fn calls() {
    calls_through_cuts(0).await;
}

async fn queued_calls() {
    calls_through_cuts(1_000).await;
}

async fn calls_through_cuts(queue: usize) {
    const CALLERS: u64 = 8;
    let (sshd, proxy) = server().await;
    let (plan, _story) = Plan::new("cat");
    let given = Arc::clone(&plan.given);
    let managed = manage(alert(&sshd, proxy.port()), spec()).await;
    let channel = managed.supervise(plan.spec().queue(queue)).await.unwrap();
    channel_up(&channel, 1).await;
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (channel, over) = (channel.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let (mut answered, mut failed) = (Vec::new(), Vec::new());
                for round in 0.. {
                    let line = round * CALLERS + caller;
                    let limit = Duration::from_secs(10);
                    match channel.call(|port| Say::Ask(line, port), limit).await {
                        Ok(answer) => {
                            assert_eq!(answer, line);
                            answered.push(line);
                        }
                        Err(_) => {
                            failed.push(line);
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                    if over.load(Ordering::SeqCst) {
                        assert_eq!(answered.len() + failed.len(), usize::try_from(round).unwrap() + 1);
                        break;
                    }
                }
                (answered, failed)
            })
        })
        .collect();
    disturb(&proxy, &channel, 6).await;
    is_up(&managed, 2).await;
    channel_up(&channel, 7).await;
    over.store(true, Ordering::SeqCst);
    let (mut answered, mut failed) = (Vec::new(), Vec::new());
    for caller in callers {
        let (yes, no) = soon("the caller", caller).await.unwrap();
        answered.extend(yes);
        failed.extend(no);
    }
    assert!(!answered.is_empty() && !failed.is_empty(), "{} and {}", answered.len(), failed.len());
    let mut given = given.lock().unwrap_or_else(PoisonError::into_inner).clone();
    given.sort_unstable();
    let times = given.len();
    given.dedup();
    assert_eq!(given.len(), times, "no call is given to a behaviour twice");
    assert!(answered.iter().all(|line| given.binary_search(line).is_ok()));
}

async fn refused_casts() {
    let (sshd, proxy) = server().await;
    let (plan, _story) = Plan::new("cat");
    let given = Arc::clone(&plan.given);
    let managed = manage(alert(&sshd, proxy.port()), spec()).await;
    let channel = managed.supervise(plan.spec()).await.unwrap();
    channel_up(&channel, 1).await;
    proxy.set(Way::Reset);
    becomes_true("the channel is not up", || !channel.state().is_up()).await;
    for line in 0..10 {
        let error = channel.cast(Say::Tell(line)).unwrap_err();
        assert!(matches!(error.reason, NotUp::Refused { .. }) && error.reason.is_retryable());
        assert!(matches!(error.msg, Say::Tell(same) if same == line));
    }
    let call = channel.call(|port| Say::Ask(10, port), Duration::from_secs(5)).await;
    assert!(call.is_err());
    proxy.set(Way::Open);
    channel_up(&channel, 2).await;
    channel.call(|port| Say::Ask(11, port), Duration::from_secs(5)).await.unwrap();
    assert_eq!(*given.lock().unwrap(), [11]);
}

/// The numbers in a file, one a line.
fn numbers(path: &std::path::Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

async fn queued_casts() {
    const BOUND: usize = 50;
    const LAST: u64 = 50;
    let (sshd, proxy) = server().await;
    let file = sshd.directory().join("told");
    let (plan, _story) = Plan::new(&format!("exec cat >> '{}'", file.display()));
    let managed = manage(alert(&sshd, proxy.port()), spec()).await;
    let channel = managed.supervise(plan.spec().queue(BOUND)).await.unwrap();
    channel_up(&channel, 1).await;
    channel.cast(Say::Tell(0)).unwrap();
    becomes_true("the first is there", || numbers(&file) == [0]).await;
    proxy.set(Way::Reset);
    becomes_true("the channel is not up", || !channel.state().is_up()).await;
    for line in 1..=LAST {
        channel.cast(Say::Tell(line)).unwrap();
    }
    for line in LAST + 1..LAST + 5 {
        let error = channel.cast(Say::Tell(line)).unwrap_err();
        assert!(matches!(error.reason, NotUp::QueueFull { bound } if bound == BOUND));
    }
    assert_eq!(channel.info().queued, BOUND);
    proxy.set(Way::Open);
    channel_up(&channel, 2).await;
    channel.cast(Say::Tell(1_000)).unwrap();
    let expected: Vec<u64> = (0..=LAST).chain([1_000]).collect();
    becomes_true("all of it is there", || numbers(&file).len() >= expected.len()).await;
    assert_eq!(numbers(&file), expected);
    drop(managed);
}

async fn casts_through_cuts() {
    let (sshd, proxy) = server().await;
    let (plan, _story) = Plan::new("cat >/dev/null");
    let given = Arc::clone(&plan.given);
    let managed = manage(alert(&sshd, proxy.port()), spec()).await;
    let channel = managed.supervise(plan.spec().queue(100)).await.unwrap();
    channel_up(&channel, 1).await;
    let over = Arc::new(AtomicBool::new(false));
    let caster = tokio::spawn({
        let (channel, over) = (channel.clone(), Arc::clone(&over));
        async move {
            let mut next = 0;
            while !over.load(Ordering::SeqCst) {
                if channel.cast(Say::Tell(next)).is_ok() {
                    next += 1;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            next
        }
    });
    disturb(&proxy, &channel, 6).await;
    channel_up(&channel, 7).await;
    over.store(true, Ordering::SeqCst);
    let cast = caster.await.unwrap();
    channel.call(|port| Say::Ask(cast, port), Duration::from_millis(100)).await.unwrap_err();
    let given = given.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(given.is_sorted_by(|a, b| a < b), "once each, and in order");
    assert_eq!(given.last(), Some(&cast));
    assert!(given.len() > 100, "{} of {cast}", given.len());
}

async fn many_cuts() {
    let (sshd, proxy) = server().await;
    let (plan, _story) = Plan::new("cat");
    let managed = manage(alert(&sshd, proxy.port()), spec()).await;
    let mut channels = Vec::new();
    for name in 0..5 {
        channels.push(managed.supervise(plan.named(name).spec()).await.unwrap());
    }
    for time in 0..100_u64 {
        // At any moment: while it connects, logs in, brings up its channels, is up.
        tokio::time::sleep(Duration::from_millis(time * 7 % 60)).await;
        proxy.reset_once();
    }
    for (line, channel) in (0..).zip(&channels) {
        soon("the channel", channel.up()).await.unwrap();
        answers_in_the_end(channel, line).await;
    }
    let info = managed.info();
    assert_eq!(info.attempts, info.connects + info.failures.total());
    assert_eq!(info.losses + 1, info.connects);
}

/// It answers; a cut may still be on its way.
async fn answers_in_the_end(channel: &SupervisedRef<Lines>, line: u64) {
    let end = Instant::now() + crate::common::SOON;
    while channel.call(|port| Say::Ask(line, port), Duration::from_secs(5)).await.is_err() {
        assert!(Instant::now() < end, "it never answers: {:?}", channel.info());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
