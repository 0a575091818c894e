//! Whatever happens in whatever order: no byte lost or out of order, none after eof, one CLOSE, `Closed` once and
//! last, every byte of credit given back, answers in order.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::fake::{Bench, CLOSE_TIMEOUT, MAX_PACKET, Out, append, settle};
use crate::error::{CloseReason, ConnectionError, SendErrorKind};
use crate::port::Outgoing;
use crate::port::budget::PER_EVENT_OVERHEAD;
use crate::port::event::ChannelMsg;
use crate::port::inbox::Arrived;
use crate::wire::codes::DataType;
use crate::wire::request::ChannelRequest;

#[derive(Debug, Clone)]
enum Op {
    // the peer
    Arrive(usize),
    Status,
    Reply(bool),
    Grant(usize),
    AnswerClose,
    PeerClose,
    Lose,
    // the consumer
    Consume,
    Hold,
    Release,
    Send(usize),
    Eof,
    Request(bool),
    GiveUp(usize),
    Close,
    Abort,
    Abandon,
    Finish,
    // the world
    Settle,
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0usize..40).prop_map(Op::Arrive),
        2 => Just(Op::Status),
        4 => any::<bool>().prop_map(Op::Reply),
        6 => (1usize..30).prop_map(Op::Grant),
        2 => Just(Op::AnswerClose),
        1 => Just(Op::PeerClose),
        1 => Just(Op::Lose),
        6 => Just(Op::Consume),
        3 => Just(Op::Hold),
        3 => Just(Op::Release),
        8 => (0usize..50).prop_map(Op::Send),
        1 => Just(Op::Eof),
        4 => any::<bool>().prop_map(Op::Request),
        2 => (0usize..4).prop_map(Op::GiveUp),
        1 => Just(Op::Close),
        1 => Just(Op::Abort),
        1 => Just(Op::Abandon),
        1 => Just(Op::Finish),
        8 => Just(Op::Settle),
        1 => Just(Op::Wait),
    ]
}

/// What should be, beside what is.
struct Model {
    bench: Bench,
    /// What the port took for sending.
    taken: Vec<Out>,
    next_byte: u8,
    requests: usize,
    /// Answers that are waited for; `None` when nobody does any more.
    waiting: VecDeque<Option<oneshot::Receiver<bool>>>,
    /// Events the inbox took and nobody has consumed.
    arrived: VecDeque<ChannelMsg>,
    held: Vec<Arrived>,
    closed: usize,
    /// Queued things may have been dropped on purpose.
    cut: bool,
    /// Nobody consumes any more.
    consumer_gone: bool,
    peer_closed: bool,
}

impl Model {
    fn new(window: usize) -> Self {
        Self {
            bench: Bench::new(1, window),
            taken: Vec::new(),
            next_byte: 0,
            requests: 0,
            waiting: VecDeque::new(),
            arrived: VecDeque::new(),
            held: Vec::new(),
            closed: 0,
            cut: false,
            consumer_gone: false,
            peer_closed: false,
        }
    }

