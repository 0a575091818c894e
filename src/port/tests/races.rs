//! The same rules with threads that really run at the same time.

use std::sync::Arc;
use std::time::Duration;

use super::fake::{Bench, Out};
use crate::error::{CloseReason, ConnectionError};
use crate::port::event::ChannelMsg;
use crate::port::inbox::Notice;
use crate::wire::codes::DataType;

/// How the channel ends in the middle of everything.
#[derive(Clone, Copy)]
enum End {
    Close,
    Abort,
    PeerClose,
    Lose,
    CloseAndPeerClose,
}

async fn one_round(end: End) {
    let bench = Bench::new(64, 0);
    let woken = Arc::new(tokio::sync::Notify::new());
    let wake = Arc::clone(&woken);
    let waits = bench.port.inbox.attach(Box::new(move |notice| {
        if notice == Notice::Arrived {
            wake.notify_one();
        }
    }));
    assert!(!waits);

    let senders: Vec<_> = (0..3u8)
        .map(|sender| {
            let port = Arc::clone(&bench.port);
            tokio::spawn(async move {
                while port.outbox.closed().is_none() {
                    let _turn = port.outbox.room().await;
                    let _ = port.send(DataType::Normal, vec![sender; 7].into());
                }
            })
        })
        .collect();
    let wire = Arc::clone(&bench.wire);
    let reader = tokio::spawn(async move {
        loop {
            wire.change(|wire| wire.window += 13);
            tokio::task::yield_now().await;
        }
    });
    let port = Arc::clone(&bench.port);
    let peer = tokio::spawn(async move {
        let data = || ChannelMsg::Data { data_type: DataType::Normal, data: vec![0; 50].into() };
        while port.deliver(data()) {
            tokio::task::yield_now().await;
        }
    });
    let port = Arc::clone(&bench.port);
    let consumer = tokio::spawn(async move {
        loop {
            match port.inbox.pop() {
                Some(arrived) if matches!(arrived.msg, ChannelMsg::Closed { .. }) => break,
                Some(_) => {}
                None => woken.notified().await,
            }
        }
    });

    tokio::time::sleep(Duration::from_micros(200)).await;
    let port = Arc::clone(&bench.port);
    match end {
        End::Close => {
            bench.wire.change(|wire| wire.peer_closed = true);
            port.close();
        }
        End::Abort => {
            bench.wire.change(|wire| wire.peer_closed = true);
            port.abort(CloseReason::Local);
        }
        End::PeerClose => port.peer_closed(),
        End::Lose => {
            bench.wire.change(|wire| wire.dead = true);
            port.lost(ConnectionError::Lost("test".into()));
        }
        End::CloseAndPeerClose => {
            let other = Arc::clone(&port);
            let close = tokio::task::spawn_blocking(move || other.close());
            port.peer_closed();
            bench.wire.change(|wire| wire.peer_closed = true);
            close.await.unwrap();
        }
    }
    let all = async {
        consumer.await.unwrap();
        peer.await.unwrap();
        for sender in senders {
            sender.await.unwrap();
        }
        while bench.times_gone() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("something hangs");
    reader.abort();

    assert_eq!(bench.times_gone(), 1);
    assert_eq!(bench.connection.used(), 0);
    let log = bench.log();
    assert!(log.iter().filter(|item| **item == Out::Close).count() <= 1);
    assert!(!log.contains(&Out::Close) || log.last() == Some(&Out::Close), "something after CLOSE");
    let Some(Out::Data(bytes)) = log.first() else { return };
    let whole = bytes.len() - bytes.len() % 7;
    assert!(bytes[..whole].chunks(7).all(|piece| piece.iter().all(|byte| *byte == piece[0])), "mixed");
}

#[test]
fn a_busy_port_ends_once_whole_and_without_leaks_however_it_ends() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        for _ in 0..60 {
            for end in [End::Close, End::Abort, End::PeerClose, End::Lose, End::CloseAndPeerClose] {
                one_round(end).await;
            }
        }
    });
}
