//! Bytes per idle channel and per idle connection, each in a fresh process.

use std::time::Duration;

use tokio::process::Command;

use crate::Options;
use crate::load::SshClient;
use crate::ours::Ours;
use crate::plain::Plain;
use crate::server::Kind;
use crate::target::{Failure, Target, new_key};

/// Name of the row, and the child's cases.
const ROWS: [(&str, [&str; 3]); 2] = [
    ("memory of an idle channel", ["channels-ours", "channels-plain", "channels-plain-task"]),
    ("memory of an idle connection", ["connections-ours", "connections-plain", ""]),
];

/// Prints the rows.
pub(crate) async fn measure(options: &Options, quick: bool) -> Result<(), Failure> {
    for (at, (name, cases)) in ROWS.into_iter().enumerate() {
        if !options.wants(name) {
            continue;
        }
        let count = match (at, quick) {
            (0, false) => 10_000,
            (0, true) => 500,
            (_, false) => 300,
            (_, true) => 30,
        };
        for case in cases.into_iter().filter(|case| !case.is_empty()) {
            let server = Target::own_server(Kind::Plain, options.server_threads)?;
            let out = Command::new(std::env::current_exe()?)
                .args(["--memory", case, &server.port().to_string(), &count.to_string()])
                .kill_on_drop(true)
                .output()
                .await?;
            if !out.status.success() {
                return Err(format!("{case}: {}", String::from_utf8_lossy(&out.stderr)).into());
            }
            let bytes = String::from_utf8_lossy(&out.stdout);
            println!("{:<48} {case:<22} {:>10} bytes, mean of {count}", name, bytes.trim());
        }
    }
    Ok(())
}

/// The child: prints the mean growth of its resident memory, in bytes.
pub(crate) async fn child(case: &[String]) -> Result<(), Failure> {
    let [case, port, count] = case else { return Err("three values".into()) };
    let (port, key) = (port.parse()?, new_key());
    let count: usize = count.parse()?;
    let (kind, client) = case.split_once('-').ok_or("an unknown case")?;
    let (before, after) = match (kind, client) {
        ("channels", "ours") => {
            let client = Ours::connect(port, "bench", &key).await?;
            settled_around(client.clone(), count, async |_| client.idle_channel().await).await?
        }
        ("channels", "plain") => {
            let client = Plain::connect(port, "bench", &key).await?;
            settled_around(client.clone(), count, async |_| client.idle_channel().await).await?
        }
        ("channels", "plain-task") => {
            let client = Plain::connect(port, "bench", &key).await?;
            settled_around(client.clone(), count, async |_| client.idle_task().await).await?
        }
        ("connections", "ours") => {
            let mut all = vec![Ours::connect(port, "bench", &key).await?];
            settled_around((), count, async |()| {
                all.push(Ours::connect(port, "bench", &key).await?);
                Ok(())
            })
            .await?
        }
        ("connections", "plain") => {
            let mut all = vec![Plain::connect(port, "bench", &key).await?];
            settled_around((), count, async |()| {
                all.push(Plain::connect(port, "bench", &key).await?);
                Ok(())
            })
            .await?
        }
        _ => return Err("an unknown case".into()),
    };
    println!("{}", after.saturating_sub(before) / count);
    Ok(())
}

/// Resident memory before and after doing something `count` times, once it is quiet.
async fn settled_around<T: Clone>(
    with: T,
    count: usize,
    mut work: impl AsyncFnMut(T) -> Result<(), Failure>,
) -> Result<(usize, usize), Failure> {
    let quiet = Duration::from_secs(3);
    tokio::time::sleep(quiet).await;
    let before = resident()?;
    for _ in 0..count {
        work(with.clone()).await?;
    }
    tokio::time::sleep(quiet).await;
    Ok((before, resident()?))
}

/// VmRSS in bytes.
fn resident() -> Result<usize, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: usize = line.split_whitespace().next().ok_or("no number")?.parse()?;
    Ok(kib * 1024)
}
