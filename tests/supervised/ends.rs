//! A behaviour that ends as it is told.

use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};

/// The ways in which an incarnation ends, or does not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    PeerCloses,
    WeClose,
    Finished,
    Killed,
    StoppedOutside,
    Failed,
    Panicked,
    Refused,
    NotAnswered,
}

impl End {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::PeerCloses,
        Self::WeClose,
        Self::Finished,
        Self::Killed,
        Self::StoppedOutside,
        Self::Failed,
        Self::Panicked,
        Self::Refused,
        Self::NotAnswered,
    ];

    pub(crate) const fn is_normal(self) -> bool {
        matches!(self, Self::PeerCloses | Self::WeClose | Self::Finished)
    }
}

pub(crate) enum Order {
    Finish,
    Fail,
    Panic,
}

pub(crate) struct Puppet {
    number: u64,
}

impl Puppet {
    pub(crate) const fn new(number: u64) -> Self {
        Self { number }
    }
}

impl ClientChannel for Puppet {
    type Msg = Order;

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, order: Order, _ctx: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        match order {
            Order::Finish => Ok(Next::Stop),
            Order::Fail => Err(format!("number {} fails", self.number).into()),
            Order::Panic => panic!("number {} panics", self.number),
        }
    }
}
