//! The channel actor: runs one behaviour on one port, whichever side of the connection it is on.

mod actor;
mod bare;
pub(crate) mod open;
pub(crate) mod start;

pub use bare::{BareChannel, ChannelEvent};
