//! Receive credit that outlives the callback it came with.

use crate::port::budget::Charge;

/// The receive credit of one event, held back until this value is dropped.
///
/// From [`ChannelContext::hold_credit`](super::ChannelContext::hold_credit): for consumers that pass data on,
/// and want the peer held up until it was really consumed.
#[derive(Debug)]
#[must_use = "dropping it returns the credit at once"]
pub struct Credit(Charge);

impl Credit {
    pub(crate) const fn new(charge: Charge) -> Self {
        Self(charge)
    }

    /// How many bytes it is worth, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Takes `other` in, so that one value stands for both.
    pub fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    /// Returns `bytes` of it now; the rest stays held.
    pub fn release(&mut self, bytes: usize) {
        self.0.release(bytes);
    }
}
