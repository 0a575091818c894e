//! How it ends: end of file, errors, abort.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

// Any two codes do; these are what a socket gives.
const CONNECTION_RESET: i32 = 104;
const BROKEN_PIPE: i32 = 32;

fn bench() -> Bench {
    Bench::new(&PumpConfig::default())
}

fn os_error<T: std::fmt::Debug>(poll: Poll<io::Result<T>>) -> Option<i32> {
    match poll {
        Poll::Ready(Err(error)) => error.raw_os_error(),
        other => panic!("an error was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn end_of_file_comes_after_what_was_read_ahead_and_writing_goes_on() {
    let mut bench = bench();
    bench.mock.make_room(9);
    bench.mock.feed(b"abc");
    bench.mock.finish();
    assert_eq!(ready(bench.read(2)), b"ab");
    assert_eq!(ready(bench.read(2)), b"c");
    assert_eq!(ready(bench.read(2)), b"");
    assert_eq!(ready(bench.read(2)), b"");
    assert_eq!(ready(bench.write(b"out")), 3);
    assert_eq!(bench.mock.written(), b"out");
}

#[tokio::test]
async fn a_read_error_is_passed_on_and_ends_both_directions() {
    let mut bench = bench();
    bench.mock.feed(b"abc");
    bench.mock.fail_reads(CONNECTION_RESET);
    assert_eq!(ready(bench.read(9)), b"abc");
    assert!(!bench.credit.is_closed());
    assert_eq!(os_error(bench.read(9)), Some(CONNECTION_RESET));
    assert_eq!(os_error(bench.read(9)), Some(CONNECTION_RESET));
    assert_eq!(os_error(bench.write(b"x")), Some(CONNECTION_RESET));
    assert!(bench.credit.is_closed());
    ready(bench.shutdown());
    assert!(!bench.mock.state().shut_down);
}

#[tokio::test]
async fn a_read_error_wakes_a_waiting_writer() {
    let mut bench = Bench::new(&PumpConfig { write_cap: 1, ..PumpConfig::default() });
    ready(bench.write(b"a"));
    assert!(bench.write(b"b").is_pending());
    bench.mock.fail_reads(CONNECTION_RESET);
    bench.writer.take();
    assert_eq!(os_error(bench.read(1)), Some(CONNECTION_RESET));
    assert!(bench.writer.take() > 0);
    assert_eq!(os_error(bench.write(b"b")), Some(CONNECTION_RESET));
}

#[tokio::test]
async fn after_a_write_error_what_had_arrived_is_read_before_the_error() {
    for buffered in [false, true] {
        let mut bench = bench();
        assert!(bench.read(9).is_pending());
        if buffered {
            ready(bench.write(b"buffered"));
        }
        bench.mock.feed(b"last words");
        bench.reader.take();
        bench.mock.fail_writes(BROKEN_PIPE);
        assert_eq!(ready(bench.write(b"abc")), 3, "thrown away: the reader has not got the error");
        assert!(bench.credit.is_closed());
        assert!(bench.reader.take() > 0);
        assert_eq!(ready(bench.read(5)), b"last ");
        assert_eq!(ready(bench.read(9)), b"words");
        assert_eq!(ready(bench.write(b"abc")), 3);
        assert_eq!(os_error(bench.read(9)), Some(BROKEN_PIPE), "buffered: {buffered}");
        assert_eq!(os_error(bench.write(b"abc")), Some(BROKEN_PIPE));
        ready(bench.shutdown());
    }
}

#[tokio::test]
async fn a_write_error_is_told_at_the_end_of_file_too() {
    let mut bench = bench();
    bench.mock.feed(b"abc");
    bench.mock.finish();
    bench.mock.fail_writes(BROKEN_PIPE);
    ready(bench.write(b"x"));
    assert_eq!(ready(bench.read(9)), b"abc");
    assert_eq!(os_error(bench.read(9)), Some(BROKEN_PIPE));
}

#[tokio::test]
async fn abort_wakes_both_halves_and_fails_every_poll() {
    let mut bench = Bench::new(&PumpConfig { write_cap: 1, ..PumpConfig::default() });
    let _charge = bench.channel.charge(1000);
    ready(bench.write(b"a"));
    assert!(bench.write(b"b").is_pending());
    assert!(bench.read(1).is_pending());
    bench.reader.take();
    bench.writer.take();

    bench.pump.control().abort();
    assert!(bench.reader.take() > 0 && bench.writer.take() > 0);
    assert_eq!(kind(bench.read(1)), io::ErrorKind::ConnectionAborted);
    assert_eq!(kind(bench.write(b"b")), io::ErrorKind::ConnectionAborted);
    assert_eq!(kind(bench.flush()), io::ErrorKind::ConnectionAborted);
    ready(bench.shutdown());
    assert!(bench.credit.is_closed());
    assert_eq!(bench.pump.stats().buffered(), 0);
}

#[tokio::test]
async fn a_dropped_pump_ends_those_who_wait_for_credit() {
    let bench = bench();
    let credit = Arc::clone(&bench.credit);
    drop(bench);
    assert!(credit.acquire(1).await.is_err());
}

/// R6: the future that owns the session is dropped in the middle of the key exchange; its owner
/// aborts the pump, and the peer sees the connection close.
#[tokio::test]
async fn abort_from_another_task_closes_the_stream() {
    let (near, mut far) = tokio::io::duplex(64);
    let mut pump =
        Pump::new(near, &PumpConfig::default(), ConnectionBudget::new(1000), OutboundCredit::new(1));
    let control = pump.control();
    let session = tokio::spawn(async move {
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut pump, &mut byte).await
    });
    tokio::task::yield_now().await;
    control.abort();
    let error = session.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    let mut rest = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut far, &mut rest);
    assert_eq!(timeout(Duration::from_secs(10), closed).await.unwrap().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_shut_down_is_read_for_a_second_more() {
    let mut bench = bench();
    assert!(bench.read(9).is_pending());
    bench.reader.take();
    ready(bench.shutdown());
    assert!(bench.reader.take() > 0, "the reader has to look at the clock");
    bench.mock.feed(b"late");
    assert_eq!(ready(bench.read(9)), b"late");
    assert!(bench.read(9).is_pending());
    tokio::time::sleep(Duration::from_millis(1001)).await;
    assert!(bench.reader.take() > 0);
    bench.mock.feed(b"too late");
    assert_eq!(ready(bench.read(9)), b"");
}
