//! Many commands, some cancelled: nothing stays behind.

use std::time::Duration;

use futures::StreamExt as _;
use libtest_mimic::Trial;
use ractor_ssh::ConnectionRef;
use ractor_ssh::session::{OnCancel, Stdin};

use super::{Outcome, connect, until, until_no_channels};
use crate::kit::{Peer, Sshd, peer_test_within};

const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        peer_test_within(
            LIMIT,
            "session::a_thousand_commands_in_a_row_leave_nothing",
            Peer::OpenSshServer,
            in_a_row,
        ),
        peer_test_within(
            LIMIT,
            "session::a_thousand_at_once_some_cancelled_leave_nothing",
            Peer::OpenSshServer,
            at_once,
        ),
    ]
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// What there is before and must be there after. Other trials of this process come and go, so descriptors are counted
/// by the thousand commands, not one by one.
struct Before {
    tasks: usize,
    descriptors: usize,
}

impl Before {
    fn look() -> Self {
        Self { tasks: tasks(), descriptors: descriptors() }
    }

    async fn is_restored(&self, conn: &ConnectionRef) {
        until_no_channels(conn).await;
        until("the tasks are as many as before", || async { tasks() <= self.tasks }).await;
        until("the descriptors are as many as before", || async { descriptors() < self.descriptors + 100 })
            .await;
        let counters = conn.info().await.unwrap().counters;
        assert_eq!(counters.channels_opened, counters.channels_closed);
        assert_eq!(counters.actors_failed, 0);
    }
}

async fn in_a_row() -> Outcome {
    let sshd = Sshd::builder().start()?;
    let conn = connect(&sshd).await;
    assert!(conn.exec("true").status().await?.success());
    until_no_channels(&conn).await;
    let before = Before::look();
    for n in 0..1000_u32 {
        let output = conn.exec(format!("echo {n}; exit {}", n % 200)).output().await?;
        assert_eq!((output.stdout_text(), output.status.code()), (format!("{n}\n").into(), Some(n % 200)));
    }
    before.is_restored(&conn).await;
    Ok(())
}

async fn at_once() -> Outcome {
    // More than 64: a cancelled command's session is free at the server only when it has heard of it.
    let sshd = Sshd::builder().max_sessions(1000).start()?;
    let conn = connect(&sshd).await;
    assert!(conn.exec("true").status().await?.success());
    until_no_channels(&conn).await;
    let before = Before::look();
    let commands = futures::stream::iter(0..1000_u64).map(|n| one(conn.clone(), n)).buffer_unordered(64);
    let cancelled = commands.filter(|cancelled| std::future::ready(*cancelled)).count().await;
    println!("{cancelled} cancelled");
    before.is_restored(&conn).await;
    assert_eq!(conn.exec("echo ok").output().await?.stdout, b"ok\n");
    Ok(())
}

/// Runs one command in one of several ways, and cancels two of three somewhere on their way. Says whether it was
/// cancelled.
async fn one(conn: ConnectionRef, n: u64) -> bool {
    // Any scatter will do: from before the open is confirmed to after the end.
    let patience = match n % 3 {
        0 => Duration::from_secs(60),
        _ => Duration::from_micros(n.wrapping_mul(2_654_435_761) % 60_000),
    };
    let policy = [
        OnCancel::Hangup,
        OnCancel::Eof,
        OnCancel::Detach,
        OnCancel::term_then_kill(Duration::from_millis(20)),
    ];
    let command =
        conn.exec(format!("cat; echo {n}")).on_cancel(policy[usize::try_from(n % 4).unwrap()].clone());
    let work = async {
        match n % 5 {
            0 => {
                let mut stream = conn.exec(format!("cat; echo {n}")).stream().await?;
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"some").await.ok();
                stream.finish().await.map(|status| status.success())
            }
            1 => command.spawn().await?.wait_with_output().await.map(|output| output.success()),
            _ => {
                let output = command.stdin(Stdin::bytes("in\n")).output().await?;
                assert_eq!(output.stdout_text(), format!("in\n{n}\n"));
                Ok(output.success())
            }
        }
    };
    match tokio::time::timeout(patience, work).await {
        Ok(done) => {
            assert!(matches!(done, Ok(true)), "command {n}: {done:?}");
            false
        }
        Err(_) => true,
    }
}
