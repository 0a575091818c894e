//! When nobody holds an address any more, nothing is left.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::ManagedSpec;
use ractor_ssh::managed::ManagedState;
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::Backoff;

use crate::common::{
    Before, becomes_true, channel_up, config, config_by, eager, is_backoff, manage, reaches, soon, spec,
    tasks,
};
use crate::kit::{Peer, Sshd, peer_test};
use crate::lines::{Plan, Say};
use crate::proxy::{Proxy, Way};

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("leaks::the_last_address_dropped_while_up", SERVER, dropped_while_up),
        peer_test("leaks::the_last_address_dropped_during_backoff", SERVER, dropped_in_backoff),
        peer_test("leaks::the_last_address_dropped_at_any_moment_of_connecting", SERVER, dropped_any_time),
        peer_test("leaks::a_supervised_channel_keeps_its_connection", SERVER, kept_by_a_channel),
        peer_test("leaks::a_channel_whose_address_is_dropped_leaves_its_place", SERVER, channel_dropped),
        peer_test("leaks::a_keeper_that_is_killed_takes_everything_along", SERVER, keeper_killed),
        peer_test("leaks::many_reconnections_do_not_grow", SERVER, many),
    ]
}

async fn dropped_while_up() {
    let sshd = Sshd::builder().start().unwrap();
    for channels_first in [true, false] {
        let before = Before::look(sshd.port());
        let managed = manage(config(&sshd), spec()).await;
        let (plan, _story) = Plan::new("cat");
        let mut channels = Vec::new();
        for name in 0..3 {
            channels.push(managed.supervise(plan.named(name).spec()).await.unwrap());
            channel_up(&channels[name], 1).await;
        }
        if channels_first {
            drop(channels);
            drop(managed);
        } else {
            drop(managed);
            drop(channels);
        }
        before.is_restored().await;
    }
}

async fn dropped_in_backoff() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let policy = eager().backoff(Backoff::fixed(Duration::from_secs(3_600)));
    let managed = manage(config(&sshd), ManagedSpec::new().restart(policy)).await;
    let (plan, _story) = Plan::new("cat");
    let channel = managed.supervise(plan.spec()).await.unwrap();
    channel_up(&channel, 1).await;
    tokio::task::block_in_place(|| sshd.kill());
    reaches(&managed, "pausing", is_backoff).await;
    let (mut states, mut channel_states) = (managed.states(), channel.states());
    drop((managed, channel));
    before.is_restored().await;
    assert!(states.wait_for(ManagedState::is_final).await.is_ok_and(|state| state.is_final()));
    assert!(channel_states.wait_for(SupervisedState::is_final).await.is_ok_and(|state| state.is_final()));
}

async fn dropped_any_time() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    for step in 0..100_u64 {
        let managed = manage(config(&sshd), spec()).await;
        let (plan, _story) = Plan::new("cat");
        let channel = managed.supervise(plan.spec()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(step * 500)).await;
        drop((managed, channel));
    }
    before.is_restored().await;
}

async fn kept_by_a_channel() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let (plan, _story) = Plan::new("cat");
    let channel = manage(config(&sshd), spec()).await.supervise(plan.spec()).await.unwrap();
    for number in 1..=3 {
        channel_up(&channel, number).await;
        let answer = channel.call(|port| Say::Ask(number, port), Duration::from_secs(5)).await;
        assert_eq!(answer.unwrap(), number);
        tokio::task::block_in_place(|| sshd.kill_sessions());
    }
    channel.stop();
    soon("the end", channel.wait()).await;
    before.is_restored().await;
}

async fn channel_dropped() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec()).await;
    let (plan, _story) = Plan::new("cat");
    // What it needs in any case is running when it has had a channel.
    let once = managed.supervise(plan.named(0).spec()).await.unwrap();
    channel_up(&once, 1).await;
    drop(once);
    becomes_true("it is alone", || managed.info().channels == 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let alone = tasks();
    for _ in 0..20 {
        let first = managed.supervise(plan.named(1).spec()).await.unwrap();
        let second = managed.supervise(plan.named(2).spec()).await.unwrap();
        channel_up(&second, 1).await;
        // The one before is gone; the one behind it has its turn all the same.
        drop(first);
        let third = managed.supervise(plan.named(3).spec()).await.unwrap();
        channel_up(&third, 1).await;
        third.stop();
        second.stop();
    }
    becomes_true("all places are free", || managed.info().channels == 0).await;
    becomes_true("the tasks are as many as before", || tasks() <= alone).await;
}

async fn keeper_killed() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let managed = manage(config(&sshd), spec()).await;
    let (plan, _story) = Plan::new("cat");
    let channel = managed.supervise(plan.spec()).await.unwrap();
    channel_up(&channel, 1).await;
    managed.keeper().kill();
    assert!(soon("the end", managed.wait()).await.is_final());
    assert!(matches!(soon("the end", channel.wait()).await, SupervisedState::Down(_)));
    assert!(managed.connection().await.is_err());
    before.is_restored().await;
}

async fn many() {
    let sshd = Sshd::builder().start().unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    let before = Before::look(proxy.port());
    let managed = manage(config_by(&sshd, proxy.port()), spec()).await;
    let (plan, _story) = Plan::new("cat");
    let mut channels = Vec::new();
    for name in 0..5 {
        channels.push(managed.supervise(plan.named(name).spec()).await.unwrap());
    }
    let mut warm = 0;
    for number in 1..=60 {
        for channel in &channels {
            channel_up(channel, number).await;
        }
        if number == 5 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            warm = tasks();
        }
        proxy.reset_once();
    }
    channel_up(&channels[4], 61).await;
    becomes_true("the tasks are as many as before", || tasks() <= warm).await;
    assert_eq!(crate::common::sockets_to(proxy.port()), 1);
    proxy.set(Way::Reset);
    soon("the stop", managed.shutdown(Duration::ZERO)).await;
    before.is_restored().await;
}
