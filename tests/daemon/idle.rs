//! Very many channels on one connection, and very many connections.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use libtest_mimic::Trial;
use ractor_ssh::config::Limits;
use ractor_ssh::error::Phase;
use ractor_ssh::{ChannelMsg, Client, Rate, SessionLimits};
use tokio::sync::{Mutex, mpsc};

use crate::child::{Apart, raise_file_limit};
use crate::kit::{Peer, peer_test_within};
use crate::ours::{Quiet, Report, Reports, Tell};
use crate::support::{Served, soon};

/// One at a time, or memory is counted that is the other's.
static ALONE: Mutex<()> = Mutex::const_new(());

pub(crate) fn trials() -> Vec<Trial> {
    let limit = Duration::from_secs(600);
    let none: [Peer; 0] = [];
    let name = "ten_thousand_idle_channels_on_one_connection";
    vec![
        peer_test_within(limit, name, none, ten_thousand).with_ignored_flag(true),
        peer_test_within(limit, "a_thousand_connections_with_an_echoing_channel_each", none, thousand)
            .with_ignored_flag(true),
    ]
}

/// Prints what a channel costs, both sides of it together: an actor and a russh channel each.
async fn ten_thousand() {
    const COUNT: usize = 10_000;
    let _alone = ALONE.lock().await;
    let reports = Reports::default();
    let sender = reports.sender();
    let mut session_limits = SessionLimits::default();
    session_limits.opens = Rate::unlimited();
    let served = Served::with(|config| {
        config
            .session_channel(move |_| Report::new(&sender))
            .max_channels(COUNT + 1)
            .session_limits(session_limits)
    })
    .await;
    let mut limits = Limits::default();
    limits.max_channels = COUNT + 1;
    let conn = Client::new(served.client_config().limits(limits)).connect().await.unwrap();
    let before = resident();
    let start = Instant::now();
    let mut channels = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        channels.push(conn.session_channel(Quiet).await.unwrap());
    }
    let took = start.elapsed();
    if let (Some(before), Some(after)) = (before, resident()) {
        let each = after.saturating_sub(before) / COUNT;
        println!("{COUNT} channels in {took:?}; {each} bytes a channel, both sides together");
        assert!(each < 64 * 1024, "{each} bytes a channel");
    }
    assert_eq!(conn.info().await.unwrap().channels.len(), COUNT);
    let last = channels.last().unwrap();
    last.send("ping").await.unwrap();
    assert_eq!(reports.next().await, "data ping");
    soon(conn.close()).await;
}

/// Prints what a connection and a channel cost a daemon that is a process of its own.
async fn thousand() {
    const COUNT: usize = 1_000;
    let _alone = ALONE.lock().await;
    let files = raise_file_limit();
    assert!(files > 2 * COUNT as u64, "only {files} files may be open; raise the hard limit");
    let daemon = Apart::start().await;
    // What the first connection makes is not counted.
    soon(daemon.client().connect().await.unwrap().close()).await;
    let mut measured = vec![daemon.resident()];

    let start = Instant::now();
    let connecting = (0..COUNT).map(|_| async { daemon.client().connect().await.unwrap() });
    let connections: Vec<_> = stream::iter(connecting).buffered(32).collect().await;
    println!("{COUNT} logins in {:?}", start.elapsed());
    measured.push(settled(&daemon).await);

    let (to, mut events) = mpsc::unbounded_channel();
    let opening = connections.iter().cloned().map(|conn| {
        let tell = Tell { command: "cat", to: to.clone() };
        async move { conn.session_channel(tell).await.unwrap() }
    });
    let channels: Vec<_> = stream::iter(opening).buffered(32).collect().await;
    measured.push(settled(&daemon).await);

    let start = Instant::now();
    for round in 0..10 {
        let mut missing: HashSet<String> = (0..COUNT).map(|index| format!("{round} {index}")).collect();
        for (index, channel) in channels.iter().enumerate() {
            channel.send(format!("{round} {index}")).await.unwrap();
        }
        while !missing.is_empty() {
            match soon(events.recv()).await.unwrap() {
                ChannelMsg::Data { data, .. } => {
                    let echo = String::from_utf8(data.to_vec()).unwrap();
                    assert!(missing.remove(&echo), "not awaited: {echo}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
    println!("{} echoes in {:?}", 10 * COUNT, start.elapsed());
    assert!(connections.iter().all(|conn| conn.phase() == Phase::Up), "a connection was lost");
    let all: Option<Vec<usize>> = measured.into_iter().collect();
    if let Some(&[none, idle, open]) = all.as_deref() {
        let (connection, channel) = (idle.saturating_sub(none) / COUNT, open.saturating_sub(idle) / COUNT);
        println!(
            "{connection} bytes an idle connection, {channel} more an idle channel, in the daemon's process"
        );
        assert!(connection < 256 * 1024 && channel < 128 * 1024);
    }
    let closing = connections.into_iter().map(|conn| async move { conn.close().await });
    soon(stream::iter(closing).buffer_unordered(32).collect::<Vec<_>>()).await;
}

/// A daemon's memory when the buffers of connections that have fallen silent are freed.
async fn settled(daemon: &Apart) -> Option<usize> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    daemon.resident()
}

/// Resident memory of this process, in bytes, where the system tells.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}
