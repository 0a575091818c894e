//! A stop wins in every phase, within its deadline, and leaves nothing.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::auth::Auth;
use ractor_ssh::error::Phase;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::managed::ManagedState;
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{BoxError, ClientConfig, Daemon, DaemonConfig, ManagedRef};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::common::{
    Before, CLOSE, auth, becomes_true, channel_up, config, is_backoff, is_up, manage, reaches, soon, spec,
    tasks,
};
use crate::kit::{Peer, Sshd, peer_test};
use crate::lines::{Plan, Say, Told};

/// What a stop may take beyond its deadline on a busy machine.
const SLACK: Duration = Duration::from_millis(1_500);

/// A grace that nobody may use up when there is nothing to wait for.
const LONG: Duration = Duration::from_secs(3_600);

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    const NOBODY: [Peer; 0] = [];
    vec![
        peer_test("stops::while_it_dials", NOBODY, dialing),
        peer_test("stops::while_it_waits_for_the_peers_version", NOBODY, version),
        peer_test("stops::during_key_exchange", NOBODY, kex),
        peer_test("stops::while_somebody_looks_at_the_host_key", SERVER, host_key),
        peer_test("stops::while_its_provider_is_asked", SERVER, provider),
        peer_test("stops::while_the_peer_thinks_about_its_credentials", NOBODY, authentication),
        peer_test("stops::during_backoff", NOBODY, backoff),
        peer_test("stops::while_up", SERVER, up),
        peer_test("stops::while_its_channels_start", SERVER, channels_start),
        peer_test("stops::a_shutdown_waits_for_channels_that_end_by_themselves", SERVER, drained),
        peer_test("stops::a_shutdown_waits_no_longer_than_its_grace", SERVER, never_drained),
        peer_test("stops::a_shutdown_of_a_connection_whose_peer_is_frozen", SERVER, frozen),
        peer_test("stops::a_shutdown_of_a_behaviour_that_is_stuck", SERVER, stuck),
        peer_test("stops::a_stop_hurries_a_shutdown", SERVER, hurried),
        peer_test("stops::at_any_moment_of_connecting", SERVER, at_any_moment),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Stop,
    Shutdown(Duration),
}

const BOTH: [How; 2] = [How::Stop, How::Shutdown(LONG)];

/// Stops it, and says how long that took.
async fn stop(managed: &ManagedRef, how: How) -> Duration {
    let start = Instant::now();
    match how {
        How::Stop => managed.stop(),
        How::Shutdown(grace) => soon("the shutdown", managed.shutdown(grace)).await,
    }
    let state = soon("the stop", managed.wait()).await;
    assert!(matches!(state, ManagedState::Stopped), "{state}");
    start.elapsed()
}

fn to(port: u16) -> ClientConfig {
    ClientConfig::new("127.0.0.1", "somebody")
        .port(port)
        .auth(Auth::new().none())
        .host_key(HostKeyPolicy::danger_accept_anything())
}

/// Waits until the attempt has come that far, stops, and looks that nothing is left.
async fn stops_in(config: ClientConfig, port: u16, phase: Phase) {
    for how in BOTH {
        let before = Before::look(port);
        let managed = manage(config.clone(), spec()).await;
        let (plan, _story) = Plan::new("cat");
        let channel = managed.supervise(plan.spec()).await.unwrap();
        becomes_true("it has come that far", || managed.info().phase == phase).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let taken = stop(&managed, how).await;
        before.is_restored_now();
        assert_eq!(managed.info().phase, Phase::Down, "nothing has a phase any more");
        assert!(taken < SLACK, "{phase:?}, {how:?}: {taken:?}");
        assert!(matches!(soon("the channel's end", channel.wait()).await, SupervisedState::Down(_)));
        drop((managed, channel));
        before.is_restored().await;
    }
}

async fn dialing() {
    let config = to(1).dial_with(std::future::pending::<std::io::Result<tokio::net::TcpStream>>);
    stops_in(config, 1, Phase::Dial).await;
}

/// Accepts, says this, and keeps what it has.
async fn mute(greeting: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(greeting.as_bytes()).await.unwrap();
            all.push(stream);
        }
    });
    port
}

async fn version() {
    let port = mute("").await;
    stops_in(to(port), port, Phase::Version).await;
}

async fn kex() {
    let port = mute("SSH-2.0-mute\r\n").await;
    stops_in(to(port), port, Phase::Kex).await;
}

