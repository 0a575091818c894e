//! Single rules of the port that no channel shows from outside.

use std::sync::Arc;

use bytes::Bytes;

use super::fake::{Bench, CLOSE_TIMEOUT, FakeLink, Out, settle};
use crate::error::{CloseReason, ConnectionError, SendErrorKind};
use crate::port::Outgoing;
use crate::port::event::ChannelMsg;
use crate::wire::codes::DataType;

fn data(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_before_the_link_is_there_is_sent_when_it_comes() {
    let bench = Bench::unconnected(100, 100);
    bench.port.send(DataType::Normal, data("early")).unwrap();
    bench.port.push(Outgoing::Eof).unwrap();
    settle().await;
    assert!(bench.log().is_empty());
    bench.port.connect(Box::new(FakeLink(Arc::clone(&bench.wire))));
    settle().await;
    assert_eq!(bench.log(), [Out::Data(b"early".to_vec()), Out::Eof]);
}

#[tokio::test(start_paused = true)]
async fn a_port_closed_before_the_link_is_there_closes_when_it_comes() {
    let bench = Bench::unconnected(100, 100);
    bench.port.abandon(CloseReason::Local);
    settle().await;
    bench.port.connect(Box::new(FakeLink(Arc::clone(&bench.wire))));
    settle().await;
    assert_eq!(bench.log(), [Out::Close]);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_fails_waits_for_the_reason_of_the_transport() {
    let bench = Bench::new(100, 0);
    bench.port.send(DataType::Normal, data("stuck")).unwrap();
    settle().await;
    bench.wire.change(|wire| wire.dead = true);
    settle().await;
    assert!(bench.port.inbox.pop().is_none(), "not over before it is known why");
    bench.port.lost(ConnectionError::Lost("gone".into()));
    settle().await;
    let last = bench.port.inbox.pop().unwrap();
    assert!(matches!(last.msg, ChannelMsg::Closed { reason: CloseReason::Connection(_) }));
    assert_eq!(bench.times_gone(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_fails_without_a_reason_still_ends_the_channel() {
    let bench = Bench::new(100, 0);
    bench.port.send(DataType::Normal, data("stuck")).unwrap();
    settle().await;
    bench.wire.change(|wire| wire.dead = true);
    tokio::time::sleep(CLOSE_TIMEOUT).await;
    settle().await;
    assert!(matches!(bench.port.inbox.pop().unwrap().msg, ChannelMsg::Closed { .. }));
    assert_eq!(bench.times_gone(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thread_outside_the_runtime_may_send_and_close() {
    let bench = Bench::new(100, 0);
    let port = Arc::clone(&bench.port);
    std::thread::spawn(move || {
        port.send(DataType::Normal, data("x")).unwrap();
        port.close();
        assert!(matches!(
            port.send(DataType::Normal, data("y")),
            Err(SendErrorKind::Closed(CloseReason::Local))
        ));
    })
    .join()
    .unwrap();
    bench.wire.change(|wire| wire.window = 1);
    settle().await;
    assert_eq!(bench.log(), [Out::Data(b"x".to_vec()), Out::Close]);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_channel_counts_no_more_against_its_connection_whoever_holds_its_events() {
    let bench = Bench::new(100, 0);
    bench.port.deliver(ChannelMsg::Data { data_type: DataType::Normal, data: data("held") });
    let held = bench.port.inbox.pop().unwrap();
    bench.port.deliver(ChannelMsg::Data { data_type: DataType::Normal, data: data("waits") });
    assert!(bench.connection.used() > 0);
    bench.port.abort(CloseReason::Local);
    assert_eq!(bench.connection.used(), 0);
    drop(held);
    drop(bench.port.inbox.pop());
    assert_eq!(bench.connection.used(), 0);
}
