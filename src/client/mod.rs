//! Connecting: from a [`ClientConfig`] to a [`ConnectionRef`](crate::ConnectionRef).

mod config;
mod connect;
mod gate;
mod jump;
mod trail;
mod way;

pub use config::ClientConfig;
pub use connect::{Client, Connecting};
pub(crate) use gate::Gate;
