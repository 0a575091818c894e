//! The soak itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ractor_ssh::config::{Keepalive, Timeouts};
use ractor_ssh::managed::ManagedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{Client, ClientConfig, ManagedRef, ManagedSpec, SupervisedRef, ractor};

use crate::proxy::{Proxy, Way};
use crate::worker::{Kind, Work, Worker};
use crate::{chaos, peers};

const CHANNELS: usize = 50;
const CONNECTIONS: usize = 5;
/// Three of these without a sound are the end.
const INTERVAL: Duration = Duration::from_millis(300);

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default()
}

struct Channel {
    work: Arc<Work>,
    channel: SupervisedRef<Worker>,
}

async fn manage(config: ClientConfig, proxy: &Proxy) -> ManagedRef {
    let mut timeouts = Timeouts::default();
    timeouts.version = Duration::from_secs(1);
    timeouts.kex = Duration::from_secs(3);
    timeouts.auth = Duration::from_secs(3);
    timeouts.close = Duration::from_secs(2);
    let pauses = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
    let policy = RestartPolicy::permanent().never_give_up().backoff(pauses);
    let config = config.port(proxy.port()).timeouts(timeouts).keepalive(Keepalive::new(INTERVAL, 3));
    Client::new(config).manage(ManagedSpec::new().restart(policy)).await.unwrap()
}

/// Waits for it, a minute at most.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn soak(length: Duration) {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.contains("as planned") {
            eprintln!("{text}");
        }
    }));
    let (tasks_before, files_before) = (tasks(), files());
    let (daemon, to_daemon, ledgers) = peers::daemon().await;
    let sshd = peers::sshd().await;

    let (mut proxies, mut managed, mut channels) = (Vec::new(), Vec::new(), Vec::new());
    for connection in 0..CONNECTIONS {
        // The last one leads to sshd, if there is one.
        let (port, config, real) = match &sshd {
            Some((sshd, config)) if connection == CONNECTIONS - 1 => (sshd.port(), config.clone(), true),
            _ => (daemon.local_addr().port(), to_daemon.clone(), false),
        };
        let proxy = Arc::new(Proxy::to(port).await);
        let one = manage(config, &proxy).await;
        for place in 0..CHANNELS / CONNECTIONS {
            let kind = match place % 3 {
                0 if !real => Kind::Produce,
                1 if !real => Kind::Sink,
                _ => Kind::Echo,
            };
            let work = Work::new(kind, channels.len());
            let channel = one.supervise(work.spec()).await.unwrap();
            channels.push(Channel { work, channel });
        }
        proxies.push(proxy);
        managed.push(one);
    }

    let (cuts, crashes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut chaos: Vec<_> =
        proxies.iter().map(|proxy| tokio::spawn(chaos::cut(Arc::clone(proxy), Arc::clone(&cuts)))).collect();
    let all = channels.iter().map(|one| one.channel.clone()).collect();
    chaos.push(tokio::spawn(chaos::crash(all, Arc::clone(&crashes))));

    tokio::time::sleep(length / 4).await;
    let (warm_resident, warm_tasks, warm_files) = (resident(), tasks(), files());
    tokio::time::sleep(length - length / 4).await;
    for task in chaos {
        task.abort();
        let _ = task.await;
    }
    proxies.iter().for_each(|proxy| proxy.set(Way::Open));

    // When nobody disturbs them any more, all of them go on.
    until("all channels are up", || channels.iter().all(|one| one.channel.state().is_up())).await;
    let reached: Vec<u64> = channels.iter().map(|one| one.work.done()).collect();
    until("all channels go on", || {
        channels.iter().zip(&reached).all(|(one, then)| one.work.done() > then + 50)
    })
    .await;
    let end_resident = resident();
    println!(
        "{length:?}: {} cuts, {} crashes; connections were made {} times, and failed {} times; {} incarnations; {} \
         numbers acknowledged, {} at least on each channel",
        cuts.load(Ordering::Relaxed),
        crashes.load(Ordering::Relaxed),
        managed.iter().map(|one| one.info().connects).sum::<u64>(),
        managed.iter().map(|one| one.info().failures.total()).sum::<u64>(),
        channels.iter().map(|one| one.channel.info().incarnation).sum::<u64>(),
        channels.iter().map(|one| one.work.done()).sum::<u64>(),
        channels.iter().map(|one| one.work.done()).min().unwrap_or_default(),
    );
    println!(
        "after a quarter: {warm_tasks} tasks, {warm_files} files, {warm_resident} KiB resident; at the end, before \
         stopping: {} tasks, {} files, {end_resident} KiB",
        tasks(),
        files(),
    );

    for one in &managed {
        one.shutdown(Duration::ZERO).await;
        assert!(matches!(one.state(), ManagedState::Stopped));
    }
    for one in &channels {
        one.channel.wait().await;
    }
    daemon.stop().await;
    for one in &channels {
        let wrong = one.work.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "channel {} ({:?}): {wrong:?}", one.work.name, one.work.kind);
        if one.work.kind == Kind::Sink {
            let ledger = &ledgers.lock().unwrap()[&one.work.name].numbers;
            assert!(ledger.iter().copied().eq(1..=ledger.len() as u64), "a number is missing or doubled");
            assert!(ledger.len() as u64 >= one.work.done(), "what was acknowledged is there");
        }
    }
    drop((channels, managed, proxies, daemon, sshd));
    until("no task and no actor is left", || tasks() <= tasks_before).await;
    until("no file is open that was not before", || files() <= files_before).await;
    assert!(ractor::registry::registered().is_empty());
    println!("nothing is left: {} tasks, {} files, {} KiB resident", tasks(), files(), resident());
    let grown = end_resident.saturating_sub(warm_resident);
    assert!(grown < 32 << 10, "{grown} KiB more in memory than after a quarter of the time");
}
