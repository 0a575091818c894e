//! A transport without a byte stream: what would be on the wire are values, and the peer is a script.
//!
//! Keeps the rules a real transport keeps: events in wire order, reading stops while the connection's budget is
//! used up, one CLOSE each way, the peer's window and packet size, a peer that stops reading.

mod link;
mod tape;
mod transport;
mod wire;

pub use tape::Sent;
pub(crate) use tape::Tape;
pub(crate) use transport::MemoryTransport;
pub(crate) use wire::{Inbound, Offer, Opening, Wanted, Wire};