async fn host_key() {
    let sshd = Sshd::builder().start().unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    let nobody_answers = move |_info: ractor_ssh::host_key::HostKeyInfo| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        std::future::pending::<Result<ractor_ssh::host_key::HostKeyDecision, BoxError>>()
    };
    let files = ractor_ssh::host_key::KnownHostsFiles::new([sshd.directory().join("nothing_known")]);
    let config = config(&sshd).host_key(HostKeyPolicy::ask(files, nobody_answers));
    for (number, how) in (1..).zip(BOTH) {
        let before = Before::look(sshd.port());
        let managed = manage(config.clone(), spec()).await;
        becomes_true("somebody is asked", || asked.load(std::sync::atomic::Ordering::SeqCst) == number).await;
        let taken = stop(&managed, how).await;
        before.is_restored_now();
        assert!(taken < SLACK, "{how:?}: {taken:?}");
        before.is_restored().await;
    }
}

async fn provider() {
    let sshd = Sshd::builder().start().unwrap();
    let config = config(&sshd).auth_with(std::future::pending::<Result<Auth, BoxError>>);
    stops_in(config, sshd.port(), Phase::Auth).await;
}

async fn authentication() {
    let config = DaemonConfig::new(([127, 0, 0, 1], 0))
        .host_key(generate_ed25519())
        .public_key(|_, _| std::future::pending::<bool>());
    let daemon = Daemon::start(config).await.unwrap();
    let port = daemon.local_addr().port();
    let identity = ractor_ssh::auth::Identity::from_private_key(generate_ed25519());
    let config = to(port).auth(Auth::new().identity(identity));
    for how in BOTH {
        let managed = manage(config.clone(), spec()).await;
        becomes_true("it logs in", || managed.info().phase == Phase::Auth).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let taken = stop(&managed, how).await;
        assert_eq!(crate::common::sockets_to(port), 0);
        assert!(taken < SLACK, "{how:?}: {taken:?}");
    }
    soon("the daemon's end", daemon.stop()).await;
}

async fn backoff() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    let tasks_before = tasks();
    for how in BOTH {
        let long = ractor_ssh::supervision::Backoff::fixed(LONG);
        let policy = crate::common::eager().backoff(long);
        let managed = manage(to(free), ractor_ssh::ManagedSpec::new().restart(policy)).await;
        reaches(&managed, "pausing", is_backoff).await;
        let taken = stop(&managed, how).await;
        assert!(taken < SLACK, "{how:?}: {taken:?}");
    }
    becomes_true("nothing is left", || tasks() <= tasks_before).await;
}

async fn up() {
    let sshd = Sshd::builder().start().unwrap();
    for (how, channels) in [(How::Stop, 5), (How::Stop, 0), (How::Shutdown(LONG), 0)] {
        let before = Before::look(sshd.port());
        let managed = manage(config(&sshd), spec()).await;
        let (plan, _story) = Plan::new("cat");
        let mut supervised = Vec::new();
        for name in 0..channels {
            supervised.push(managed.supervise(plan.named(name).spec()).await.unwrap());
            channel_up(&supervised[name], 1).await;
        }
        is_up(&managed, 1).await;
        let taken = stop(&managed, how).await;
        before.is_restored_now();
        assert!(taken < SLACK, "{how:?}: {taken:?}");
        for channel in &supervised {
            assert!(matches!(soon("the end", channel.wait()).await, SupervisedState::Down(_)));
        }
        assert!(managed.supervise(plan.spec()).await.unwrap().up().await.is_err(), "nothing starts any more");
        before.is_restored().await;
    }
}

async fn channels_start() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let managed = manage(config(&sshd), spec()).await;
    is_up(&managed, 1).await;
    // The server reads no request any more, and so confirms nothing.
    tokio::task::block_in_place(|| sshd.stop());
    let (plan, _story) = Plan::new("cat");
    let first = managed.supervise(plan.named(0).spec()).await.unwrap();
    let second = managed.supervise(plan.named(1).spec()).await.unwrap();
    let starting = |s: &SupervisedState| matches!(s, SupervisedState::Starting { .. });
    soon("the start", first.states().wait_for(starting)).await.unwrap();
    // Declared while the connection was up: it waits for nobody.
    soon("the other start", second.states().wait_for(starting)).await.unwrap();
    let taken = stop(&managed, How::Stop).await;
    before.is_restored_now();
    assert!(taken < CLOSE + SLACK, "{taken:?}");
    for channel in [first, second] {
        assert!(matches!(soon("the end", channel.wait()).await, SupervisedState::Down(_)));
    }
    before.is_restored().await;
}

