//! The address of a connection actor, and what can be sent to it.

pub(crate) mod acceptance;
pub(crate) mod connection_ref;
pub(crate) mod intake;
mod look;
pub(crate) mod msg;
pub(crate) mod roster;
pub(crate) mod route;

pub use connection_ref::ConnectionRef;
