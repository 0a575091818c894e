//! One channel's work: what it asks for, how it goes on, and what it checks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, Next};

/// How many numbers may be under way without an answer.
const AHEAD: u64 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Produce,
    Sink,
    Echo,
}

/// What outlives the incarnations of one channel.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) kind: Kind,
    pub(crate) name: usize,
    /// The last number that was acknowledged; they begin with 1.
    pub(crate) acknowledged: AtomicU64,
    /// What should not have come.
    pub(crate) wrong: Mutex<Vec<String>>,
}

impl Work {
    pub(crate) fn new(kind: Kind, name: usize) -> Arc<Self> {
        Arc::new(Self { kind, name, acknowledged: AtomicU64::new(0), wrong: Mutex::default() })
    }

    pub(crate) fn done(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// A number has come: it is the one behind the last.
    fn acknowledge(&self, number: u64) {
        let last = self.acknowledged.swap(number, Ordering::SeqCst);
        if number != last + 1 {
            self.wrong.lock().unwrap().push(format!("{number} behind {last}"));
        }
    }

    pub(crate) fn spec(self: &Arc<Self>) -> ChannelSpec<Worker> {
        let work = Arc::clone(self);
        let pauses =
            Backoff::new(std::time::Duration::from_millis(20), std::time::Duration::from_millis(500));
        let policy = RestartPolicy::permanent().never_give_up().backoff(pauses);
        ChannelSpec::new(move |_| Worker::new(Arc::clone(&work))).restart(policy)
    }
}

pub(crate) enum Order {
    Panic,
    Fail,
}

pub(crate) struct Worker {
    work: Arc<Work>,
    sent: u64,
    partial: Vec<u8>,
    /// The sink has said where its ledger ends.
    begun: bool,
}

impl Worker {
    fn new(work: Arc<Work>) -> Self {
        let sent = work.done();
        Self { begun: work.kind != Kind::Sink, sent, work, partial: Vec::new() }
    }

    fn line(&mut self, line: &str) -> Result<(), BoxError> {
        let number: u64 = line.parse()?;
        if self.begun {
            self.work.acknowledge(number);
            return Ok(());
        }
        // What the ledger has and we were not told of is acknowledged by this.
        self.begun = true;
        self.sent = number;
        let last = self.work.acknowledged.swap(number, Ordering::SeqCst);
        if number < last {
            self.work
                .wrong
                .lock()
                .unwrap()
                .push(format!("{last} was acknowledged, the ledger ends with {number}"));
        }
        Ok(())
    }

    /// Keeps some under way.
    fn feed(&mut self, ctx: &ChannelContext<Self>) -> Result<(), BoxError> {
        if self.work.kind == Kind::Produce || !self.begun {
            return Ok(());
        }
        let mut text = String::new();
        while self.sent < self.work.done() + AHEAD {
            self.sent += 1;
            text.push_str(&format!("{}\n", self.sent));
        }
        Ok(ctx.send(text)?)
    }
}

impl ClientChannel for Worker {
    type Msg = Order;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        match self.work.kind {
            Kind::Produce => ctx.exec(format!("produce {}", self.work.done() + 1)).await?,
            Kind::Sink => ctx.exec(format!("sink {}", self.work.name)).await?,
            Kind::Echo => ctx.exec("cat").await?,
        }
        self.feed(ctx)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        if let ChannelMsg::Data { data, .. } = msg {
            self.partial.extend_from_slice(&data);
            while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                self.line(std::str::from_utf8(&line)?.trim_end())?;
            }
            if self.work.kind != Kind::Produce {
                // Not as fast as it can: the machine has other things to do.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            self.feed(ctx)?;
        }
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, order: Order, _ctx: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        match order {
            Order::Panic => panic!("as planned"),
            Order::Fail => Err("as planned".into()),
        }
    }
}
