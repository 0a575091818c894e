//! Connections that are idle, unwell or lost, and servers that are no good.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use libtest_mimic::Trial;
use ractor_ssh::config::Limits;
use ractor_ssh::error::OpenError;
use ractor_ssh::pool::{Duty, Eviction};
use ractor_ssh::session::CommandError;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ManagedSpec, Next, Pool, PoolConfig, Router, ServerChannel,
    ServerSide,
};
use tokio::io::AsyncWriteExt as _;

use crate::kit::{Peer, peer_test};
use crate::support::{Served, becomes_true, client, config, plain, soon, sshd};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("health::an_idle_connection_is_closed_and_made_again_when_needed", [], idle),
        peer_test("health::a_connection_in_use_is_not_idle", [], not_idle),
        peer_test("health::a_connection_whose_channels_stall_is_drained_and_replaced", [], stalls),
        peer_test(
            "health::a_connection_that_opens_nothing_any_more_is_drained_and_replaced",
            [],
            failed_opens,
        ),
        peer_test(
            "health::a_server_that_refuses_all_sessions_gives_each_caller_one_error",
            real,
            refuses_all,
        ),
        peer_test(
            "health::under_load_a_killed_server_costs_each_call_one_error_and_repeats_nothing",
            real,
            killed,
        ),
        peer_test("health::who_waits_for_a_place_is_served_by_the_next_connection", real, next_connection),
        peer_test("health::a_late_answer_of_a_lost_connection_does_no_harm_to_the_next", [], late_answer),
        peer_test(
            "health::an_isolated_channel_in_trouble_is_not_put_down_to_the_shared_connection",
            [],
            isolated,
        ),
        peer_test("health::a_new_connection_that_answers_no_open_is_replaced", [], silent_from_the_start),
        peer_test("health::a_connection_that_answers_no_open_any_more_is_replaced", [], fallen_silent),
    ]
}

/// Answers commands itself.
struct Answering;

impl ServerChannel for Answering {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        if let ChannelMsg::Exec { command, .. } = msg {
            ctx.reply_request(true)?;
            if command.as_ref() != b"hold" {
                ctx.exit_status(0)?;
                ctx.close();
            }
        }
        Ok(Next::Continue)
    }
}

async fn idle() {
    let served = Served::echo().await;
    let pool = Pool::new(PoolConfig::new().idle(Duration::from_millis(100))).unwrap();
    let host = pool.get(served.client());
    for round in 1..=3 {
        host.exec("x").output().await.unwrap();
        assert_eq!(served.daemon.info().connections, 1);
        becomes_true("it is closed", || host.info().connections.is_empty()).await;
        becomes_true("the server knows", || served.daemon.info().connections == 0).await;
        assert_eq!((host.info().counters.idled, host.info().counters.connections), (round, round));
    }
    pool.close().await;
}

async fn not_idle() {
    let served = Served::start(Router::new().session(|_| Answering)).await;
    let pool = Pool::new(PoolConfig::new().idle(Duration::from_millis(50))).unwrap();
    let host = pool.get(served.client());
    let child = host.exec("hold").spawn().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(served.daemon.info().connections, 1, "a channel");
    let connection = host.connection().await.unwrap();
    drop(child);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(served.daemon.info().connections, 1, "a caller that holds it");
    drop(connection);
    becomes_true("nobody", || served.daemon.info().connections == 0).await;
    pool.close().await;
}

