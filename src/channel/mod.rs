//! The channel actor: runs one behaviour on one port, whichever side of the connection it is on.

mod actor;
mod bare;
mod open;
mod start;

pub use bare::{BareChannel, ChannelEvent};
pub(crate) use start::Starter;
