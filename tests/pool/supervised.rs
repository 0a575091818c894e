//! Supervised channels in a pool.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::error::ConnectionError;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::ractor::ActorStatus;
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, Escalation, ManagedSpec, Next, Pool,
    PoolConfig,
};

use crate::kit::{Peer, peer_test};
use crate::support::{Served, becomes_true, client, soon, sshd, tasks};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("supervised::channels_come_back_on_whichever_connection_has_room", real, come_back),
        peer_test("supervised::what_comes_back_goes_before_who_waits", real, goes_first),
        peer_test("supervised::a_connection_with_supervised_channels_is_not_idle", real, not_idle),
        peer_test("supervised::an_escalation_evicts_the_connection_and_all_come_back", real, escalates),
        peer_test("supervised::a_channel_that_finds_no_room_is_not_to_blame", real, no_blame),
        peer_test("supervised::the_end_of_the_pool_is_the_end", real, end_of_pool),
        peer_test("supervised::they_keep_the_pool_and_leave_nothing", real, keep_the_pool),
        peer_test("supervised::a_host_that_is_not_trusted_is_the_end", [], not_trusted),
    ]
}

type Starts = Arc<Mutex<Vec<(u32, u64)>>>;

/// Runs a command that waits, and tells when it has started.
struct Waiting {
    number: u32,
    incarnation: u64,
    command: &'static str,
    starts: Starts,
}

impl ClientChannel for Waiting {
    type Msg = &'static str;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec(self.command).await?;
        self.starts.lock().unwrap().push((self.number, self.incarnation));
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }

    async fn handle_msg(
        &mut self,
        _msg: &'static str,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Err("told to fail".into())
    }
}

fn spec(number: u32, starts: &Starts) -> ChannelSpec<Waiting> {
    let starts = Arc::clone(starts);
    ChannelSpec::new(move |incarnation| Waiting {
        number,
        incarnation: incarnation.number,
        command: "cat",
        starts: Arc::clone(&starts),
    })
    .restart(RestartPolicy::permanent().never_give_up().backoff(Backoff::fixed(Duration::from_millis(20))))
}

fn hasty() -> PoolConfig {
    let policy =
        RestartPolicy::permanent().never_give_up().backoff(Backoff::fixed(Duration::from_millis(20)));
    PoolConfig::new().managed(ManagedSpec::new().restart(policy))
}

fn numbers(starts: &Starts) -> Vec<u32> {
    starts.lock().unwrap().iter().map(|(number, _)| *number).collect()
}

async fn come_back() {
    let sshd = sshd(4);
    let pool = Pool::new(hasty().max_connections(3)).unwrap();
    let host = pool.get(client(&sshd));
    let starts = Starts::default();
    let mut channels = Vec::new();
    for number in 0..10 {
        let channel = host.supervise(spec(number, &starts)).await.unwrap();
        soon("its start", channel.up()).await.unwrap();
        channels.push(channel);
    }
    assert_eq!((host.info().connections.len(), host.info().supervised), (3, 10));
    for _ in 0..3 {
        let before: Vec<_> = channels.iter().map(|channel| channel.info().incarnation).collect();
        sshd.kill_sessions();
        for (channel, before) in channels.iter().zip(before) {
            becomes_true("it is back", || channel.info().incarnation > before && channel.state().is_up())
                .await;
        }
    }
    assert!(channels.iter().all(|channel| channel.info().restarts == 0), "no fault of theirs");
    pool.close().await;
}

async fn goes_first() {
    let sshd = sshd(1);
    let pool = Pool::new(hasty().max_connections(1).sessions_per_connection(1)).unwrap();
    let host = pool.get(client(&sshd));
    let starts = Starts::default();
    let channel = host.supervise(spec(0, &starts)).await.unwrap();
    soon("its start", channel.up()).await.unwrap();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.exec("true").status().await })
        })
        .collect();
    becomes_true("all wait", || host.info().waiting == 5).await;
    sshd.kill_sessions();
    becomes_true("it is back", || channel.state().is_up() && channel.info().incarnation >= 2).await;
    assert_eq!(host.info().waiting, 5, "the others still wait");
    channel.stop();
    for call in waiting {
        soon("their turn", call).await.unwrap().unwrap();
    }
    pool.close().await;
}

