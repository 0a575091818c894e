//! The place of one supervised channel on a managed connection.

use std::sync::{Arc, Weak};

use futures::future::BoxFuture;

use super::address::Address;
use super::grounds::{gone, next_up};
use super::keeper::Order;
use crate::error::ConnectionError;
use crate::handle::ConnectionRef;
use crate::observe::Watched;
use crate::supervised::{Admission, IncarnationEnd, Place};

/// Keeps its number in the order of declaration, and the managed connection from ending for want of an address.
pub(super) struct Berth {
    number: u64,
    address: Arc<Address>,
}

impl Berth {
    pub(super) fn new(address: Arc<Address>) -> Self {
        Self { number: address.grounds.declare(), address }
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.address.grounds.leave(self.number);
    }
}

impl Place for Berth {
    fn admit(&self) -> Admission {
        self.address.grounds.admit(self.number)
    }

    fn pauses(&self) {
        self.address.grounds.pauses(self.number);
    }

    fn gone(&self) -> BoxFuture<'static, ConnectionError> {
        Box::pin(gone(Arc::clone(&self.address.grounds)))
    }

    fn next_up(&self, lost: &ConnectionRef) -> BoxFuture<'static, ()> {
        Box::pin(next_up(Arc::clone(&self.address.grounds), lost.clone()))
    }

    fn comes_back(&self) -> bool {
        true
    }

    fn waits_for(&self) -> Option<String> {
        Some(self.address.grounds.waits_for())
    }

    fn list(&self, channel: Weak<dyn Watched>) {
        self.address.grounds.watched.add(channel);
    }

    fn escalate(&self, connection: &ConnectionRef, last: &IncarnationEnd) {
        self.address.grounds.give_up(connection);
        let why = last.to_string().into();
        let _ = self.address.orders.cast(Order::Escalate { connection: connection.clone(), why });
    }
}
