//! A behaviour over a remote program that takes and gives lines.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use ractor_ssh::error::StopReason;
use ractor_ssh::ractor::RpcReplyPort;
use ractor_ssh::supervision::RestartPolicy;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, Incarnation, Next};
use tokio::sync::mpsc;

use crate::common::eager;

pub(crate) enum Say {
    /// A line to send, and the one that comes back.
    Ask(u64, RpcReplyPort<u64>),
    /// A line to send.
    Tell(u64),
    Panic,
}

/// What a channel tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Its name and the number of the incarnation, when the program runs.
    Started(usize, u64),
    /// Its name and the number, when it ends.
    Ended(usize, u64),
}

/// The lines that were given to behaviours, in order.
pub(crate) type Given = Arc<Mutex<Vec<u64>>>;

/// What all incarnations of one channel have in common.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: usize,
    pub(crate) program: String,
    pub(crate) tell: mpsc::UnboundedSender<Told>,
    pub(crate) given: Given,
    /// It panics as soon as the program runs.
    pub(crate) panics: bool,
    /// It takes nothing of what the program says.
    pub(crate) hangs: bool,
    /// How long its `terminate` takes.
    pub(crate) farewell: std::time::Duration,
}

pub(crate) type Story = mpsc::UnboundedReceiver<Told>;

impl Plan {
    pub(crate) fn new(program: &str) -> (Self, Story) {
        let (tell, story) = mpsc::unbounded_channel();
        let plan = Self {
            name: 0,
            program: program.to_owned(),
            tell,
            given: Given::default(),
            panics: false,
            hangs: false,
            farewell: std::time::Duration::ZERO,
        };
        (plan, story)
    }

    pub(crate) fn named(&self, name: usize) -> Self {
        Self { name, ..self.clone() }
    }

    /// Comes back almost at once, for ever.
    pub(crate) fn spec(self) -> ChannelSpec<Lines> {
        self.spec_with(eager())
    }

    pub(crate) fn spec_with(self, policy: RestartPolicy) -> ChannelSpec<Lines> {
        ChannelSpec::new(move |incarnation| Lines::new(incarnation, self.clone())).restart(policy)
    }
}

pub(crate) struct Lines {
    incarnation: Incarnation,
    plan: Plan,
    asked: VecDeque<(u64, RpcReplyPort<u64>)>,
    partial: Vec<u8>,
}

impl Lines {
    fn new(incarnation: Incarnation, plan: Plan) -> Self {
        Self { incarnation, plan, asked: VecDeque::new(), partial: Vec::new() }
    }

    fn give(&mut self, line: u64, ctx: &ChannelContext<Self>) -> Result<(), BoxError> {
        self.plan.given.lock().unwrap().push(line);
        Ok(ctx.send(format!("{line}\n"))?)
    }
}

impl ClientChannel for Lines {
    type Msg = Say;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec(self.plan.program.clone()).await?;
        let _ = self.plan.tell.send(Told::Started(self.plan.name, self.incarnation.number));
        if self.plan.panics {
            ctx.myself().cast(Say::Panic)?;
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        if self.plan.hangs && matches!(msg, ChannelMsg::Data { .. }) {
            std::future::pending::<()>().await;
        }
        if let ChannelMsg::Data { data, .. } = msg {
            self.partial.extend_from_slice(&data);
            while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                let line: u64 = std::str::from_utf8(&line)?.trim().parse()?;
                if self.asked.front().is_some_and(|(asked, _)| *asked == line)
                    && let Some((_, port)) = self.asked.pop_front()
                {
                    let _ = port.send(line);
                }
            }
        }
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, msg: Say, ctx: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        match msg {
            Say::Ask(line, port) => {
                self.asked.push_back((line, port));
                self.give(line, ctx)?;
            }
            Say::Tell(line) => self.give(line, ctx)?,
            Say::Panic => panic!("as planned"),
        }
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, _reason: StopReason, _ctx: &mut ChannelContext<Self>) {
        tokio::time::sleep(self.plan.farewell).await;
        let _ = self.plan.tell.send(Told::Ended(self.plan.name, self.incarnation.number));
    }
}