async fn not_idle() {
    let sshd = sshd(4);
    let pool = Pool::new(hasty().idle(Duration::from_millis(50))).unwrap();
    let host = pool.get(client(&sshd));
    let starts = Starts::default();
    let backoff = Backoff::fixed(Duration::from_millis(500));
    let spec = spec(0, &starts).restart(RestartPolicy::permanent().never_give_up().backoff(backoff));
    let channel = host.supervise(spec).await.unwrap();
    soon("its start", channel.up()).await.unwrap();
    // In its pause there is no channel.
    channel.cast("fail").unwrap();
    becomes_true("it is back", || channel.info().incarnation == 2 && channel.state().is_up()).await;
    assert_eq!(host.info().counters.connections, 1, "on the same connection");
    channel.stop();
    channel.wait().await;
    drop(channel);
    becomes_true("nobody needs it any more", || host.info().connections.is_empty()).await;
    pool.close().await;
}

async fn escalates() {
    let sshd = sshd(4);
    let pool = Pool::new(hasty()).unwrap();
    let host = pool.get(client(&sshd));
    let starts = Starts::default();
    let bystander = host.supervise(spec(0, &starts)).await.unwrap();
    let policy = RestartPolicy::permanent().intensity(1, Duration::from_secs(60));
    let policy = policy.backoff(Backoff::fixed(Duration::from_millis(10)));
    let failing =
        host.supervise(spec(1, &starts).restart(policy).on_give_up(Escalation::Connection)).await.unwrap();
    for incarnation in 1..=2 {
        becomes_true("it is up", || failing.info().incarnation == incarnation && failing.state().is_up())
            .await;
        soon("the other", bystander.up()).await.unwrap();
        failing.cast("fail").unwrap();
    }
    becomes_true("both are back", || {
        failing.state().is_up() && bystander.state().is_up() && bystander.info().incarnation == 2
    })
    .await;
    let info = host.info();
    assert_eq!((info.counters.evictions, info.counters.connections), (1, 2), "{info:#?}");
    assert_eq!(failing.info().escalations, 1);
    pool.close().await;
}

async fn no_blame() {
    let sshd = sshd(2);
    let pool = Pool::new(hasty().max_connections(3)).unwrap();
    let host = pool.get(client(&sshd));
    let starts = Starts::default();
    let mut channels = Vec::new();
    // All at once, as if the server took ten: eight of the first are refused.
    for number in 0..6 {
        let policy = RestartPolicy::permanent().intensity(0, Duration::from_secs(60));
        channels.push(host.supervise(spec(number, &starts).restart(policy)).await.unwrap());
    }
    for channel in &channels {
        soon("its start", channel.up()).await.unwrap();
        assert_eq!(channel.info().restarts, 0);
    }
    assert_eq!((host.info().connections.len(), host.info().limit), (3, 2), "{:#?}", host.info());
    pool.close().await;
}

async fn end_of_pool() {
    let sshd = sshd(2);
    let pool = Pool::new(hasty().max_connections(1)).unwrap();
    let host = pool.get(client(&sshd));
    let starts = Starts::default();
    let mut channels = Vec::new();
    for number in 0..4 {
        channels.push(host.supervise(spec(number, &starts)).await.unwrap());
    }
    becomes_true("two are up, two wait", || numbers(&starts).len() == 2 && host.info().waiting == 2).await;
    soon("shutdown", pool.shutdown(Duration::from_millis(100))).await;
    for channel in &channels {
        match soon("its end", channel.wait()).await {
            SupervisedState::Down(ConnectionError::Closed) => {}
            other => panic!("{other}"),
        }
        becomes_true("its supervisor is gone", || channel.supervisor().get_status() == ActorStatus::Stopped)
            .await;
    }
    let late = host.supervise(spec(9, &starts)).await.unwrap();
    assert!(matches!(soon("its end", late.wait()).await, SupervisedState::Down(_)));
}

async fn keep_the_pool() {
    let sshd = sshd(2);
    let before = tasks();
    let starts = Starts::default();
    let channel = {
        let pool = Pool::new(hasty()).unwrap();
        pool.get(client(&sshd)).supervise(spec(0, &starts)).await.unwrap()
    };
    soon("its start", channel.up()).await.unwrap();
    sshd.kill_sessions();
    becomes_true("it is back", || channel.info().incarnation >= 2 && channel.state().is_up()).await;
    drop(channel);
    becomes_true("no session is left", || sshd.pids().len() == 1).await;
    becomes_true("no task is left", || tasks() <= before).await;
}

async fn not_trusted() {
    let served = Served::echo().await;
    let pool = Pool::new(hasty()).unwrap();
    let key = generate_ed25519().public_key().clone();
    let host = pool.get(served.config().host_key(HostKeyPolicy::pinned([key])));
    let channel = host.supervise(spec(0, &Starts::default())).await.unwrap();
    match soon("its end", channel.wait()).await {
        SupervisedState::Down(ConnectionError::Abandoned(why)) => {
            assert!(why.contains("not pinned"), "{why}");
        }
        other => panic!("{other}"),
    }
    pool.close().await;
}
