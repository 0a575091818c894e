//! What it takes to take in a channel that the peer has opened: a port, and a word to the connection actor.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::watch;

use super::msg::{AcceptCommand, ConnectionMsg, StartChannel};
use crate::config::{ChannelOptions, SlowConsumer};
use crate::error::Phase;
use crate::observe::{Gauges, PhaseEvent};
use crate::port::budget::{ChannelBudget, ConnectionBudget};
use crate::port::{Keys, Port, PortSetup};
use crate::transport::door::Slot;
use crate::wire::codes::OpenFailureReason;

/// What the channels of one connection have in common.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) actor: ActorRef<ConnectionMsg>,
    pub(crate) budget: Arc<ConnectionBudget>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) options: ChannelOptions,
    pub(crate) close_timeout: Duration,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) phase: watch::Receiver<PhaseEvent>,
}

impl Intake {
    /// Whether more channels are taken in.
    pub(crate) fn is_up(&self) -> bool {
        self.phase.borrow().phase == Phase::Up
    }

    /// A port for one more.
    pub(crate) fn port(&self) -> Arc<Port> {
        let key = self.keys.next();
        let actor = self.actor.clone();
        let budget = ChannelBudget::new(Arc::clone(&self.budget), self.options.receive_budget);
        if let SlowConsumer::Yield(patience) = self.options.slow_consumer {
            budget.yields_after(patience);
        }
        Port::new(PortSetup {
            key,
            budget,
            high_water: self.options.high_water,
            fail_over_budget: self.options.slow_consumer == SlowConsumer::Fail,
            close_timeout: self.close_timeout,
            gauges: Arc::clone(&self.gauges),
            on_gone: Box::new(move || {
                let _ = actor.cast(ConnectionMsg::Gone(key));
            }),
        })
    }

    /// Hands the channel to the connection actor.
    pub(crate) fn accept(
        &self,
        kind: &'static str,
        port: &Arc<Port>,
        start: Box<dyn StartChannel>,
        slot: Slot,
    ) -> Result<(), OpenFailureReason> {
        let accept = AcceptCommand { kind, port: Arc::clone(port), start, keeps: Some(Box::new(slot)) };
        self.actor.cast(ConnectionMsg::Accept(accept)).map_err(|_| OpenFailureReason::ConnectFailed)
    }
}

/// A listener of a connection: for as long as there is one, the connection is in use.
pub(crate) struct InUse {
    gauges: Arc<Gauges>,
    actor: ActorRef<ConnectionMsg>,
}

impl InUse {
    pub(crate) fn new(gauges: Arc<Gauges>, actor: ActorRef<ConnectionMsg>) -> Self {
        gauges.listens();
        // It looks at what is used after each message.
        let _ = actor.cast(ConnectionMsg::Tick);
        Self { gauges, actor }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.gauges.listens_no_more();
        let _ = self.actor.cast(ConnectionMsg::Tick);
    }
}
