//! What a user implements and what an implementation may do: the behaviour traits, the context their
//! callbacks get, and the address of a running channel.

mod channel_ref;
mod client;
mod context;
mod credit;
mod handle;
pub(crate) mod msg;
mod role;
mod server;

pub use channel_ref::ChannelRef;
pub use client::ClientChannel;
pub use context::ChannelContext;
pub use credit::Credit;
pub use handle::ChannelHandle;
pub(crate) use handle::HandleTimeouts;
pub use role::{Behaviour, ClientSide, Next, Role, ServerSide};
pub use server::ServerChannel;
