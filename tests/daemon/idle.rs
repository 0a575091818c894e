//! Very many channels that do nothing.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::Limits;
use ractor_ssh::{Client, Rate, SessionLimits};

use crate::kit::{Peer, peer_test_within};
use crate::ours::{Quiet, Report, Reports};
use crate::support::{Served, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let limit = Duration::from_secs(300);
    let none: [Peer; 0] = [];
    let name = "ten_thousand_idle_channels_on_one_connection";
    vec![peer_test_within(limit, name, none, ten_thousand).with_ignored_flag(true)]
}

/// Prints what a channel costs, both sides of it together: an actor and a russh channel each.
async fn ten_thousand() {
    const COUNT: usize = 10_000;
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
    let start = std::time::Instant::now();
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

/// Resident memory of this process, in bytes, where the system tells.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}
