//! Both directions are byte-exact, whatever the chunks, the room and the pauses.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Feed(usize),
    Room(usize),
    Read(usize),
    Write(usize),
    Flush,
    Hold(bool),
    Gate(bool),
    ReadChunk(usize),
    WriteChunk(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1..50_000_usize).prop_map(Op::Feed),
        (1..5000_usize).prop_map(Op::Room),
        (1..40_000_usize).prop_map(Op::Read),
        (1..5000_usize).prop_map(Op::Write),
        Just(Op::Flush),
        any::<bool>().prop_map(Op::Hold),
        any::<bool>().prop_map(Op::Gate),
        prop_oneof![1..100_usize, Just(usize::MAX)].prop_map(Op::ReadChunk),
        prop_oneof![1..100_usize, Just(usize::MAX)].prop_map(Op::WriteChunk),
    ]
}

/// The bench, and both streams as they should come out.
struct Run {
    bench: Bench,
    cap: usize,
    shut: Option<crate::port::budget::Charge>,
    fed: Vec<u8>,
    got: Vec<u8>,
    sent: Vec<u8>,
}

impl Run {
    fn new(config: &PumpConfig) -> Self {
        let bench = Bench::new(config);
        let cap = config.write_cap;
        Self { bench, cap, shut: None, fed: vec![], got: vec![], sent: vec![] }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Feed(len) => {
                let from = self.fed.len();
                self.fed.extend(bytes_at(from, len));
                self.bench.mock.feed(&self.fed[from..]);
            }
            Op::Room(room) => self.bench.mock.make_room(room),
            Op::Read(max) => self.read(max),
            Op::Write(len) => self.write(len),
            Op::Flush => ready(self.bench.flush()),
            Op::Hold(held) => self.bench.pump.control().set_hold(held),
            Op::Gate(true) => self.shut = None,
            Op::Gate(false) => self.shut = Some(self.bench.channel.charge(1000)),
            Op::ReadChunk(max) => self.bench.mock.state().read_chunk = max,
            Op::WriteChunk(max) => self.bench.mock.state().write_chunk = max,
        }
    }

    fn read(&mut self, max: usize) {
        match self.bench.read(max) {
            Poll::Pending => assert!(self.shut.is_some() || self.got.len() == self.fed.len()),
            Poll::Ready(read) => {
                assert!(self.shut.is_none(), "the gate is shut");
                self.got.extend(read.unwrap());
            }
        }
    }

    fn write(&mut self, len: usize) {
        let from = self.sent.len();
        let data = bytes_at(from, len);
        match self.bench.write(&data) {
            Poll::Pending => assert_eq!(self.bench.pump.stats().buffered(), self.cap),
            Poll::Ready(taken) => self.sent.extend_from_slice(&data[..taken.unwrap()]),
        }
    }

    fn check(&self) {
        let written = self.bench.mock.written();
        assert!(self.fed.starts_with(&self.got));
        assert!(self.sent.starts_with(&written));
        let buffered = self.bench.pump.stats().buffered();
        assert_eq!(written.len() + buffered, self.sent.len());
        assert!(buffered <= self.cap);
    }

    fn finish(mut self) {
        self.shut = None;
        self.bench.mock.finish();
        self.bench.mock.make_room(usize::MAX);
        while self.got.len() < self.fed.len() {
            self.read(10_000);
        }
        assert_eq!(ready(self.bench.read(10)), b"");
        ready(self.bench.shutdown());
        assert_eq!(self.got, self.fed);
        assert_eq!(self.bench.mock.written(), self.sent);
        let stats = self.bench.pump.stats();
        assert_eq!(stats.bytes_in(), u64::try_from(self.fed.len()).unwrap());
        assert_eq!(stats.bytes_out(), u64::try_from(self.sent.len()).unwrap());
    }
}

proptest! {
    #[test]
    fn any_interleaving_is_byte_exact(
        ops in prop::collection::vec(op(), 0..80),
        read_ahead in prop_oneof![Just(0), 1..100_usize, Just(256 * 1024_usize)],
        write_cap in 1..10_000_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _timers = runtime.enter();
        let mut run = Run::new(&PumpConfig { read_ahead, write_cap, ..PumpConfig::default() });
        for op in &ops {
            run.apply(op);
            run.check();
        }
        run.finish();
    }
}

fn ends(capacity: usize, cap: usize) -> [Pump<tokio::io::DuplexStream>; 2] {
    let (a, b) = tokio::io::duplex(capacity);
    let config = PumpConfig { read_ahead: 512, write_cap: cap, ..PumpConfig::default() };
    [a, b].map(|io| Pump::new(io, &config, ConnectionBudget::new(1), OutboundCredit::new(1)))
}

/// Halves in tasks of their own, as `tokio::io::split` gives them, over a stream that is always
/// full or empty, with a gate and a hold that come and go: a lost wake-up would hang this.
async fn both_ways(capacity: usize, cap: usize) {
    let data = bytes(20_000);
    let mut tasks = tokio::task::JoinSet::new();
    for pump in ends(capacity, cap) {
        let (control, gate) = (pump.control(), Arc::clone(&pump.gate));
        let (mut reader, mut writer) = tokio::io::split(pump);
        let expected = data.clone();
        tasks.spawn(async move {
            let mut got = vec![0; expected.len()];
            reader.read_exact(&mut got).await.unwrap();
            assert!(got == expected);
            // Keeps the write side moving until the other end has got everything.
            assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
        });
        let data = data.clone();
        tasks.spawn(async move {
            for chunk in data.chunks(777) {
                writer.write_all(chunk).await.unwrap();
                writer.flush().await.unwrap();
            }
            writer.shutdown().await.unwrap();
        });
        tasks.spawn(async move {
            let channel = ChannelBudget::new(gate, 1);
            for _ in 0..50 {
                let charge = channel.charge(1);
                control.set_hold(true);
                tokio::task::yield_now().await;
                drop(charge);
                control.set_hold(false);
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_in_different_tasks_lose_no_wake_up() {
    for (capacity, cap) in [(1, 1), (7, 100), (64, 1), (64, 4096), (1024, 1_000_000)] {
        both_ways(capacity, cap).await;
    }
}

#[tokio::test]
async fn halves_on_one_thread_lose_no_wake_up() {
    for (capacity, cap) in [(1, 1), (64, 4096)] {
        both_ways(capacity, cap).await;
    }
}
