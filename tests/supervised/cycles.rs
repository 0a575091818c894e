//! Ten thousand ends of every kind: nothing grows.

use std::process::{Command, Stdio};

use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::test_util::{ScriptConfig, scripted};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::{ChannelSpec, Incarnation, ractor};

use crate::ends::{Order, Puppet};
use crate::probe::within;

const CYCLES: u64 = 10_000;
const WARM: u64 = 1_000;
const ALONE: &str = "SUPERVISED_TEST_ALONE";

/// What may not grow.
#[derive(Debug)]
struct Footprint {
    tasks: usize,
    files: usize,
    named: usize,
    groups: usize,
    children: usize,
    resident: u64,
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

impl Footprint {
    fn look(connection: &ractor::ActorCell) -> Self {
        Self {
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            named: ractor::registry::registered().len(),
            groups: ractor::pg::which_groups().len(),
            children: connection.get_children().len(),
            resident: resident(),
        }
    }
}

/// Looks at its whole process, and so runs in one of its own.
#[test]
fn ten_thousand_crashes_and_restarts_leave_nothing_behind() {
    if std::env::var_os(ALONE).is_some() {
        std::panic::set_hook(Box::new(|_| {}));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        return runtime.unwrap().block_on(cycles());
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cycles::ten_thousand_crashes_and_restarts_leave_nothing_behind", "--nocapture"])
        .env(ALONE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

async fn cycles() {
    let (conn, mut peer) = scripted(ScriptConfig::new()).await;
    let policy = RestartPolicy::permanent().never_give_up().backoff(Backoff::none());
    let spec = ChannelSpec::new(|incarnation: Incarnation| {
        assert!(incarnation.number % 8 != 7, "as planned");
        Puppet::new(incarnation.number)
    });
    let channel = conn.supervise(spec.restart(policy)).await.unwrap();
    let mut warm = None;
    let mut number = 0;
    let last = loop {
        number += 1;
        if number % 8 == 7 {
            // The factory panics: nothing is opened.
            continue;
        }
        let open = peer.expect_open().await;
        if number % 8 == 6 {
            open.refuse(OpenFailureReason::ResourceShortage, "not now");
            continue;
        }
        let mut remote = open.confirm();
        let running = within(channel.up()).await.unwrap();
        if number > WARM && warm.is_none() {
            warm = Some(Footprint::look(&conn.actor()));
        }
        if number > CYCLES {
            break remote;
        }
        match number % 8 {
            0 => running.kill(),
            1 => running.cast(Order::Panic).unwrap(),
            2 => running.cast(Order::Fail).unwrap(),
            3 => running.cast(Order::Finish).unwrap(),
            4 => running.stop("once more"),
            _ => remote.close(),
        }
        drop(running);
        remote.expect_close().await;
        remote.close();
        within(async { channel.states().wait_for(|state| !state.is_up()).await.map(|_| ()) }).await.unwrap();
    };
    let (warm, now) = (warm.unwrap(), Footprint::look(&conn.actor()));
    assert!(now.tasks <= warm.tasks && now.files <= warm.files, "{warm:?} became {now:?}");
    assert!(now.named <= warm.named && now.groups <= warm.groups, "{warm:?} became {now:?}");
    assert_eq!(now.children, 1, "the one that is up: {now:?}");
    let grown = now.resident.saturating_sub(warm.resident);
    println!("{} restarts: {grown} bytes more in memory, of {}", channel.info().restarts, now.resident);
    assert!(grown < 2 << 20, "{grown} bytes more in memory: {warm:?} became {now:?}");
    assert_eq!(channel.info().restarts, number - 1);
    assert_eq!((conn.info().await.unwrap().channels.len(), peer.open_channels()), (1, 1));
    drop(last);
}
