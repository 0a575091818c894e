//! What places tell the desk: how their channels fare, and that they are free.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Desk;
use crate::error::OpenError;
use crate::handle::ConnectionRef;
use crate::pool::accounts::{Left, Ticket, Verdict};
use crate::pool::info::{Duty, Eviction};

impl Desk {
    pub(in crate::pool) fn confirmed(self: &Arc<Self>, ticket: Ticket) {
        let now = Instant::now();
        let mut inner = self.lock();
        let before = inner.accounts.limit(now);
        inner.accounts.confirmed(ticket, now);
        let more = inner.accounts.limit(now) > before;
        drop(inner);
        if more {
            self.serve();
        }
    }

    pub(in crate::pool) fn not_opened(self: &Arc<Self>, ticket: Ticket, error: &OpenError) -> bool {
        let mut inner = self.lock();
        let verdict = match error {
            OpenError::Refused { .. } => {
                let now = Instant::now();
                let verdict = inner.accounts.refused(ticket, now);
                inner.accounts.release(ticket, Left::Nothing, now);
                inner.wake_if_unused(ticket.number);
                verdict
            }
            OpenError::TooManyChannels { .. } => inner.accounts.refused(ticket, Instant::now()),
            OpenError::Timeout { .. } => inner.accounts.not_opened(ticket),
            // It has ended, or is being closed, and the warden has not heard of it yet; or the caller has not for long.
            OpenError::Draining | OpenError::Connection(_) => {
                inner.accounts.lost(ticket);
                Verdict::Again
            }
            _ => Verdict::Tell,
        };
        match verdict {
            Verdict::Again => inner.counters.put_back += 1,
            Verdict::Leave => {
                inner.counters.put_back += 1;
                inner.leave(ticket.number, Duty::Evicted(Eviction::Lingering), self.common.config.drain);
            }
            Verdict::Tell => inner.counters.not_opened += 1,
            Verdict::Evict => {
                inner.counters.not_opened += 1;
                inner.leave(ticket.number, Duty::Evicted(Eviction::FailedOpens), self.common.config.drain);
            }
        }
        let again = matches!(verdict, Verdict::Again | Verdict::Leave) && !inner.closed;
        drop(inner);
        if !again {
            self.serve();
        }
        again
    }

    pub(in crate::pool) fn overdue(&self, ticket: Ticket) {
        let mut inner = self.lock();
        if let Some(why) = inner.accounts.overdue(ticket, Instant::now()) {
            inner.leave(ticket.number, Duty::Evicted(why), self.common.config.drain);
        }
    }

    pub(in crate::pool) fn not_overdue(&self, ticket: Ticket) {
        self.lock().accounts.not_overdue(ticket);
    }

    pub(in crate::pool) fn stalled(&self, ticket: Ticket) {
        let mut inner = self.lock();
        if let Some(why) = inner.accounts.stalled(ticket) {
            inner.leave(ticket.number, Duty::Evicted(why), self.common.config.drain);
        }
    }

    pub(in crate::pool) fn release(self: &Arc<Self>, ticket: Ticket, left: Left) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.accounts.release(ticket, left, now);
        if let Some(account) = inner.accounts.get(ticket.number) {
            let ask = account.settling.saturating_mul(2) > inner.accounts.limit(now);
            if ask {
                inner.ask(ticket.number);
            }
            inner.wake_if_unused(ticket.number);
        }
        drop(inner);
        self.serve();
    }

    /// One more supervised channel, or one less.
    pub(in crate::pool) fn supervised(&self, comes: bool) {
        let mut inner = self.lock();
        inner.supervised = if comes { inner.supervised + 1 } else { inner.supervised.saturating_sub(1) };
        for pooled in inner.connections.values() {
            pooled.wake.notify_one();
        }
    }

    /// The connection is to be ended, with all of its channels.
    pub(in crate::pool) fn escalate(&self, connection: &ConnectionRef) {
        let mut inner = self.lock();
        let found = inner
            .connections
            .iter()
            .find(|(_, pooled)| pooled.live.as_ref().is_some_and(|live| live.is_same(connection)));
        if let Some(number) = found.map(|(number, _)| *number) {
            inner.leave(number, Duty::Evicted(Eviction::Escalated), Duration::ZERO);
        }
    }
}
