//! The behaviour most tests use.

use std::pin::Pin;

use ractor_ssh::bytes::Bytes;
use ractor_ssh::error::StopReason;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};
use tokio::sync::mpsc;

use super::{SECOND, within};

type Once = Box<dyn FnOnce(&mut ChannelContext<Probe>) -> Act + Send>;
type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a callback does in the end.
pub enum Act {
    Go,
    Stop,
    Fail,
    Panic,
    /// Never returns.
    Hang,
    /// Returns when the future does.
    Wait(BoxFuture),
}

impl Act {
    pub fn wait(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::Wait(Box::pin(work))
    }

    async fn carry_out(self) -> Result<Next, BoxError> {
        match self {
            Self::Go => Ok(Next::Continue),
            Self::Stop => Ok(Next::Stop),
            Self::Fail => Err("told to fail".into()),
            Self::Panic => panic!("told to panic"),
            Self::Hang => std::future::pending().await,
            Self::Wait(work) => {
                work.await;
                Ok(Next::Continue)
            }
        }
    }
}

/// What a probe tells.
#[derive(Debug, Clone)]
pub enum Seen {
    Init,
    Msg(ChannelMsg),
    Order,
    Terminate(StopReason),
}

/// What a probe can be told: a function to run in its callback.
pub struct Order(Once);

impl Order {
    pub fn new(order: impl FnOnce(&mut ChannelContext<Probe>) -> Act + Send + 'static) -> Self {
        Self(Box::new(order))
    }
}

type OnMsg = Box<dyn FnMut(&ChannelMsg, &mut ChannelContext<Probe>) -> Act + Send>;

/// Tells every callback, before it does what it is told to.
pub struct Probe {
    tell: mpsc::UnboundedSender<Seen>,
    on_init: Option<Once>,
    on_msg: OnMsg,
    on_terminate: Option<Act>,
}

impl Probe {
    pub fn new() -> (Self, Events) {
        let (tell, events) = mpsc::unbounded_channel();
        let on_msg: OnMsg = Box::new(|_, _| Act::Go);
        (Self { tell, on_init: None, on_msg, on_terminate: None }, Events(events))
    }

    pub fn on_init(mut self, act: impl FnOnce(&mut ChannelContext<Self>) -> Act + Send + 'static) -> Self {
        self.on_init = Some(Box::new(act));
        self
    }

    pub fn on_msg(
        mut self,
        act: impl FnMut(&ChannelMsg, &mut ChannelContext<Self>) -> Act + Send + 'static,
    ) -> Self {
        self.on_msg = Box::new(act);
        self
    }

    pub fn on_terminate(mut self, act: Act) -> Self {
        self.on_terminate = Some(act);
        self
    }
}

impl ClientChannel for Probe {
    type Msg = Order;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        let _ = self.tell.send(Seen::Init);
        if let Some(act) = self.on_init.take() {
            act(ctx).carry_out().await?;
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        let _ = self.tell.send(Seen::Msg(msg.clone()));
        (self.on_msg)(&msg, ctx).carry_out().await
    }

    async fn handle_msg(&mut self, order: Order, ctx: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        let _ = self.tell.send(Seen::Order);
        (order.0)(ctx).carry_out().await
    }

    async fn terminate(&mut self, reason: StopReason, _ctx: &mut ChannelContext<Self>) {
        let _ = self.tell.send(Seen::Terminate(reason));
        if let Some(act) = self.on_terminate.take() {
            let _ = act.carry_out().await;
        }
    }
}

/// What a probe told, in order.
pub struct Events(mpsc::UnboundedReceiver<Seen>);

impl Events {
    /// The next thing, `init` apart; `None` when the probe is gone.
    pub async fn next(&mut self) -> Option<Seen> {
        loop {
            match within(600 * SECOND, self.0.recv()).await {
                Some(Seen::Init) => {}
                other => return other,
            }
        }
    }

    /// The next SSH event.
    pub async fn msg(&mut self) -> ChannelMsg {
        match self.next().await {
            Some(Seen::Msg(msg)) => msg,
            other => panic!("expected an SSH event, got {other:?}"),
        }
    }

    /// The next SSH event, which is ordinary data.
    pub async fn data(&mut self) -> Bytes {
        match self.msg().await {
            ChannelMsg::Data { data, .. } => data,
            other => panic!("expected data, got {other:?}"),
        }
    }

    /// What was told so far, `init` included.
    pub fn so_far(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }

    /// Everything until the probe is gone, `init` apart.
    pub async fn rest(&mut self) -> Vec<Seen> {
        let mut rest = Vec::new();
        while let Some(seen) = self.next().await {
            rest.push(seen);
        }
        rest
    }
}