async fn drained() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let managed = manage(config(&sshd), spec()).await;
    let done = sshd.directory().join("done");
    let (plan, mut story) = Plan::new(&format!("sleep 0.5; echo > '{}'", done.display()));
    let channel = managed.supervise(plan.spec()).await.unwrap();
    assert_eq!(soon("the start", story.recv()).await, Some(Told::Started(0, 1)));
    channel_up(&channel, 1).await;
    let taken = stop(&managed, How::Shutdown(LONG)).await;
    before.is_restored_now();
    assert!(done.exists(), "it came to its end");
    assert!(taken >= Duration::from_millis(300) && taken < Duration::from_millis(500) + SLACK, "{taken:?}");
    assert_eq!(soon("the end", story.recv()).await, Some(Told::Ended(0, 1)));
    assert!(matches!(soon("the end", channel.wait()).await, SupervisedState::Down(_)));
    before.is_restored().await;
}

async fn never_drained() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let managed = manage(config(&sshd), spec()).await;
    let (plan, _story) = Plan::new("exec sleep 1000");
    let channel = managed.supervise(plan.spec()).await.unwrap();
    channel_up(&channel, 1).await;
    let grace = Duration::from_millis(400);
    let taken = stop(&managed, How::Shutdown(grace)).await;
    before.is_restored_now();
    assert!(taken >= grace && taken < grace + SLACK, "{taken:?}");
    before.is_restored().await;
}

async fn frozen() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let managed = manage(config(&sshd), spec()).await;
    let (plan, _story) = Plan::new("cat");
    let channel = managed.supervise(plan.spec()).await.unwrap();
    channel_up(&channel, 1).await;
    tokio::task::block_in_place(|| sshd.stop());
    let grace = Duration::from_millis(300);
    let taken = stop(&managed, How::Shutdown(grace)).await;
    before.is_restored_now();
    assert!(taken >= grace && taken < grace + CLOSE + SLACK, "{taken:?}");
    before.is_restored().await;
}

async fn stuck() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let managed = manage(config(&sshd), spec()).await;
    let (mut plan, _story) = Plan::new("cat");
    plan.hangs = true;
    let channel = managed.supervise(plan.spec()).await.unwrap();
    channel_up(&channel, 1).await;
    channel.cast(Say::Tell(1)).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let grace = Duration::from_millis(300);
    let taken = stop(&managed, How::Shutdown(grace)).await;
    before.is_restored_now();
    assert!(taken >= grace && taken < grace + CLOSE + SLACK, "{taken:?}");
    before.is_restored().await;
}

async fn hurried() {
    let sshd = Sshd::builder().start().unwrap();
    let before = Before::look(sshd.port());
    let managed = manage(config(&sshd), spec()).await;
    let (plan, _story) = Plan::new("exec sleep 1000");
    let channel = managed.supervise(plan.spec()).await.unwrap();
    channel_up(&channel, 1).await;
    let shutdown = tokio::spawn({
        let managed = managed.clone();
        async move { managed.shutdown(LONG).await }
    });
    reaches(&managed, "stopping", |state| matches!(state, ManagedState::Stopping)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!shutdown.is_finished() && channel.state().is_up(), "it is drained");
    let taken = stop(&managed, How::Stop).await;
    before.is_restored_now();
    assert!(taken < SLACK, "{taken:?}");
    soon("the shutdown", shutdown).await.unwrap();
    before.is_restored().await;
}

async fn at_any_moment() {
    let sshd = Sshd::builder().start().unwrap();
    let auth = auth(&sshd);
    let before = Before::look(sshd.port());
    for step in 0..120_u64 {
        let how = if step % 2 == 0 { How::Stop } else { How::Shutdown(Duration::ZERO) };
        let managed = manage(config(&sshd).auth(auth.clone()), spec()).await;
        let (plan, _story) = Plan::new("cat");
        let channel = managed.supervise(plan.spec()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(step * 500)).await;
        let taken = stop(&managed, how).await;
        before.is_restored_now();
        assert!(taken < SLACK, "{step}, {how:?}: {taken:?}");
        assert!(soon("the end", channel.wait()).await.is_final());
    }
    before.is_restored().await;
}
