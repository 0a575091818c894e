//! After many connections, ended in every way, nothing is left: no file, no task, no channel.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::forward::Forward;
use tokio::io::AsyncWriteExt as _;

use crate::common::{
    Destination, Server, Which, any_port, becomes_true, both, echoes, enter, is_turned_away, soon,
};

pub(crate) fn trials() -> Vec<Trial> {
    both("leaks::many_connections_leave_nothing_behind", many).into()
}

const ROUNDS: usize = 60;

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

async fn many(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let before_forwards = tasks();
    let there = Destination::new().await.echo();
    let nobody = Destination::new().await.addr;
    let forward = conn.forward(Forward::local(any_port(), there)).await.unwrap();
    let to_nobody = conn.forward(Forward::local(any_port(), nobody)).await.unwrap();
    let socks = conn.forward(Forward::dynamic(any_port())).await.unwrap();
    drop(enter(&forward).await);
    becomes_true("it is idle", || forward.counters().open == 0).await;
    soon("no channel is left", no_channel(&conn)).await;
    let idle = tasks();
    for turn in 0..ROUNDS {
        let mut stream = enter(&forward).await;
        match turn % 4 {
            0 => echoes(&mut stream).await,
            1 => stream.shutdown().await.unwrap(),
            2 => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
            _ => {}
        }
        drop(stream);
        is_turned_away(&to_nobody).await;
        let mut stream = enter(&socks).await;
        stream.write_all(&[5, 1, 0][..turn % 4]).await.unwrap();
    }
    for forward in [&forward, &to_nobody, &socks] {
        // The last ones may not have been accepted yet.
        becomes_true("all were taken", || forward.counters().total as usize >= ROUNDS).await;
        becomes_true("none is open", || forward.counters().open == 0).await;
        assert_eq!(forward.counters().total as usize, ROUNDS + usize::from(forward.counters().total > 60));
    }
    soon("no channel is left", no_channel(&conn)).await;
    becomes_true("no task is left", || tasks() <= idle).await;
    for forward in [&forward, &to_nobody, &socks] {
        soon("closing", forward.close()).await;
    }
    // The destination is a task of the test's.
    becomes_true("no task is left of the forwards", || tasks() <= before_forwards + 1).await;
    soon("closing", conn.close()).await;
}

async fn no_channel(conn: &ractor_ssh::ConnectionRef) {
    while !conn.info().await.unwrap().channels.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
