//! `sshd` goes away and comes back.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::managed::ManagedState;
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{Client, ManagedRef, ManagedSpec, SupervisedRef};

use crate::common::{Before, channel_up, config, eager, is_backoff, is_up, manage, reaches, soon, spec};
use crate::kit::{Peer, Sshd, peer_test};
use crate::lines::{Lines, Plan, Say, Story, Told};

const CHANNELS: usize = 20;

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("restarts::twenty_channels_come_back_in_order_under_the_same_addresses", SERVER, twenty),
        peer_test("restarts::who_is_slow_to_end_keeps_its_place_in_the_order", SERVER, slow_to_end),
        peer_test("restarts::who_never_ends_holds_others_up_no_longer_than_the_limit", SERVER, never_ends),
        peer_test("restarts::all_up_again_in_about_a_login_and_twenty_opens", SERVER, how_fast),
        peer_test("restarts::a_server_that_is_not_there_at_first_is_waited_for", SERVER, not_there_at_first),
        peer_test("restarts::a_stop_during_the_pause_stops_at_once", SERVER, stop_in_backoff),
        peer_test("restarts::a_connection_that_somebody_closes_comes_back", SERVER, closed_by_hand),
    ]
}

fn server() -> Sshd {
    Sshd::builder().max_sessions(100).start().unwrap()
}

/// Kills it, and starts it again on the same port.
fn restart(sshd: &Sshd) {
    tokio::task::block_in_place(|| sshd.restart()).unwrap();
}

fn kill(sshd: &Sshd) {
    tokio::task::block_in_place(|| sshd.kill());
}

async fn declare(managed: &ManagedRef, plan: &Plan, number: usize) -> Vec<SupervisedRef<Lines>> {
    let mut channels = Vec::new();
    for name in 0..number {
        channels.push(managed.supervise(plan.named(name).spec()).await.unwrap());
    }
    channels
}

/// The names of the channels that start next with this number, in order. Ends are passed over.
async fn starts(story: &mut Story, count: usize, number: u64) -> Vec<usize> {
    let mut names = Vec::new();
    while names.len() < count {
        match soon("the next start", story.recv()).await.unwrap() {
            Told::Started(name, seen) => {
                assert_eq!(seen, number, "channel {name}, after {names:?}");
                names.push(name);
            }
            Told::Ended(..) => {}
        }
    }
    names
}

fn in_order() -> Vec<usize> {
    (0..CHANNELS).collect()
}

async fn answers(channel: &SupervisedRef<Lines>, line: u64) {
    let answer = channel.call(|port| Say::Ask(line, port), Duration::from_secs(10)).await;
    assert_eq!(answer.unwrap(), line);
}

async fn twenty() {
    let sshd = server();
    let before = Before::look(sshd.port());
    let (plan, mut story) = Plan::new("cat");
    let managed = manage(config(&sshd), spec()).await;
    let channels = declare(&managed, &plan, CHANNELS).await;
    assert_eq!(starts(&mut story, CHANNELS, 1).await, in_order());
    for number in 2..=4 {
        for (line, channel) in (0..).zip(&channels) {
            channel_up(channel, number - 1).await;
            answers(channel, line).await;
        }
        restart(&sshd);
        assert_eq!(starts(&mut story, CHANNELS, number).await, in_order());
    }
    for (line, channel) in (0..).zip(&channels) {
        channel_up(channel, 4).await;
        answers(channel, line).await;
        let info = channel.info();
        assert_eq!((info.incarnation, info.restarts), (4, 0), "a lost connection is no failure of a channel");
    }
    let info = managed.info();
    assert_eq!((info.connects, info.losses, info.channels, info.waiting), (4, 3, CHANNELS, 0), "{info:?}");
    managed.stop();
    assert!(matches!(soon("the stop", managed.wait()).await, ManagedState::Stopped));
    for channel in &channels {
        assert!(matches!(soon("the end", channel.wait()).await, SupervisedState::Down(_)));
    }
    before.is_restored().await;
}

async fn slow_to_end() {
    let sshd = server();
    let (plan, mut story) = Plan::new("cat");
    let managed = manage(config(&sshd), spec()).await;
    let mut channels = Vec::new();
    for name in 0..5 {
        let mut plan = plan.named(name);
        if name == 1 {
            plan.farewell = Duration::from_millis(700);
        }
        channels.push(managed.supervise(plan.spec()).await.unwrap());
    }
    assert_eq!(starts(&mut story, 5, 1).await, [0, 1, 2, 3, 4]);
    managed.connection().await.unwrap().close().await;
    assert_eq!(starts(&mut story, 5, 2).await, [0, 1, 2, 3, 4]);
    channel_up(&channels[4], 2).await;
    tokio::task::block_in_place(|| sshd.kill_sessions());
    assert_eq!(starts(&mut story, 5, 3).await, [0, 1, 2, 3, 4]);
}

