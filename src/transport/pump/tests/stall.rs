//! The clocks: a socket that takes nothing, and credit that does not come home.

use std::time::Duration;

use tokio::time::{Instant, advance, sleep, timeout};

use super::super::WriteStalled;
use super::*;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn a_socket_that_takes_nothing_for_the_limit_ends_the_reader_in_time() {
    let mut bench = Bench::new(&PumpConfig::default());
    let start = Instant::now();
    ready(bench.write(b"abc"));
    let error = bench.until_readable().await.unwrap_err();
    assert!(start.elapsed() - LIMIT < Duration::from_millis(10), "{:?}", start.elapsed());
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(WriteStalled::in_error(&error), Some(WriteStalled { after: LIMIT }));
    assert_eq!(error.to_string(), "the peer has read nothing for 30s while output was waiting");

    assert_eq!(kind(bench.write(b"d")), io::ErrorKind::TimedOut);
    assert_eq!(kind(bench.read(1)), io::ErrorKind::TimedOut);
    assert!(bench.credit.is_closed());
    ready(bench.shutdown());
}

#[tokio::test(start_paused = true)]
async fn the_stall_shows_although_the_gate_is_shut() {
    let mut bench = Bench::new(&PumpConfig::default());
    let _charge = bench.channel.charge(1000);
    ready(bench.write(b"abc"));
    assert_eq!(bench.until_readable().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_writer_is_told_of_the_stall() {
    let mut bench = Bench::new(&PumpConfig { write_cap: 1, ..PumpConfig::default() });
    ready(bench.write(b"abc"));
    assert!(bench.write(b"bc").is_pending());
    bench.writer.take();
    sleep(LIMIT).await;
    assert!(bench.writer.take() > 0);
    assert_eq!(kind(bench.write(b"bc")), io::ErrorKind::TimedOut);
    assert_eq!(kind(bench.flush()), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn one_byte_starts_the_clock_anew() {
    let mut bench = Bench::new(&PumpConfig::default());
    ready(bench.write(&bytes(100)));
    for _ in 0..20 {
        advance(LIMIT - Duration::from_secs(1)).await;
        bench.mock.make_room(1);
        assert!(bench.read(1).is_pending());
    }
    assert!(timeout(LIMIT - Duration::from_secs(1), bench.until_readable()).await.is_err());
    assert_eq!(bench.until_readable().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn an_empty_buffer_has_no_clock() {
    let mut bench = Bench::new(&PumpConfig::default());
    ready(bench.write(b"abc"));
    bench.mock.make_room(3);
    assert!(timeout(10 * LIMIT, bench.until_readable()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_clock_rests_while_output_is_held_and_starts_at_the_release() {
    let mut bench = Bench::new(&PumpConfig::default());
    let control = bench.pump.control();
    ready(bench.write(b"abc"));
    advance(LIMIT - Duration::from_secs(1)).await;
    control.set_hold(true);
    ready(bench.write(b"def"));
    assert!(timeout(10 * LIMIT, bench.until_readable()).await.is_err());
    control.set_hold(false);
    assert!(timeout(LIMIT - Duration::from_secs(1), bench.until_readable()).await.is_err());
    assert_eq!(bench.until_readable().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_the_stream_never_finishes_is_a_stall() {
    let mut bench = Bench::new(&PumpConfig::default());
    bench.mock.block_flush(true);
    bench.mock.make_room(3);
    ready(bench.write(b"abc"));
    ready(bench.flush());
    assert_eq!(bench.until_readable().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_drains_for_the_limit_and_no_longer() {
    let mut bench = Bench::new(&PumpConfig::default());
    ready(bench.write(b"abc"));
    let start = Instant::now();
    let error = poll_fn(|cx| Pin::new(&mut bench.pump).poll_shutdown(cx)).await.unwrap_err();
    assert!(start.elapsed() - LIMIT < Duration::from_millis(10), "{:?}", start.elapsed());
    assert!(WriteStalled::in_error(&error).is_some());
}

#[tokio::test(start_paused = true)]
async fn credit_whose_packet_died_is_forgiven_once_the_wire_is_quiet() {
    let mut bench = Bench::new(&PumpConfig::default());
    bench.mock.make_room(usize::MAX);
    bench.credit.acquire(100).await.unwrap().spend();
    assert!(bench.read(1).is_pending());
    for _ in 0..5 {
        advance(Duration::from_millis(900)).await;
        ready(bench.write(b"x"));
        assert!(bench.read(1).is_pending());
    }
    assert_eq!(bench.credit.outstanding(), 95);
    let waiting = bench.credit.clone();
    let (permit, _) = tokio::join!(
        async move { waiting.acquire(100).await.map(|permit| permit.bytes()) },
        timeout(Duration::from_secs(2), bench.until_readable())
    );
    assert_eq!(permit, Ok(100));
}
