//! Which channel: a number of ours that is never used twice on a connection.

use std::fmt;

/// Identifies one channel of one connection for ever.
///
/// The channel numbers on the wire are reused by the SSH library; this one is not, so a late message
/// can never reach a newer channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelKey(u64);

impl ChannelKey {
    pub(crate) const fn new(n: u64) -> Self {
        Self(n)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
