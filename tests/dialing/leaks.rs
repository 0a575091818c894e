//! After every kind of way, whether it led somewhere or not, nothing is left: no socket, no task, no process.

use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::dial::{Proxy, ProxyCommand, Via};
use ractor_ssh::{Client, ClientConfig};

use crate::common::{NobodyListens, becomes_true, config, connect, soon, works};
use crate::kit::{Peer, RealProxy, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let peers = [Peer::OpenSshServer, Peer::OpenSshClient, Peer::Tinyproxy];
    vec![
        peer_test("leaks::no_way_leaves_anything_behind", peers, ways),
        peer_test("leaks::a_way_given_up_at_any_moment_leaves_nothing_behind", peers, any_moment),
    ]
}

/// The tasks of this trial's runtime at the beginning, and the ports it uses. Trials run beside each other in one process:
/// only the sockets to these ports are this trial's.
struct Baseline {
    tasks: usize,
    ports: Vec<u16>,
}

impl Baseline {
    fn new(ports: &[u16]) -> Self {
        Self { tasks: tasks(), ports: ports.to_vec() }
    }

    async fn returns(&self) {
        becomes_true("no task is left", || tasks() <= self.tasks).await;
        becomes_true("no socket is left", || sockets_to(&self.ports) == 0).await;
        let ours = || children().into_iter().filter(|line| line.contains("sleep 4242")).count();
        becomes_true("no process is left", || ours() == 0).await;
    }
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Our established or closing sockets to these ports on loopback.
fn sockets_to(ports: &[u16]) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let inodes: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|path: PathBuf| {
            path.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    let ends: Vec<String> = ports.iter().map(|port| format!(":{port:04X}")).collect();
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 9)
        .filter(|fields| ends.iter().any(|end| fields[2].ends_with(end.as_str())))
        .filter(|fields| inodes.iter().any(|inode| inode == fields[9]))
        .count()
}

/// The command lines of all processes that can be seen.
fn children() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}

struct Place {
    jump: Sshd,
    target: Sshd,
    tinyproxy: RealProxy,
    nobody: NobodyListens,
}

impl Place {
    fn new() -> Self {
        Self {
            jump: Sshd::builder().start().unwrap(),
            target: Sshd::builder().start().unwrap(),
            tinyproxy: RealProxy::tinyproxy(None).unwrap(),
            nobody: NobodyListens::new(),
        }
    }

    fn ports(&self) -> [u16; 3] {
        [self.jump.port(), self.target.port(), self.tinyproxy.port()]
    }

    fn ways(&self) -> Vec<ClientConfig> {
        let to = || config(&self.target);
        let jump = || config(&self.jump);
        let http = || Via::default().proxy(Proxy::http("127.0.0.1", self.tinyproxy.port()));
        vec![
            to(),
            to().via(http()),
            to().jump(jump()),
            to().jump(jump().via(http())),
            to().via(http()).jump(jump()),
            to().outbound_rate(10_000_000),
        ]
    }

    fn dead_ends(&self) -> Vec<ClientConfig> {
        let nowhere = self.nobody.port();
        let mut all: Vec<_> = self.ways().into_iter().map(|way| way.port(nowhere)).collect();
        all.push(config(&self.target).jump(config(&self.jump).port(nowhere)));
        all.push(config(&self.target).via(Via::command(ProxyCommand::new(["false"]))));
        let silent = Via::command(ProxyCommand::shell("sleep 4242"));
        all.push(config(&self.target).via(silent).deadline(Duration::from_millis(100)));
        all
    }
}

async fn ways() {
    let place = Place::new();
    // Once, so that what is made once is there.
    works(&connect(config(&place.target)).await).await;
    becomes_true("it is gone", || sockets_to(&place.ports()) == 0).await;
    let baseline = Baseline::new(&place.ports());
    for way in place.ways() {
        let connection = connect(way).await;
        works(&connection).await;
        assert!(sockets_to(&place.ports()) > 0 && tasks() > baseline.tasks, "it cannot see what there is");
        connection.close().await;
    }
    baseline.returns().await;
    for way in place.ways() {
        drop(connect(way).await);
    }
    baseline.returns().await;
    for way in place.dead_ends() {
        assert!(soon("failing", Client::new(way).connect()).await.is_err());
    }
    baseline.returns().await;
}

async fn any_moment() {
    let place = Place::new();
    works(&connect(config(&place.target)).await).await;
    becomes_true("it is gone", || sockets_to(&place.ports()) == 0).await;
    let baseline = Baseline::new(&place.ports());
    let way = || {
        let http = Via::default().proxy(Proxy::http("127.0.0.1", place.tinyproxy.port()));
        config(&place.target).jump(config(&place.jump).via(http))
    };
    // Polled so many times and no more: every point where it waits is tried, whatever the machine's speed.
    let mut most = 0;
    loop {
        let mut connecting = Box::pin(Client::new(way()).connect());
        let mut polls = 0;
        let done = std::future::poll_fn(|cx| {
            if polls == most {
                return std::task::Poll::Ready(None);
            }
            polls += 1;
            connecting.as_mut().poll(cx).map(Some)
        });
        let done = soon("so many polls", done).await;
        drop(connecting);
        match done {
            None => most += 1,
            Some(made) => {
                drop(made.unwrap());
                break;
            }
        }
        assert!(most < 1000, "it is never done");
    }
    assert!(most > 5, "{most}");
    baseline.returns().await;
}
