//! Connecting: from a [`ClientConfig`] to a [`ConnectionRef`](crate::ConnectionRef).

mod config;
mod connect;

pub use config::ClientConfig;
pub use connect::{Client, Connecting};
