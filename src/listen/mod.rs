//! Listening: sockets that survive what goes wrong while connections are accepted.
//!
//! Owns the accept loop and the file of a Unix socket. Knows nothing of SSH.

mod accept;
mod sockets;
#[cfg(unix)]
mod unix;

pub(crate) use accept::{Acceptor, Listen};
#[cfg(unix)]
pub(crate) use unix::UnixSocket;
