//! Signals to processes, and from them.

use std::collections::BTreeSet;

use libtest_mimic::Trial;
use ractor_ssh::ConnectionRef;
use ractor_ssh::session::Child;
use ractor_ssh::wire::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{WAITING, processes, served_to_us};
use crate::kit::{Peer, peer_test};
use crate::support::soon;

const NONE: [Peer; 0] = [];
const NAMES: [&str; 13] =
    ["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        peer_test("process::every_signal_of_the_rfc_arrives_and_is_reported", NONE, every),
        peer_test("process::a_signal_goes_to_the_whole_group", NONE, group),
        peer_test("process::a_signal_with_another_name_is_passed_over", NONE, others),
        peer_test("process::a_signal_without_a_name_is_reported_as_one", NONE, nameless),
    ]
}

/// The signals that this program ignores, as when it runs in the background of a script: so do its children.
fn ignored() -> BTreeSet<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    (1..=64).filter(|number| mask & (1 << (number - 1)) != 0).collect()
}

async fn ready(conn: &ConnectionRef, line: &str) -> Child {
    let mut child = conn.exec(line).spawn().await.unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(soon(lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    child
}

async fn every() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let ignored = ignored();
    for name in NAMES {
        let signal = Signal::from_name(name);
        if ignored.contains(&signal.number().unwrap()) {
            continue;
        }
        let mut child = ready(&conn, "echo ready; exec sleep 1000").await;
        child.signal(signal.clone()).unwrap();
        let status = soon(child.wait()).await.unwrap();
        assert_eq!(status.signal().map(|exit| &exit.signal), Some(&signal), "{status:?}");
    }
    soon(conn.close()).await;
}

async fn group() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    // The shell waits for the other one, which gets the signal as well.
    let line = &format!("trap 'wait $!; exit $?' TERM; (trap 'exit 8' TERM; {WAITING}) & wait");
    let mut child = ready(&conn, line).await;
    child.signal(Signal::Term).unwrap();
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(8));
    soon(conn.close()).await;
}

async fn others() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let mut child = ready(&conn, &format!("trap 'exit 5' USR1; {WAITING}")).await;
    for name in ["STOP", "CONT", "WINCH", "INFO@openssh.com", "9", "KILLER"] {
        child.signal(Signal::from_name(name)).unwrap();
    }
    child.signal(Signal::Usr1).unwrap();
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(5));
    soon(conn.close()).await;
}

async fn nameless() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let status = soon(conn.exec("ulimit -c 0; kill -BUS $$").status()).await.unwrap();
    let exit = status.signal().unwrap();
    assert_eq!((exit.signal.name(), exit.core_dumped), ("SIG@openssh.com", false));
    assert!(exit.message.contains("SIGBUS"), "{exit}");
    soon(conn.close()).await;
}
