//! A channel that stalls is moved to a connection of its own, and disturbs its siblings no more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, Limits, SlowConsumer};
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, Next};
use tokio::net::TcpStream;

use crate::common::{Before, CLOSE, becomes_true, channel_up, config_by, is_up, manage, soon, spec};
use crate::kit::{Peer, Sshd, peer_test};
use crate::lines::{Lines, Plan, Say};
use crate::proxy::Proxy;

const STALL: Duration = Duration::from_millis(500);

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("stalls::a_channel_that_stalled_comes_back_on_a_connection_of_its_own", SERVER, isolated),
        peer_test(
            "stalls::its_own_attempt_to_connect_ends_with_the_connection_it_belongs_to",
            SERVER,
            attempt,
        ),
        peer_test(
            "stalls::one_whose_init_is_stuck_goes_with_the_connection_it_belongs_to",
            SERVER,
            stuck_init,
        ),
        peer_test("stalls::it_stays_where_it_was_when_told_so", SERVER, stays),
    ]
}

async fn rounds(sibling: &ractor_ssh::SupervisedRef<Lines>, span: Duration) -> (u64, Duration) {
    let (start, mut slowest, mut count) = (Instant::now(), Duration::ZERO, 0);
    while start.elapsed() < span {
        let before = Instant::now();
        let answer = sibling.call(|port| Say::Ask(count, port), Duration::from_secs(10)).await;
        assert_eq!(answer.unwrap(), count);
        slowest = slowest.max(before.elapsed());
        count += 1;
    }
    (count, slowest)
}

async fn set_up(
    isolate: bool,
) -> (Sshd, Proxy, Before, ractor_ssh::ManagedRef, [ractor_ssh::SupervisedRef<Lines>; 2]) {
    let sshd = Sshd::builder().start().unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    let before = Before::look(proxy.port());
    let mut limits = Limits::default();
    limits.inbound_budget = 1 << 20;
    limits.stall_timeout = STALL;
    let managed = manage(config_by(&sshd, proxy.port()).limits(limits), spec()).await;
    let (plan, _story) = Plan::new("cat");
    let sibling = managed.supervise(plan.named(0).spec()).await.unwrap();
    channel_up(&sibling, 1).await;
    let (mut hog, _story) = Plan::new("exec cat /dev/zero");
    hog.hangs = true;
    let options = ChannelOptions::new().receive_budget(256 << 10);
    let hog = managed.supervise(hog.spec().options(options).isolate_stalled(isolate)).await.unwrap();
    (sshd, proxy, before, managed, [sibling, hog])
}

async fn isolated() {
    let (_sshd, proxy, before, managed, [sibling, hog]) = set_up(true).await;
    channel_up(&hog, 2).await;
    assert!(hog.info().isolated, "{:?}", hog.info());
    assert!(proxy.accepted() >= 2, "a connection of its own");
    let pauses = managed.connection().await.unwrap().info().await.unwrap().counters.pauses;
    assert!(pauses >= 1, "its siblings were disturbed once");
    let (count, slowest) = rounds(&sibling, 4 * STALL).await;
    assert!(count > 20 && slowest < STALL / 2, "{count} rounds, {slowest:?}");
    // It stalls there, too, and comes back; nobody else notices.
    channel_up(&hog, 4).await;
    let counters = managed.connection().await.unwrap().info().await.unwrap().counters;
    assert_eq!((counters.pauses, counters.stalled), (pauses, 1));
    let info = managed.info();
    assert_eq!((info.connects, info.losses, sibling.info().incarnation), (1, 0, 1), "{info:?}");

    // With the connection goes the other one, and both come back: it on a connection of its own again.
    let (accepted, number) = (proxy.accepted(), hog.info().incarnation);
    proxy.reset_once();
    channel_up(&sibling, 2).await;
    channel_up(&hog, number + 1).await;
    becomes_true("both are connected", || proxy.accepted() >= accepted + 2).await;
    assert!(hog.info().isolated);

    let start = Instant::now();
    soon("the shutdown", managed.shutdown(Duration::ZERO)).await;
    assert!(start.elapsed() < 2 * CLOSE + Duration::from_secs(1), "{:?}", start.elapsed());
    before.is_restored_now();
    drop((managed, sibling, hog));
    before.is_restored().await;
}

async fn stays() {
    let (_sshd, proxy, _before, managed, [sibling, hog]) = set_up(false).await;
    channel_up(&hog, 3).await;
    assert!(!hog.info().isolated);
    assert_eq!((proxy.accepted(), managed.info().connects, sibling.info().incarnation), (1, 1, 1));
    let counters = managed.connection().await.unwrap().info().await.unwrap().counters;
    assert!(counters.stalled >= 2 && counters.pauses >= 2);
}

async fn attempt() {
    let sshd = Sshd::builder().start().unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    let (dials, port) = (AtomicUsize::new(0), proxy.port());
    let config = config_by(&sshd, port).dial_with(move || {
        let stuck = dials.fetch_add(1, Ordering::SeqCst) == 1;
        async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            TcpStream::connect(("127.0.0.1", port)).await
        }
    });
    let managed = manage(config, spec()).await;
    is_up(&managed, 1).await;
    let (plan, _story) = Plan::new("cat");
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let channel = managed.supervise(plan.spec().options(options)).await.unwrap();
    let starting = |s: &SupervisedState| matches!(s, SupervisedState::Starting { .. });
    soon("the start", channel.states().wait_for(starting)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    proxy.reset_once();
    channel_up(&channel, 2).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!((managed.info().connects, channel.info().restarts), (2, 0));
}

struct StuckInit;

impl ClientChannel for StuckInit {
    type Msg = ();

    async fn init(&mut self, _ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        std::future::pending().await
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn stuck_init() {
    let sshd = Sshd::builder().start().unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    let before = Before::look(proxy.port());
    let managed = manage(config_by(&sshd, proxy.port()), spec()).await;
    is_up(&managed, 1).await;
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let channel = managed.supervise(ChannelSpec::new(|_| StuckInit).options(options)).await.unwrap();
    becomes_true("it has a connection of its own", || proxy.accepted() == 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    soon("the shutdown", managed.shutdown(Duration::ZERO)).await;
    assert!(start.elapsed() < 2 * CLOSE + Duration::from_secs(1), "{:?}", start.elapsed());
    before.is_restored_now();
    assert!(channel.wait().await.is_final());
    drop((managed, channel));
    before.is_restored().await;
}