async fn never_ends() {
    let sshd = server();
    let before = Before::look(sshd.port());
    let (plan, mut story) = Plan::new("cat");
    let limit = Duration::from_millis(400);
    let managed = manage(config(&sshd), spec().start_limit(limit)).await;
    let mut channels = Vec::new();
    for name in 0..3 {
        let mut plan = plan.named(name);
        if name == 1 {
            plan.farewell = Duration::from_secs(3_600);
        }
        channels.push(managed.supervise(plan.spec()).await.unwrap());
    }
    assert_eq!(starts(&mut story, 3, 1).await, [0, 1, 2]);
    channel_up(&channels[2], 1).await;
    tokio::task::block_in_place(|| sshd.kill_sessions());
    let start = Instant::now();
    assert_eq!(starts(&mut story, 2, 2).await, [0, 2]);
    assert!(start.elapsed() >= limit, "the last one waited for its turn");
    assert!(matches!(channels[1].state(), SupervisedState::Waiting));
    // A stop leaves nothing of the connection that was lost, either.
    soon("the stop", managed.shutdown(Duration::ZERO)).await;
    before.is_restored().await;
}

async fn how_fast() {
    let sshd = server();
    let (plan, mut story) = Plan::new("cat");
    let mut baseline = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let conn = Client::new(config(&sshd)).connect().await.unwrap();
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            channels.push(conn.session_channel(crate::common::Idle).await.unwrap());
            channels.last().unwrap().exec("cat").await.unwrap();
        }
        baseline = baseline.min(start.elapsed());
        conn.close().await;
    }
    let managed = manage(config(&sshd), spec()).await;
    let channels = declare(&managed, &plan, CHANNELS).await;
    starts(&mut story, CHANNELS, 1).await;
    let mut best = Duration::MAX;
    for number in 2..=4 {
        restart(&sshd);
        let start = Instant::now();
        starts(&mut story, CHANNELS, number).await;
        channel_up(&channels[CHANNELS - 1], number).await;
        best = best.min(start.elapsed());
    }
    println!("a login and {CHANNELS} opens: {baseline:?}; from sshd up to all up again: {best:?}");
    assert!(
        best < baseline * 2 + Duration::from_millis(300),
        "{best:?}, and {baseline:?} without supervision"
    );
}

async fn not_there_at_first() {
    let sshd = server();
    kill(&sshd);
    let (plan, mut story) = Plan::new("cat");
    let managed = manage(config(&sshd), spec()).await;
    let channels = declare(&managed, &plan, 3).await;
    reaches(&managed, "trying again", |_| managed.info().failures.dial >= 3).await;
    assert!(matches!(channels[0].state(), SupervisedState::Waiting));
    assert!(channels[0].cast(Say::Tell(1)).is_err());
    restart(&sshd);
    assert_eq!(starts(&mut story, 3, 1).await, [0, 1, 2]);
    let info = managed.info();
    assert_eq!((info.connects, info.losses), (1, 0));
    assert_eq!(info.attempts, info.failures.total() + 1);
}

async fn stop_in_backoff() {
    let sshd = server();
    let before = Before::look(sshd.port());
    let (plan, mut story) = Plan::new("cat");
    let long = eager().backoff(Backoff::fixed(Duration::from_secs(3_600)));
    let managed = manage(config(&sshd), ManagedSpec::new().restart(long)).await;
    let channels = declare(&managed, &plan, 3).await;
    starts(&mut story, 3, 1).await;
    kill(&sshd);
    reaches(&managed, "pausing", is_backoff).await;
    let start = Instant::now();
    managed.stop();
    assert!(matches!(soon("the stop", managed.wait()).await, ManagedState::Stopped));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    for channel in channels {
        assert!(matches!(soon("the end", channel.wait()).await, SupervisedState::Down(_)));
    }
    assert!(managed.connection().await.is_err());
    restart(&sshd);
    before.is_restored().await;
}

async fn closed_by_hand() {
    let sshd = server();
    let (plan, mut story) = Plan::new("cat");
    let managed = manage(config(&sshd), spec()).await;
    let _channels = declare(&managed, &plan, 3).await;
    starts(&mut story, 3, 1).await;
    managed.connection().await.unwrap().close().await;
    assert_eq!(starts(&mut story, 3, 2).await, [0, 1, 2]);
    managed.connection().await.unwrap().shutdown(Duration::ZERO).await;
    assert_eq!(starts(&mut story, 3, 3).await, [0, 1, 2]);
    is_up(&managed, 3).await;

    // A transient one takes that for the wish to end it.
    let transient = RestartPolicy::transient().never_give_up();
    let managed = manage(config(&sshd), ManagedSpec::new().restart(transient)).await;
    managed.connection().await.unwrap().close().await;
    assert!(matches!(soon("the end", managed.wait()).await, ManagedState::Ended(_)));
}
