//! Reads: the gate, and reading ahead.

use super::*;

#[tokio::test]
async fn while_the_gate_is_shut_even_what_was_read_ahead_stays_and_output_still_leaves() {
    let mut bench = Bench::new(&PumpConfig::default());
    bench.mock.feed(b"abcdef");
    assert_eq!(ready(bench.read(2)), b"ab");

    let charge = bench.channel.charge(1000);
    ready(bench.write(b"out"));
    assert!(bench.read(2).is_pending());
    bench.reader.take();
    bench.mock.make_room(3);
    assert!(bench.reader.take() > 0);
    assert!(bench.read(2).is_pending());
    assert_eq!(bench.mock.written(), b"out");

    bench.reader.take();
    drop(charge);
    assert!(bench.reader.take() > 0);
    assert!(!bench.gate.is_shut());
    assert_eq!(ready(bench.read(9)), b"cdef");
}

#[tokio::test]
async fn many_small_reads_are_one_read_of_the_socket() {
    let mut bench = Bench::new(&PumpConfig::default());
    let data = bytes(1000);
    bench.mock.feed(&data);
    let got: Vec<u8> = (0..250).flat_map(|_| ready(bench.read(4))).collect();
    assert_eq!(got, data);
    assert_eq!(bench.mock.state().reads, 1);
    let stats = bench.pump.stats();
    assert_eq!((stats.bytes_in(), stats.reads()), (1000, 1));
}

#[tokio::test]
async fn the_read_ahead_grows_to_its_maximum_when_reads_fill_it() {
    let mut bench = Bench::new(&PumpConfig { read_ahead: 100 * 1024, ..PumpConfig::default() });
    bench.mock.feed(&bytes(16 * 1024 + 64 * 1024 + 200 * 1024));
    for (ahead, reads) in [(16, 1), (64, 2), (100, 3), (100, 4)] {
        let mut left = ahead * 1024;
        while left > 0 {
            left -= ready(bench.read(left.min(1000))).len();
            assert_eq!(bench.mock.state().reads, reads);
        }
    }
}

#[tokio::test]
async fn a_read_larger_than_the_buffer_goes_past_it() {
    let mut bench = Bench::new(&PumpConfig::default());
    bench.mock.feed(&bytes(100_000));
    assert_eq!(ready(bench.read(16 * 1024)).len(), 16 * 1024);
    assert!(!bench.pump.read.holds_memory());
    assert_eq!(bench.pump.stats().bytes_in(), 16 * 1024);
}

#[tokio::test]
async fn without_read_ahead_every_read_is_the_sockets() {
    let mut bench = Bench::new(&PumpConfig { read_ahead: 0, ..PumpConfig::default() });
    bench.mock.feed(b"abcdef");
    assert_eq!(ready(bench.read(4)), b"abcd");
    assert_eq!(ready(bench.read(4)), b"ef");
    assert_eq!(bench.mock.state().reads, 2);
    assert!(!bench.pump.read.holds_memory());
}

#[tokio::test(start_paused = true)]
async fn the_last_inbound_activity_is_when_the_socket_gave_something() {
    let start = tokio::time::Instant::now();
    let mut bench = Bench::new(&PumpConfig::default());
    let stats = bench.pump.stats();
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    bench.mock.feed(b"abcdef");
    ready(bench.read(1));
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    ready(bench.read(1));
    assert!(bench.write(b"x").is_ready());
    assert_eq!(stats.last_inbound() - start, std::time::Duration::from_secs(5));
}
