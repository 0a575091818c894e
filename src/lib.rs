//! SSH channels as supervised actors.

pub mod auth;
pub mod error;
pub mod host_key;
pub mod supervision;
pub mod wire;

mod behaviour;
mod channel;
mod client;
mod connection;
mod dial;
mod observe;
mod port;
#[cfg(feature = "server")]
mod server;
mod session;
mod transport;