    fn bytes(&mut self, len: usize) -> Bytes {
        (0..len)
            .map(|_| {
                self.next_byte = self.next_byte.wrapping_add(1);
                self.next_byte
            })
            .collect()
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Arrive(len) => {
                let msg = ChannelMsg::Data { data_type: DataType::Normal, data: self.bytes(len) };
                self.arrive(msg);
            }
            Op::Status => self.arrive(ChannelMsg::ExitStatus { status: 1 }),
            Op::Reply(success) => self.reply(success),
            Op::Grant(bytes) => self.bench.wire.change(|wire| wire.window += bytes),
            Op::AnswerClose => self.bench.wire.change(|wire| wire.peer_closed = true),
            Op::PeerClose => {
                self.over();
                self.bench.port.peer_closed();
            }
            Op::Lose => {
                self.over();
                self.bench.wire.change(|wire| wire.dead = true);
                self.bench.port.lost(ConnectionError::Lost("test".into()));
            }
            Op::Consume => self.consume(false),
            Op::Hold => self.consume(true),
            Op::Release => drop(self.held.pop()),
            Op::Send(len) => self.send(len),
            Op::Eof => {
                if self.bench.port.push(Outgoing::Eof).is_ok() && !self.taken.contains(&Out::Eof) {
                    self.taken.push(Out::Eof);
                }
            }
            Op::Request(want_reply) => self.request(want_reply),
            Op::GiveUp(n) => {
                if let Some(slot) = self.waiting.get_mut(n) {
                    *slot = None;
                }
            }
            Op::Close => self.bench.port.close(),
            Op::Abort => {
                self.cut = true;
                self.bench.port.abort(CloseReason::Local);
                self.written_off();
            }
            Op::Abandon => {
                self.cut = true;
                self.consumer_gone = true;
                self.bench.port.abandon(CloseReason::Local);
                self.written_off();
            }
            Op::Finish => {
                self.consumer_gone = true;
                self.bench.port.finish();
            }
            Op::Settle => settle().await,
            Op::Wait => {
                self.cut |= self.bench.port.outbox.closed().is_some();
                tokio::time::sleep(CLOSE_TIMEOUT).await;
            }
        }
        self.check_account();
    }

    fn arrive(&mut self, msg: ChannelMsg) {
        if self.bench.port.deliver(msg.clone()) {
            assert_eq!(self.closed, 0, "taken after Closed");
            self.arrived.push_back(msg);
        }
    }

    fn over(&mut self) {
        self.cut = true;
        self.peer_closed = true;
    }

    fn written_off(&self) {
        assert_eq!(self.bench.connection.used(), 0);
    }

    /// An answer reaches the oldest request that waits for one.
    fn reply(&mut self, success: bool) {
        let over = self.bench.port.deliver_reply(success);
        if !over {
            return;
        }
        match self.waiting.pop_front() {
            Some(Some(mut receiver)) => assert_eq!(receiver.try_recv(), Ok(success)),
            Some(None) => {}
            None => panic!("an answer was used that nobody waited for"),
        }
    }

    fn send(&mut self, len: usize) {
        let bytes = self.bytes(len);
        match self.bench.port.send(DataType::Normal, bytes.clone()) {
            Ok(()) if bytes.is_empty() => {}
            Ok(()) => append(&mut self.taken, Out::Data(bytes.to_vec())),
            Err(SendErrorKind::AfterEof) => assert!(self.taken.contains(&Out::Eof)),
            Err(SendErrorKind::Closed(_)) => assert!(self.bench.port.outbox.closed().is_some()),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn request(&mut self, want_reply: bool) {
        self.requests += 1;
        let name = self.requests.to_string();
        let request = ChannelRequest::Exec { command: name.clone().into() };
        let queued = if want_reply {
            self.bench.port.request(request).map(|answer| self.waiting.push_back(Some(answer)))
        } else {
            self.bench.port.notify(request)
        };
        match queued {
            Ok(()) => self.taken.push(Out::Request(name, want_reply)),
            Err(_) => assert!(self.bench.port.outbox.closed().is_some()),
        }
    }

    fn consume(&mut self, hold: bool) {
        let Some(arrived) = self.bench.port.inbox.pop() else { return };
        assert!(!self.consumer_gone, "delivered to nobody");
        assert_eq!(self.closed, 0, "delivered after Closed");
        if matches!(arrived.msg, ChannelMsg::Closed { .. }) {
            self.closed += 1;
            assert!(self.cut || self.arrived.is_empty(), "lost: {:?}", self.arrived);
            self.arrived.clear();
        } else {
            let expected = self.arrived.pop_front().expect("an event from nowhere");
            assert_eq!(format!("{:?}", arrived.msg), format!("{expected:?}"));
        }
        if hold {
            self.held.push(arrived);
        }
    }

    /// What is charged is what was taken and not consumed.
    fn check_account(&self) {
        let used = self.bench.connection.used();
        if self.cut || self.consumer_gone {
            return;
        }
        let waits: usize = self.arrived.iter().map(|msg| msg.payload_len() + PER_EVENT_OVERHEAD).sum();
        let held: usize = self.held.iter().map(|arrived| arrived.charge.bytes()).sum();
        let closed = used - waits - held;
        assert!(closed == 0 || closed == PER_EVENT_OVERHEAD, "{closed} bytes too many are charged");
    }

    async fn wind_up(mut self) {
        self.bench.wire.change(|wire| wire.window += 1 << 20);
        settle().await;
        self.bench.port.close();
        settle().await;
        self.bench.wire.change(|wire| wire.peer_closed = true);
        settle().await;
        tokio::time::sleep(CLOSE_TIMEOUT * 3).await;
        for _ in 0..=self.arrived.len() {
            self.consume(false);
        }
        self.held.clear();
        assert_eq!(self.bench.connection.used(), 0, "credit was not given back");
        assert_eq!(self.closed, usize::from(!self.consumer_gone || self.closed == 1), "no Closed");
        assert_eq!(self.bench.times_gone(), 1);
        for receiver in self.waiting.iter_mut().flatten() {
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed), "a request still waits");
        }
        self.check_log();
    }

    fn check_log(&self) {
        let mut log = self.bench.log();
        assert!(self.bench.wire.lock().largest <= MAX_PACKET);
        match log.iter().filter(|item| **item == Out::Close).count() {
            0 => assert!(self.peer_closed, "no CLOSE"),
            1 => assert_eq!(log.pop(), Some(Out::Close), "something after CLOSE"),
            n => panic!("{n} CLOSEs"),
        }
        if !self.cut {
            assert_eq!(log, self.taken);
            return;
        }
        // A prefix of what was taken; of its last data perhaps a part.
        assert!(log.len() <= self.taken.len());
        for (n, (sent, taken)) in log.iter().zip(&self.taken).enumerate() {
            match (sent, taken) {
                (Out::Data(sent), Out::Data(taken)) if n + 1 == log.len() => {
                    assert!(taken.starts_with(sent));
                }
                _ => assert_eq!(sent, taken),
            }
        }
    }
}

fn run(window: usize, ops: Vec<Op>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut model = Model::new(window);
        for op in ops {
            model.apply(op).await;
        }
        model.wind_up().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_loses_disorders_or_leaks(
        window in 0usize..40,
        ops in proptest::collection::vec(op(), 0..80),
    ) {
        run(window, ops);
    }
}
