//! Many channels, one after the other and at once: nothing of them stays.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::Limits;
use ractor_ssh::error::OpenError;
use ractor_ssh::{Client, ConnectionRef};
use rand::RngExt as _;
use tokio::task::JoinSet;

use crate::common::{
    Tell, alone, becomes_true, config, connect, counters, exec, info, no_channels_left, open, open_files,
    resident, run,
};
use crate::kit::{Peer, Sshd, peer_test};

const COUNT: u64 = 1000;

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("limits::one_channel_more_than_max_channels_is_refused_here", SERVER, max_channels),
        peer_test("limits::an_open_that_is_given_up_leaves_no_session", SERVER, opens_given_up),
        alone("limits::ten_thousand_channels_opened_and_closed_leave_nothing", ten_thousand),
        alone("limits::a_thousand_commands_in_a_row_leave_nothing", in_a_row),
        alone("limits::a_thousand_commands_64_at_once_some_given_up_leave_nothing", at_once),
    ]
}

/// What may not grow.
#[derive(Debug)]
struct Footprint {
    files: usize,
    tasks: usize,
    resident: u64,
}

impl Footprint {
    async fn of(conn: &ConnectionRef) -> Self {
        no_channels_left(conn).await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        Self { files: open_files().len(), tasks, resident: resident() }
    }

    async fn is_back(&self, conn: &ConnectionRef) {
        becomes_true("files and tasks are as before", || async {
            let now = Self::of(conn).await;
            now.files <= self.files && now.tasks <= self.tasks
        })
        .await;
        let info = info(conn).await;
        assert_eq!(info.counters.channels_opened, info.counters.channels_closed);
        assert_eq!(info.counters.unread, 0);
    }
}

async fn in_a_row() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    run(&conn, "true").await;
    let before = Footprint::of(&conn).await;
    for n in 0..COUNT {
        let outcome = run(&conn, &format!("exit {}", n % 200)).await;
        assert_eq!(outcome.status, Some((n % 200) as u32));
    }
    let grown = resident().saturating_sub(before.resident);
    assert!(grown < COUNT * 1024, "{grown} bytes more in memory");
    before.is_back(&conn).await;
    assert_eq!(counters(&conn).await.channels_closed, COUNT + 1);
}

async fn ten_thousand() {
    let sshd = Sshd::builder().max_sessions(40).start().unwrap();
    let conn = connect(&sshd).await;
    run(&conn, "true").await;
    let before = Footprint::of(&conn).await;
    let mut work = JoinSet::new();
    for _ in 0..16 {
        let conn = conn.clone();
        work.spawn(async move {
            for _ in 0..10_000 / 16 {
                let (channel, events) = open(&conn).await;
                channel.close();
                events.outcome().await;
            }
        });
    }
    work.join_all().await;
    let resident_then = resident();
    before.is_back(&conn).await;
    assert_eq!(counters(&conn).await.channels_closed, 10_001);
    // russh keeps an entry for each channel that we close first, with a queue of nearly 4 KiB, as long as the
    // connection lives. Nothing else may stay.
    let grown = resident_then.saturating_sub(before.resident);
    assert!(grown < 10_000 * 5 * 1024, "{grown} bytes more in memory");
}

async fn at_once() {
    const AT_ONCE: usize = 64;
    let sshd = Sshd::builder().max_sessions(200).start().unwrap();
    let conn = connect(&sshd).await;
    run(&conn, "true").await;
    let before = Footprint::of(&conn).await;
    let mut work = JoinSet::new();
    let mut finished = 0;
    for n in 0..COUNT {
        if work.len() == AT_ONCE {
            finished += u64::from(work.join_next().await.unwrap().unwrap());
        }
        let conn = conn.clone();
        work.spawn(async move {
            if n % 4 != 0 {
                let outcome = run(&conn, &format!("echo {n}")).await;
                assert_eq!(String::from_utf8_lossy(&outcome.stdout), format!("{n}\n"));
                assert_eq!(outcome.status, Some(0));
                return true;
            }
            let patience = Duration::from_micros(rand::rng().random_range(0..30_000));
            let _ = tokio::time::timeout(patience, end_somehow(&conn, n / 4)).await;
            false
        });
    }
    while let Some(done) = work.join_next().await {
        finished += u64::from(done.unwrap());
    }
    assert_eq!(finished, COUNT * 3 / 4);
    before.is_back(&conn).await;
    assert_eq!(run(&conn, "echo fine").await.stdout, b"fine\n");
}

/// Ends a channel in one of many ways; whoever gives it up ends it in one more.
async fn end_somehow(conn: &ConnectionRef, how: u64) {
    /// The channel goes with whoever held it.
    struct Ends(ractor_ssh::ChannelRef<Tell>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.stop("given up");
        }
    }
    let (channel, events) = open(conn).await;
    let channel = Ends(channel);
    channel.0.exec("cat").await.unwrap();
    channel.0.send("some data").await.unwrap();
    match how % 5 {
        0 => channel.0.close(),
        1 => channel.0.abort(),
        2 => channel.0.kill(),
        3 => channel.0.send_eof().unwrap(),
        _ => {}
    }
    drop(events.outcome().await);
}

async fn max_channels() {
    let sshd = Sshd::builder().start().unwrap();
    let mut limits = Limits::default();
    limits.max_channels = 3;
    let conn = Client::new(config(&sshd).limits(limits)).connect().await.unwrap();
    let mut channels = Vec::new();
    for _ in 0..3 {
        channels.push(exec(&conn, "cat").await);
    }
    let refused = conn.session_channel(Tell::new().0).await;
    assert!(matches!(refused, Err(OpenError::TooManyChannels { limit: 3 })), "{refused:?}");
    let (channel, events) = channels.pop().unwrap();
    channel.close();
    events.outcome().await;
    becomes_true("there is room", || async { conn.session_channel(Tell::new().0).await.is_ok() }).await;
}

async fn opens_given_up() {
    let sshd = Sshd::builder().max_sessions(1).start().unwrap();
    let conn = connect(&sshd).await;
    for n in 0..100u64 {
        let open = conn.session_channel(Tell::new().0);
        // From "never polled" to "answered and its actor is starting".
        let _ = tokio::time::timeout(Duration::from_micros(n * 20), open).await.map(|opened| {
            if let Ok(channel) = opened {
                channel.close();
            }
        });
        no_channels_left(&conn).await;
    }
    assert_eq!(run(&conn, "echo room").await.stdout, b"room\n");
}
