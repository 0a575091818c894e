//! The only door to russh.

// Used by the client and server sides of the transport.
#[cfg_attr(not(test), allow(dead_code, unused_imports))]
mod pump;
