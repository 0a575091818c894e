//! A behaviour that tells what happens to it, and fails where it is told to.

use std::time::Duration;

use ractor_ssh::error::{BoxError, StopReason};
use ractor_ssh::ractor::RpcReplyPort;
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, Incarnation, Next, SupervisedRef};
use tokio::sync::mpsc;

/// The pause between restarts, where nothing else is said.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

pub(crate) enum Say {
    Note(u32),
    /// Answered with the incarnation and the notes so far.
    Ask(RpcReplyPort<(u64, Vec<u32>)>),
    /// Never answered.
    Swallow(RpcReplyPort<()>),
    PanicWith(RpcReplyPort<()>),
    Panic,
    Finish,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// With what the factory was told about the last end.
    Init(u64, Option<String>),
    Terminated(u64, String),
}

/// Where the first incarnation panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nowhere,
    Factory,
    Init,
    SshMsg,
    Terminate,
    /// In `init`, and in every incarnation.
    AlwaysInit,
}

pub(crate) struct Probe {
    incarnation: Incarnation,
    fault: Fault,
    notes: Vec<u32>,
    tell: mpsc::UnboundedSender<Told>,
}

pub(crate) type Story = mpsc::UnboundedReceiver<Told>;

/// A specification of probes with a fixed pause, and what they tell.
pub(crate) fn probes(policy: RestartPolicy, fault: Fault) -> (ChannelSpec<Probe>, Story) {
    let (tell, story) = mpsc::unbounded_channel();
    let spec = ChannelSpec::new(move |incarnation: Incarnation| {
        let first = incarnation.number == 1;
        assert!(!(first && fault == Fault::Factory), "as planned");
        let fault = if first || fault == Fault::AlwaysInit { fault } else { Fault::Nowhere };
        Probe { incarnation, fault, notes: Vec::new(), tell: tell.clone() }
    });
    (spec.restart(policy.backoff(Backoff::fixed(PAUSE))), story)
}

pub(crate) fn permanent() -> (ChannelSpec<Probe>, Story) {
    probes(RestartPolicy::permanent(), Fault::Nowhere)
}

impl Probe {
    fn fails_at(&self, here: Fault) {
        let always = self.fault == Fault::AlwaysInit && here == Fault::Init;
        assert!(self.fault != here && !always, "as planned");
    }
}

impl ClientChannel for Probe {
    type Msg = Say;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        let last = self.incarnation.last.as_ref().map(ToString::to_string);
        self.tell.send(Told::Init(self.incarnation.number, last))?;
        self.fails_at(Fault::Init);
        ctx.exec("echo").await?;
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        self.fails_at(Fault::SshMsg);
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, msg: Say, _ctx: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        match msg {
            Say::Note(n) => self.notes.push(n),
            Say::Ask(port) => port.send((self.incarnation.number, self.notes.clone()))?,
            Say::Swallow(_port) => {}
            Say::PanicWith(_port) => panic!("as planned"),
            Say::Panic => panic!("as planned"),
            Say::Finish => return Ok(Next::Stop),
        }
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, reason: StopReason, _ctx: &mut ChannelContext<Self>) {
        let _ = self.tell.send(Told::Terminated(self.incarnation.number, reason.to_string()));
        self.fails_at(Fault::Terminate);
    }
}

/// Waits an hour at most, which paused time lets pass at once when nothing else happens.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3_600), work).await.expect("it never happens")
}

/// Waits until the channel is in such a state.
pub(crate) async fn state(
    channel: &SupervisedRef<Probe>,
    which: impl FnMut(&SupervisedState) -> bool,
) -> SupervisedState {
    let mut states = channel.states();
    within(states.wait_for(which)).await.unwrap().clone()
}

pub(crate) fn is_backoff(state: &SupervisedState) -> bool {
    matches!(state, SupervisedState::Backoff { .. })
}

/// Waits until that incarnation is up.
pub(crate) async fn is_up(channel: &SupervisedRef<Probe>, number: u64) {
    state(channel, |s| matches!(s, SupervisedState::Up { incarnation } if *incarnation == number)).await;
}
