//! What all addresses of a managed connection share.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::grounds::Grounds;
use super::keeper::Order;

/// When the last address is dropped, nothing is connected any more: nobody could stop it afterwards.
pub(super) struct Address {
    pub(super) orders: ActorRef<Order>,
    pub(super) grounds: Arc<Grounds>,
    pub(super) patience: Duration,
}

impl Drop for Address {
    fn drop(&mut self) {
        let _ = self.orders.cast(Order::Forget);
    }
}
