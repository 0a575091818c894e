//! SSH channels as supervised actors.

pub mod auth;
pub mod config;
mod connect_error;
pub mod error;
pub mod host_key;
pub mod observe;
pub mod supervision;
pub mod wire;

mod behaviour;
mod channel;
mod client;
mod connection;
mod dial;
mod handle;
mod port;
#[cfg(feature = "server")]
mod server;
mod session;
mod transport;

pub use behaviour::{
    Behaviour, ChannelContext, ChannelHandle, ChannelRef, ClientChannel, ClientSide, Credit, Next, Role,
    ServerChannel, ServerSide,
};
pub use channel::{BareChannel, ChannelEvent};
pub use client::{Client, ClientConfig, Connecting};
pub use connect_error::ConnectError;
pub use error::BoxError;
pub use handle::ConnectionRef;
pub use port::event::ChannelMsg;
pub use wire::id::ChannelKey;

pub use bytes;
pub use ractor;
