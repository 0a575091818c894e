//! The picture of one channel, put together when somebody asks: the one source of what `info` shows of it anywhere.

use std::sync::atomic::Ordering;

use super::state::Port;
use crate::observe::{Awaited, ChannelInfo, ChannelState, Running};

impl Port {
    /// What there is to see of the channel at this moment.
    pub(crate) fn look(&self) -> ChannelInfo {
        let (notes, gauges) = (self.notes(), self.gauges());
        let budget = self.inbox.budget();
        let outbox = self.outbox.look();
        let link = self.link().map(|link| link.look()).unwrap_or_default();
        let identity = notes.identity();
        let (closed, gone, ended) = (outbox.closed, self.is_gone(), self.exit().is_some());
        let state = if ended || gone || closed.is_some() {
            ChannelState::Closing
        } else if self.link().is_some() {
            ChannelState::Open
        } else {
            ChannelState::Opening
        };
        ChannelInfo {
            id: self.key(),
            kind: identity.map_or("session", |identity| identity.kind),
            state,
            behaviour: notes.behaviour(),
            command: notes.command(),
            actor: notes.actor().cloned(),
            owner: notes.owner(),
            supervised: identity.and_then(|identity| identity.lineage),
            age: notes.age(gauges),
            idle: self.idle(),
            bytes_in: self.counters.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.counters.bytes_out.load(Ordering::Relaxed),
            receive_window: link.receive_window,
            send_window: link.send_window,
            outbound: link.outbound,
            unread: budget.held(),
            waiting: self.inbox.len(),
            receive_budget: budget.budget(),
            withheld: notes.withheld(),
            queued: outbox.bytes,
            high_water: outbox.high_water,
            standing: outbox.waits.then(|| notes.stands_still(gauges)),
            awaited: outbox.awaited.map(|(request, since, given_up)| Awaited {
                request: request.into(),
                since: since.elapsed(),
                given_up,
            }),
            // A killed actor never came to the end of its callback.
            callback: notes
                .callback(gauges)
                .filter(|_| !ended)
                .map(|(name, since)| Running { callback: name, since }),
            ended,
            gone,
            closing: notes.closing(gauges),
            closed,
            held_up: notes.held_up(),
            pauses: notes.pauses(),
            pause: budget.connection().pause(),
        }
    }
}
