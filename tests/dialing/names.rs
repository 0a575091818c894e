//! Names and networks that only a process of its own sees: `/etc/hosts` of ours, a network without a route.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::{Client, ClientConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::common::{BlackHole, soon};
use crate::kit::{Peer, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("names::an_address_that_swallows_everything_costs_one_delay", Peer::Account, black_hole),
        peer_test("names::an_unreachable_network_is_told_with_its_address", Peer::Account, unreachable),
    ]
}

/// Set in processes of ours that connect there and tell the error.
const ASKED: &str = "DIALING_CONNECTS";

pub(crate) fn is_asked_to_connect() -> Option<String> {
    std::env::var(ASKED).ok()
}

pub(crate) fn tell_the_error(target: &str) -> ExitCode {
    let (host, port) = target.rsplit_once(':').unwrap();
    let config = ClientConfig::new(host, "x").port(port.parse().unwrap()).deadline(Duration::from_secs(10));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match runtime.block_on(Client::new(config).connect()) {
        Ok(connection) => println!("{connection:?}"),
        Err(error) => println!("{error}"),
    }
    ExitCode::SUCCESS
}

/// What a process says that connects there, in namespaces of its own.
async fn said(namespaces: &str, before: &str, target: &str) -> String {
    let mut command = tokio::process::Command::new("unshare");
    command.args([namespaces, "sh", "-c", &format!("{before} exec \"$0\"")]);
    command.arg(std::env::current_exe().unwrap()).env(ASKED, target);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = soon("connecting", command.output()).await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn black_hole() {
    let hole = BlackHole::new("127.0.0.2").await;
    let port = hole.addr.port();
    let good = TcpListener::bind(("127.0.0.3", port)).await.unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = good.accept().await.unwrap();
        let reached = Instant::now();
        // It says nothing, and ends as soon as it knows who is there.
        let _ = stream.read_u8().await;
        reached
    });
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 two.test\n127.0.0.3 two.test\n").unwrap();
    let begin = Instant::now();
    let bind = format!("mount --bind '{}' /etc/hosts &&", hosts.display());
    let said = said("--mount", &bind, &format!("two.test:{port}")).await;
    let reached = soon("the second address is reached", serving).await.unwrap();
    let took = reached.duration_since(begin);
    assert!(took >= Duration::from_millis(250), "the first address was not tried: {took:?}");
    assert!(!said.contains("dial"), "{said}");
}

async fn unreachable() {
    // Nothing but a loopback interface that is down.
    let said = said("--net", "", "192.0.2.1:22").await;
    assert!(said.contains("192.0.2.1:22") && said.contains("unreachable"), "{said}");
}
