//! What can be seen of a running connection: facts, counters, channels, phases.

mod gauges;
mod info;

pub(crate) use gauges::Gauges;
pub(crate) use info::Facts;
pub use info::{
    Algorithms, ChannelCounters, ChannelInfo, ChannelState, ConnectionInfo, Counters, PhaseEvent,
};
