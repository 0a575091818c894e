//! What can be seen of a running connection: facts, counters, channels, phases.

mod info;

pub use info::{
    Algorithms, ChannelCounters, ChannelInfo, ChannelState, ConnectionInfo, Counters, PhaseEvent,
};
pub(crate) use info::{Facts, Refusals};
