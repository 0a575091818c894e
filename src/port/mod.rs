//! The meeting point of the two sides of one channel.

// Used by the transport and by the connection and channel actors.
#[cfg_attr(not(test), allow(dead_code, unused_imports))]
pub(crate) mod budget;
