//! Channels that a server opens towards its client: remote forwards, the agent, the display.
//!
//! Nothing comes in that was not asked for. What was is in the connection's table
//! ([`Acceptance`](crate::handle::acceptance::Acceptance)); the door reads it, and counts.

mod accept;
mod door;
mod listener;

#[allow(unused_imports, reason = "agent and X11 forwarding stand on it")]
pub(crate) use accept::Accepting;
pub(crate) use door::ClientDoor;
pub use listener::{ForwardedStreamlocal, ForwardedTcpip, RemoteListener};
