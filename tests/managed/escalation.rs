//! A channel that cannot be kept up ends the connection, and the connection has an intensity of its own.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::managed::{ManagedEnd, ManagedState};
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::Backoff;
use ractor_ssh::{Escalation, ManagedSpec};

use crate::common::{Before, PAUSE, channel_up, config, eager, is_up, manage, soon, spec};
use crate::kit::{Peer, Sshd, peer_test};
use crate::lines::{Plan, Say};

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("escalation::it_ends_the_connection_which_comes_back_with_all_channels", SERVER, once),
        peer_test("escalation::storms_that_go_on_reach_the_connections_intensity", SERVER, storms),
        peer_test("escalation::without_it_the_channel_alone_gives_up", SERVER, channel_alone),
    ]
}

async fn once() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec()).await;
    let (plan, _story) = Plan::new("cat");
    let policy = eager().intensity(2, Duration::from_secs(60));
    let sibling = managed.supervise(plan.named(0).spec()).await.unwrap();
    let fragile = plan.named(1).spec_with(policy).on_give_up(Escalation::Connection);
    let fragile = managed.supervise(fragile).await.unwrap();
    for incarnation in 1..=3 {
        channel_up(&fragile, incarnation).await;
        assert_eq!((sibling.info().incarnation, managed.info().connects), (1, 1));
        fragile.cast(Say::Panic).unwrap();
    }
    is_up(&managed, 2).await;
    channel_up(&sibling, 2).await;
    channel_up(&fragile, 4).await;
    let info = managed.info();
    assert_eq!((info.connects, info.escalations, info.losses), (2, 1, 1), "{info:?}");
    assert!(matches!(info.last, Some(ManagedEnd::Escalated(_))), "{:?}", info.last);
    for (line, channel) in [&sibling, &fragile].into_iter().enumerate() {
        let answer = channel.call(|port| Say::Ask(line as u64, port), Duration::from_secs(5)).await;
        assert_eq!(answer.unwrap(), line as u64);
    }
    // Its book has begun anew.
    for incarnation in 5..=6 {
        fragile.cast(Say::Panic).unwrap();
        channel_up(&fragile, incarnation).await;
    }
    assert_eq!((sibling.info().incarnation, fragile.info().escalations), (2, 1));
}

async fn storms() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let policy = eager().intensity(2, Duration::from_secs(60)).backoff(Backoff::fixed(PAUSE));
    let managed = manage(config(&sshd), ManagedSpec::new().restart(policy.clone())).await;
    let (plan, _story) = Plan::new("cat");
    let sibling = managed.supervise(plan.named(0).spec()).await.unwrap();
    let mut hopeless = plan.named(1);
    hopeless.panics = true;
    let hopeless = hopeless.spec_with(policy).on_give_up(Escalation::Connection);
    let hopeless = managed.supervise(hopeless).await.unwrap();
    match soon("the end", managed.wait()).await {
        ManagedState::GaveUp { restarts: 2, last: ManagedEnd::Escalated(why), .. } => {
            assert!(why.contains("as planned"), "{why}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(crate::common::sockets_to(sshd.port()), 0, "nothing is left of the last one");
    let info = managed.info();
    assert_eq!((info.connects, info.escalations), (3, 3), "{info:?}");
    for channel in [&sibling, &hopeless] {
        assert!(matches!(soon("the end", channel.wait()).await, SupervisedState::Down(_)));
    }
    assert_eq!((sibling.info().incarnation, sibling.info().restarts), (3, 0));
    assert_eq!(hopeless.info().incarnation, 9, "three on each connection");
    before.is_restored().await;
}

async fn channel_alone() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec()).await;
    let (plan, _story) = Plan::new("cat");
    let sibling = managed.supervise(plan.named(0).spec()).await.unwrap();
    let mut hopeless = plan.named(1);
    hopeless.panics = true;
    let policy = eager().intensity(2, Duration::from_secs(60));
    let hopeless = managed.supervise(hopeless.spec_with(policy)).await.unwrap();
    assert!(matches!(soon("the end", hopeless.wait()).await, SupervisedState::GaveUp { restarts: 2, .. }));
    channel_up(&sibling, 1).await;
    let info = managed.info();
    assert_eq!((info.connects, info.losses, sibling.info().incarnation), (1, 0, 1));
}
