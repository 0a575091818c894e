//! Writes are taken, held, capped, and leave in order.

use super::*;

fn capped(write_cap: usize) -> Bench {
    Bench::new(&PumpConfig { write_cap, ..PumpConfig::default() })
}

#[tokio::test]
async fn a_write_is_taken_at_once_and_a_read_pushes_it_out() {
    let mut bench = capped(1024);
    bench.mock.make_room(3);
    assert_eq!(ready(bench.write(b"abcdef")), 6);
    assert_eq!(bench.mock.written(), b"abc");
    assert_eq!(bench.pump.stats().buffered(), 3);
    ready(bench.flush());
    assert!(bench.read(8).is_pending());

    bench.mock.make_room(2);
    assert!(bench.reader.take() > 0, "room wakes the reader, who drives the buffer");
    assert!(bench.read(8).is_pending());
    assert_eq!(bench.mock.written(), b"abcde");
    bench.mock.make_room(10);
    assert!(bench.read(8).is_pending());
    assert_eq!(bench.mock.written(), b"abcdef");

    let stats = bench.pump.stats();
    assert_eq!((stats.buffered(), stats.peak_buffered(), stats.bytes_out()), (0, 3, 6));
}

#[tokio::test]
async fn a_later_write_does_not_overtake_the_buffer() {
    let mut bench = capped(1024);
    assert_eq!(ready(bench.write(b"one ")), 4);
    bench.mock.make_room(6);
    assert_eq!(ready(bench.write(b"two")), 3);
    assert_eq!(bench.mock.written(), b"one tw");
    bench.mock.make_room(6);
    assert!(bench.read(1).is_pending());
    assert_eq!(bench.mock.written(), b"one two");
}

#[tokio::test]
async fn a_flush_reaches_the_stream_after_the_buffer_and_never_waits() {
    let mut bench = capped(1024);
    bench.mock.block_flush(true);
    assert_eq!(ready(bench.write(b"abc")), 3);
    ready(bench.flush());
    bench.mock.make_room(3);
    assert!(bench.read(1).is_pending());
    assert_eq!((bench.mock.written(), bench.mock.state().flushes), (b"abc".to_vec(), 0));
    bench.reader.take();
    bench.mock.block_flush(false);
    assert!(bench.reader.take() > 0);
    assert!(bench.read(1).is_pending());
    assert_eq!(bench.mock.state().flushes, 1);
    assert!(bench.read(1).is_pending());
    assert_eq!(bench.mock.state().flushes, 1, "once for each that was asked for");
}

#[tokio::test]
async fn beyond_the_cap_a_write_waits_and_is_woken_by_room() {
    let mut bench = capped(4);
    assert_eq!(ready(bench.write(b"abcdef")), 4);
    assert!(bench.write(b"ef").is_pending());
    bench.writer.take();
    assert!(bench.read(1).is_pending(), "the reader polls the stream last, with its own task");
    bench.mock.make_room(1);
    assert!(bench.writer.take() > 0);
    assert_eq!(ready(bench.write(b"ef")), 1);
    bench.mock.make_room(usize::MAX);
    assert_eq!(ready(bench.write(b"f")), 1);
    assert_eq!(bench.mock.written(), b"abcdef");
    assert_eq!(bench.pump.stats().peak_buffered(), 4);
}

#[tokio::test]
async fn an_empty_write_is_ready_even_at_the_cap() {
    let mut bench = capped(1);
    assert_eq!(ready(bench.write(b"a")), 1);
    assert_eq!(ready(bench.write(b"")), 0);
}

#[tokio::test]
async fn while_held_nothing_leaves_and_release_sends_it_in_one_go() {
    let mut bench = capped(9);
    bench.mock.make_room(usize::MAX);
    let control = bench.pump.control();
    control.set_hold(true);
    assert!(bench.read(1).is_pending());
    for part in [b"abc", b"def", b"ghi"] {
        assert_eq!(ready(bench.write(part)), 3);
        ready(bench.flush());
    }
    assert!(bench.read(1).is_pending());
    assert_eq!(bench.mock.written(), b"");

    bench.reader.take();
    bench.writer.take();
    control.set_hold(false);
    assert!(bench.reader.take() > 0 && bench.writer.take() > 0);
    assert!(bench.read(1).is_pending());
    assert_eq!(bench.mock.written(), b"abcdefghi");
}

#[tokio::test]
async fn a_full_buffer_ends_the_hold_for_who_waits_for_room_does_not_read() {
    let mut bench = capped(8);
    bench.mock.make_room(usize::MAX);
    let control = bench.pump.control();
    control.set_hold(true);
    assert_eq!(ready(bench.write(b"12345678")), 8);
    assert!(control.is_held());
    assert_eq!(bench.mock.written(), b"");
    assert_eq!(ready(bench.write(b"9")), 1);
    assert!(!control.is_held());
    assert_eq!(bench.mock.written(), b"123456789");
}

#[tokio::test]
async fn let_go_at_flush_sends_what_was_held_with_what_is_written_before_the_flush() {
    let mut bench = capped(8);
    bench.mock.make_room(usize::MAX);
    let control = bench.pump.control();
    control.set_hold(true);
    ready(bench.write(b"abc"));
    control.let_go_at_flush();
    ready(bench.write(b"def"));
    assert_eq!(bench.mock.written(), b"");
    ready(bench.flush());
    assert_eq!(bench.mock.written(), b"abcdef");
    assert!(!control.is_held());
}

#[tokio::test]
async fn credit_comes_back_as_the_socket_takes_bytes() {
    let mut bench = capped(1024);
    bench.credit.acquire(100).await.unwrap().spend();
    bench.mock.make_room(30);
    assert_eq!(ready(bench.write(&bytes(120))), 120);
    assert_eq!(bench.credit.outstanding(), 70);
    bench.mock.make_room(60);
    assert!(bench.read(1).is_pending());
    assert_eq!(bench.credit.outstanding(), 10);
    bench.mock.make_room(60);
    assert!(bench.read(1).is_pending());
    assert_eq!(bench.credit.outstanding(), 0, "ciphertext is longer than its payload");
}

#[tokio::test]
async fn shutdown_writes_out_what_is_left_held_or_not() {
    let mut bench = capped(1024);
    bench.pump.control().set_hold(true);
    assert_eq!(ready(bench.write(b"abc")), 3);
    assert!(bench.shutdown().is_pending());
    assert!(!bench.mock.state().shut_down);
    bench.writer.take();
    bench.mock.make_room(3);
    assert!(bench.writer.take() > 0);
    ready(bench.shutdown());
    let state = bench.mock.state();
    assert_eq!((state.written.as_slice(), state.flushes, state.shut_down), (&b"abc"[..], 1, true));
}

#[tokio::test(start_paused = true)]
async fn buffers_are_freed_after_a_quiet_while() {
    let mut bench = capped(1024);
    ready(bench.write(b"abc"));
    bench.mock.make_room(3);
    bench.mock.feed(b"xyz");
    assert_eq!(ready(bench.read(3)), b"xyz");
    assert!(bench.read(3).is_pending());
    assert!(bench.pump.read.holds_memory() && bench.pump.write.holds_memory());
    bench.reader.take();
    tokio::time::sleep(super::super::TRIM_AFTER).await;
    assert!(bench.reader.take() > 0);
    assert!(bench.read(3).is_pending());
    assert!(!bench.pump.read.holds_memory() && !bench.pump.write.holds_memory());
    bench.mock.feed(b"again");
    assert_eq!(ready(bench.read(9)), b"again");
}
