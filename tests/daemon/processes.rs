//! Real processes behind a daemon's channels: what is run, how bytes pass, how it all ends.

use std::future::Future;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::Router;
use ractor_ssh::process::Processes;
use tokio::io::AsyncWriteExt;

use crate::support::{Served, Ssh, soon};

mod endings;
mod environment;
mod signals;
mod streams;
mod terminals;

pub(crate) fn trials() -> Vec<Trial> {
    let all =
        [streams::trials(), environment::trials(), terminals::trials(), signals::trials(), endings::trials()];
    all.into_iter().flatten().collect()
}

/// A shell says that it is there, and waits for signals. A loop of short commands would not do: some shells lose a signal
/// that comes while they start one.
const WAITING: &str = "sleep 1000 & echo ready; wait";

/// Processes with the one shell that is everywhere.
fn processes() -> Processes {
    Processes::new().shell("/bin/sh").kill_grace(Duration::from_secs(2))
}

/// OpenSSH's client, and a daemon that runs processes for it.
async fn served(processes: &Processes) -> (Ssh, Served) {
    let ssh = Ssh::new();
    let router = Router::new().processes(processes.clone());
    let served = ssh.serve(|config| config.router(router)).await;
    (ssh, served)
}

/// A daemon for our own client.
async fn served_to_us(processes: &Processes) -> Served {
    Served::start(Router::new().processes(processes.clone())).await
}

/// Runs `ssh` with these arguments and this input.
async fn run(ssh: &Ssh, served: &Served, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = ssh.command(served);
    let mut child = command.args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = tokio::spawn(async move {
        let _ = stdin.write_all(&input).await;
    });
    let output = soon(child.wait_with_output()).await.unwrap();
    feeding.abort();
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for what nobody tells of: something about another process.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    for _ in 0..3000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not seen in 30 s: {what}")
}

/// Waits for the end of a process that is not ours.
async fn until_gone(pid: i32) {
    until("the end of a process", || async move { (!crate::kit::is_running(pid)).then_some(()) }).await;
}

/// Waits for a file that a process writes in one go, with a newline at its end.
async fn until_written(file: &Path) -> String {
    until("a line in a file", || async {
        std::fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))
    })
    .await
}
