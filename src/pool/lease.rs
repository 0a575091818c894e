//! A place on a pooled connection, held by the channel that is on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::accounts::{Left, Ticket};
use super::desk::Desk;
use super::queue::Want;
use crate::error::OpenError;
use crate::handle::route::{Over, Slot};

/// Given back when dropped, which the connection does when nothing is left of the channel.
pub(super) struct Lease {
    desk: Arc<Desk>,
    ticket: Ticket,
    confirmed: AtomicBool,
    refused: AtomicBool,
    /// The peer has not answered in time.
    overdue: AtomicBool,
    /// The peer has closed the channel first.
    peer_closed: AtomicBool,
    /// The end of the pool waits for channels.
    _token: Option<TaskTrackerToken>,
}

impl Lease {
    pub(super) fn new(desk: Arc<Desk>, ticket: Ticket, want: Want) -> Self {
        let token = (want != Want::Connection).then(|| desk.common.tracker.token());
        Self {
            desk,
            ticket,
            confirmed: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            peer_closed: AtomicBool::new(false),
            _token: token,
        }
    }

    fn not_overdue(&self) {
        if self.overdue.swap(false, Ordering::AcqRel) {
            self.desk.not_overdue(self.ticket);
        }
    }
}

impl Slot for Lease {
    fn confirmed(&self) {
        self.confirmed.store(true, Ordering::Release);
        self.not_overdue();
        self.desk.confirmed(self.ticket);
    }

    fn overdue(&self) {
        self.overdue.store(true, Ordering::Release);
        self.desk.overdue(self.ticket);
    }

    fn not_opened(&self, error: &OpenError) -> bool {
        if matches!(error, OpenError::Refused { .. }) {
            // Its place is free at once, whenever the connection forgets the channel.
            self.refused.store(true, Ordering::Release);
        }
        self.desk.not_opened(self.ticket, error)
    }

    fn over(&self, how: Over) {
        match how {
            Over::ByPeer => self.peer_closed.store(true, Ordering::Release),
            Over::ByUs => {}
            Over::Stalled => self.desk.stalled(self.ticket),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.not_overdue();
        if self.refused.load(Ordering::Acquire) {
            return;
        }
        let confirmed = self.confirmed.load(Ordering::Acquire);
        let left = match (confirmed, self.peer_closed.load(Ordering::Acquire)) {
            (false, _) => Left::Nothing,
            (true, true) => Left::Notice,
            (true, false) => Left::Process,
        };
        self.desk.release(self.ticket, left);
    }
}
