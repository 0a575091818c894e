//! A place on a pooled connection, held by the channel that is on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::accounts::Ticket;
use super::desk::Desk;
use crate::error::OpenError;
use crate::handle::route::Slot;

/// Given back when dropped, which the connection does when nothing is left of the channel.
pub(super) struct Lease {
    desk: Arc<Desk>,
    ticket: Ticket,
    confirmed: AtomicBool,
    /// The pool is not closed before this is gone.
    _token: TaskTrackerToken,
}

impl Lease {
    pub(super) fn new(desk: Arc<Desk>, ticket: Ticket) -> Self {
        let token = desk.common.tracker.token();
        Self { desk, ticket, confirmed: AtomicBool::new(false), _token: token }
    }
}

impl Slot for Lease {
    fn confirmed(&self) {
        self.confirmed.store(true, Ordering::Release);
        self.desk.confirmed(self.ticket);
    }

    fn not_opened(&self, error: &OpenError) -> bool {
        self.desk.not_opened(self.ticket, error)
    }

    fn stalled(&self) {
        self.desk.stalled(self.ticket);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.desk.release(self.ticket, self.confirmed.load(Ordering::Acquire));
    }
}
