//! The meeting point of the two sides of one channel: what arrived and waits for its consumer
//! ([`inbox`]), what is to be sent and waits for the peer's window ([`outbox`]), and the account of
//! both ([`budget`]).
//!
//! The transport fills the inbox and takes from the outbox; the channel actor and handles do the
//! reverse. Knows neither actors nor the SSH library.

pub(crate) mod budget;
pub(crate) mod event;
pub(crate) mod inbox;
pub(crate) mod keys;
pub(crate) mod link;
mod look;
pub(crate) mod notes;
pub(crate) mod outbox;
pub(crate) mod state;
#[cfg(test)]
mod tests;

pub(crate) use keys::Keys;
pub(crate) use link::{Link, LinkClosed, LinkLook};
pub(crate) use notes::Identity;
pub(crate) use outbox::Outgoing;
pub(crate) use state::{Port, PortSetup};