async fn stalls() {
    let router = Router::new().exec_stream_fn(|request, mut stream| async move {
        if request.command() == "flood" {
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        } else if request.command() == "hold" {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        0
    });
    let served = Served::start(router).await;
    let mut limits = Limits::default();
    limits.inbound_budget = 4 << 20;
    limits.stall_timeout = Duration::from_millis(100);
    let pool = Pool::new(PoolConfig::new().max_stalls(2).drain(Duration::from_secs(20))).unwrap();
    let host = pool.get(ractor_ssh::Client::new(served.config().limits(limits)));
    let mut held = vec![soon("start", host.exec("hold").spawn()).await.unwrap()];
    for _ in 0..2 {
        let mut child = soon("start", host.exec("flood").spawn()).await.unwrap();
        becomes_true("it is ended, as nobody reads", || child.try_wait().is_err()).await;
        held.push(child);
    }
    becomes_true("it is evicted", || host.info().counters.evictions == 1).await;
    soon("another", host.exec("x").output()).await.unwrap();
    let info = host.info();
    assert_eq!(info.counters.connections, 2, "{info:#?}");
    assert_eq!(info.connections[0].duty, Duty::Evicted(Eviction::Stalls));
    assert!(held[0].try_wait().unwrap().is_none(), "what was on it goes on");
    drop(held);
    becomes_true("the first is closed", || host.info().connections.len() == 1).await;
    pool.close().await;
}

async fn failed_opens() {
    let refusing = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&refusing);
    let served = Served::start(Router::new().session_async(move |_| {
        let no = asked.load(Ordering::SeqCst);
        async move { if no { Err(OpenFailureReason::ResourceShortage) } else { Ok(Answering) } }
    }))
    .await;
    let pool = Pool::new(PoolConfig::new().max_failed_opens(3)).unwrap();
    let host = pool.get(served.client());
    host.exec("x").status().await.unwrap();
    refusing.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        match soon("an answer", host.exec("x").status()).await {
            Err(CommandError::Open(OpenError::Refused { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    refusing.store(false, Ordering::SeqCst);
    soon("another", host.exec("x").status()).await.unwrap();
    let info = host.info();
    assert_eq!((info.counters.evictions, info.counters.connections), (1, 2), "{info:#?}");
    pool.close().await;
}

async fn refuses_all() {
    let sshd = sshd(0);
    let pool = Pool::new(PoolConfig::new().max_connections(2)).unwrap();
    let host = pool.get(client(&sshd));
    let calls = join_all((0..100).map(|_| host.exec("true").status()));
    for outcome in soon("all answers", calls).await {
        match outcome.unwrap_err() {
            error @ CommandError::Open(OpenError::Refused { .. }) => assert!(!error.may_have_run()),
            other => panic!("{other}"),
        }
    }
    let info = host.info();
    assert_eq!((info.counters.not_opened, info.counters.evictions), (100, 0), "{info:#?}");
    assert!(info.counters.connections <= 2, "another connection would do no better: {info:#?}");
    pool.close().await;
}

fn hasty() -> PoolConfig {
    let pauses = Backoff::fixed(Duration::from_millis(20));
    let policy = RestartPolicy::permanent().never_give_up().backoff(pauses);
    PoolConfig::new().managed(ManagedSpec::new().restart(policy))
}

async fn killed() {
    let sshd = plain().max_sessions(3).start().unwrap();
    let ledger = sshd.directory().join("ledger");
    let pool = Pool::new(hasty().max_connections(2)).unwrap();
    let host = pool.get(client(&sshd));
    let calls: Vec<_> = (0..150)
        .map(|number| {
            let call = host.exec(format!("echo {number} >> '{}'; sleep 0.02; echo done", ledger.display()));
            tokio::spawn(async move { (number, call.output().await) })
        })
        .collect();
    becomes_true("some have run", || {
        std::fs::read_to_string(&ledger).is_ok_and(|text| text.lines().count() > 20)
    })
    .await;
    sshd.restart().unwrap();
    let mut lines: HashMap<u32, u32> = HashMap::new();
    let (mut answers, mut errors) = (0, 0);
    let outcomes = soon("every call", join_all(calls)).await;
    for line in std::fs::read_to_string(&ledger).unwrap().lines() {
        *lines.entry(line.parse().unwrap()).or_default() += 1;
    }
    for outcome in outcomes {
        let (number, outcome) = outcome.unwrap();
        let times = lines.get(&number).copied().unwrap_or_default();
        match outcome {
            Ok(output) => {
                assert_eq!((&*output.stdout_text(), times), ("done\n", 1), "{number}");
                answers += 1;
            }
            Err(error) => {
                assert!(times <= u32::from(error.may_have_run()), "{number} ran {times} times: {error}");
                errors += 1;
            }
        }
    }
    assert!(answers > 100 && errors <= 6, "{answers} answers, {errors} errors");
    pool.close().await;
}

async fn next_connection() {
    let sshd = sshd(1);
    let pool = Pool::new(hasty().max_connections(1).sessions_per_connection(1)).unwrap();
    let host = pool.get(config(&sshd));
    let mut child = soon("a place", host.exec("exec sleep 600").spawn()).await.unwrap();
    let waiting = {
        let host = host.clone();
        tokio::spawn(async move { host.exec("echo served").output().await })
    };
    becomes_true("it waits", || host.info().waiting == 1).await;
    sshd.kill_sessions();
    assert!(soon("its end", child.wait()).await.is_err());
    assert_eq!(soon("its turn", waiting).await.unwrap().unwrap().stdout_text(), "served\n");
    assert_eq!(host.info().counters.connections, 1, "the same managed connection");
    pool.close().await;
}

/// Answers commands, and leaves opens without an answer while it is told so.
async fn silent_opens(silent: &Arc<AtomicBool>) -> Served {
    let silent = Arc::clone(silent);
    Served::start(Router::new().session_async(move |_| {
        let hold = silent.load(Ordering::SeqCst);
        async move {
            if hold {
                std::future::pending::<()>().await;
            }
            Ok(Answering)
        }
    }))
    .await
}

async fn late_answer() {
    let silent = Arc::new(AtomicBool::new(true));
    let served = silent_opens(&silent).await;
    let pool = Pool::new(hasty().max_connections(1)).unwrap();
    let host = pool.get(served.client());
    let connection = soon("a connection", host.connection()).await.unwrap();
    let mut late = Box::pin(host.exec("late").status());
    while connection.info().await.unwrap().channels.is_empty() {
        assert!(futures::poll!(&mut late).is_pending());
    }
    silent.store(false, Ordering::SeqCst);
    connection.close().await;
    soon("the next connection", host.exec("x").status()).await.unwrap();
    // Only now does it look at its answer: that its connection was lost.
    soon("it has another turn", late).await.unwrap();
    soon("everybody else", host.exec("x").status()).await.unwrap();
    assert_eq!(host.info().counters.connections, 1, "{:#?}", host.info());
    pool.close().await;
}

/// All places of the only connection wait for an answer that does not come.
async fn no_opens_answered(before: bool) {
    let silent = Arc::new(AtomicBool::new(!before));
    let served = silent_opens(&silent).await;
    let mut timeouts = ractor_ssh::config::Timeouts::default();
    timeouts.open = Duration::from_millis(100);
    let pool = Pool::new(hasty().max_connections(1).sessions_per_connection(2)).unwrap();
    let host = pool.get(ractor_ssh::Client::new(served.config().timeouts(timeouts)));
    if before {
        soon("a good start", host.exec("x").status()).await.unwrap();
        silent.store(true, Ordering::SeqCst);
    }
    for _ in 0..2 {
        match soon("an answer", host.exec("x").status()).await {
            Err(CommandError::Open(OpenError::Timeout { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    silent.store(false, Ordering::SeqCst);
    soon("another connection", host.exec("x").status()).await.unwrap();
    let info = host.info();
    assert_eq!((info.counters.evictions, info.counters.connections), (1, 2), "{info:#?}");
    pool.close().await;
}

async fn silent_from_the_start() {
    no_opens_answered(false).await;
}

async fn fallen_silent() {
    no_opens_answered(true).await;
}

/// A command that is held.
struct Holds;

impl ractor_ssh::ClientChannel for Holds {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec("hold").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn isolated() {
    use ractor_ssh::config::{ChannelOptions, SlowConsumer};
    let silent = Arc::new(AtomicBool::new(false));
    let served = silent_opens(&silent).await;
    let mut timeouts = ractor_ssh::config::Timeouts::default();
    timeouts.open = Duration::from_millis(50);
    let pool = Pool::new(hasty().max_connections(1).max_failed_opens(2)).unwrap();
    let host = pool.get(ractor_ssh::Client::new(served.config().timeouts(timeouts)));
    soon("a good start", host.exec("x").status()).await.unwrap();
    silent.store(true, Ordering::SeqCst);
    let pauses = Backoff::fixed(Duration::from_millis(10));
    let spec = ractor_ssh::ChannelSpec::new(|_| Holds)
        .options(ChannelOptions::new().slow_consumer(SlowConsumer::Isolate))
        .restart(RestartPolicy::permanent().never_give_up().backoff(pauses));
    let channel = host.supervise(spec).await.unwrap();
    becomes_true("its own connections open nothing", || channel.info().restarts >= 5).await;
    silent.store(false, Ordering::SeqCst);
    soon("it is up", channel.up()).await.unwrap();
    let info = host.info();
    assert_eq!((info.counters.evictions, info.counters.connections), (0, 1), "{info:#?}");
    let [shared] = &info.connections[..] else { panic!("{info:#?}") };
    assert_eq!((shared.sessions - shared.settling, info.counters.not_opened), (1, 0), "{info:#?}");
    pool.close().await;
}
