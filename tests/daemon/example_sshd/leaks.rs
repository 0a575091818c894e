//! What is left after clients that go without a word.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{PrivateKey, PrivateKeyWithHashAlg};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{Files, Server, entries, text};
use crate::kit::is_running;
use crate::support::{Anything, soon};

const CLIENTS: usize = 500;
const AT_ONCE: usize = 10;

/// What a process holds, as the kernel counts it.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    terminals: usize,
    /// Ended ones that were not reaped count too.
    children: usize,
}

impl Holdings {
    fn of(pid: i32) -> Self {
        let directory = format!("/proc/{pid}/fd");
        let links = std::fs::read_dir(&directory).unwrap().flatten();
        let terminals = links
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|target| target.ends_with("ptmx") || target.starts_with("/dev/pts"))
            .count();
        let parent_is = |entry: &std::fs::DirEntry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<i32>().ok()?;
            (parent == pid).then_some(())
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        Self {
            descriptors: entries(Path::new(&directory)),
            terminals,
            children: processes.filter_map(|entry| parent_is(&entry)).count(),
        }
    }
}

/// Runs something, waits for its first line, and is gone in the middle of it. The line says the number of the process,
/// and which descriptors are open in one like it: none that belongs to somebody else.
async fn visit(number: usize, port: u16, key: PrivateKey, ours: &str) -> i32 {
    let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nonblocking(true).unwrap();
    let socket = stream.try_clone().unwrap();
    let config = Arc::new(russh::client::Config::default());
    let stream = TcpStream::from_std(stream).unwrap();
    let mut client = russh::client::connect_stream(config, stream, Anything).await.unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    assert!(client.authenticate_publickey("alice", key).await.unwrap().success());
    let mut channel = client.channel_open_session().await.unwrap();
    if !number.is_multiple_of(4) {
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    }
    let work = match number % 3 {
        0 => "exec sleep 1000",
        1 => "exec cat",
        _ => "sleep 1000 | cat",
    };
    channel.exec(true, format!("echo $$ $(ls /proc/self/fd); {work}")).await.unwrap();
    let mut said = String::new();
    while !said.ends_with('\n') {
        match channel.wait().await {
            Some(russh::ChannelMsg::Data { data }) => said.push_str(&String::from_utf8_lossy(&data)),
            Some(_) => {}
            None => panic!("closed after {said:?}"),
        }
    }
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    let (pid, descriptors) = said.trim().split_once(' ').unwrap();
    assert_eq!(descriptors, ours);
    pid.parse().unwrap()
}

/// The descriptors of a program that this process starts: the three streams, the directory that is read, and what
/// whoever runs the tests has left open for all programs. The server was started so, too.
async fn inherited() -> String {
    let output = Command::new("sh").args(["-c", "echo $(ls /proc/self/fd)"]).output().await.unwrap();
    text(&output.stdout).trim().to_owned()
}

async fn visits(count: usize, port: u16, key: &PrivateKey) -> Vec<i32> {
    let ours: Arc<str> = inherited().await.into();
    let (mut pids, mut visits) = (Vec::new(), tokio::task::JoinSet::new());
    for number in 0..count {
        if visits.len() == AT_ONCE {
            pids.push(visits.join_next().await.unwrap().unwrap());
        }
        let key = key.clone();
        let ours = Arc::clone(&ours);
        visits.spawn(async move { soon(visit(number, port, key, &ours)).await });
    }
    while let Some(pid) = visits.join_next().await {
        pids.push(pid.unwrap());
    }
    pids
}

pub(super) async fn abrupt_disconnects() {
    let files = Files::new();
    let server = Server::start(files.server_with_key()).await;
    let key = PrivateKey::from_openssh(std::fs::read(files.key.path()).unwrap()).unwrap();
    // The runtime's own descriptors are there after the first ones.
    visits(AT_ONCE, server.port, &key).await;
    let settled = async |before: Option<&Holdings>| {
        let mut last = Holdings::of(server.pid());
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = Holdings::of(server.pid());
            let done = now.terminals == 0 && now.children == 0;
            if done && before.map_or(now == last, |before| now == *before) {
                return now;
            }
            last = now;
        }
        last
    };
    let before = settled(None).await;
    let pids = visits(CLIENTS, server.port, &key).await;
    assert_eq!(pids.len(), CLIENTS);
    let after = settled(Some(&before)).await;
    println!("before and after {CLIENTS} abrupt disconnects: {before:?}, {after:?}");
    assert_eq!((before.terminals, before.children), (0, 0));
    assert_eq!(after, before);
    let alive: Vec<_> = pids.into_iter().filter(|pid| is_running(*pid)).collect();
    assert!(alive.is_empty(), "{alive:?}");
}
