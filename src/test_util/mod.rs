//! A peer that follows a script, in memory: for tests of your own behaviours, and of this crate.
//!
//! No socket, no keys, no crypto. Everything else is the real thing: the connection actor, the channel actors, the
//! budgets, windows, deadlines and supervision. Works with paused tokio time, so that a test of a 30 s timeout takes
//! no time at all.
//!
//! Needs the feature `test-util`, in `[dev-dependencies]`.
//!
//! ```
//! use ractor_ssh::test_util::{ScriptConfig, scripted};
//! use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};
//!
//! /// Sends back whatever comes.
//! struct Echo;
//!
//! impl ClientChannel for Echo {
//!     type Msg = ();
//!
//!     async fn handle_ssh_msg(
//!         &mut self,
//!         msg: ChannelMsg,
//!         ctx: &mut ChannelContext<Self>,
//!     ) -> Result<Next, BoxError> {
//!         if let ChannelMsg::Data { data, .. } = msg {
//!             ctx.send(data)?;
//!         }
//!         Ok(Next::Continue)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (conn, mut peer) = scripted(ScriptConfig::new()).await;
//! let (channel, mut remote) = tokio::join!(conn.session_channel(Echo), async {
//!     peer.expect_open().await.confirm()
//! });
//! let channel = channel.unwrap();
//! remote.data("hello");
//! assert_eq!(remote.expect_data().await, "hello");
//! remote.close();
//! remote.expect_close().await;
//! assert!(channel.wait().await.is_normal());
//! # }
//! ```

mod channel;
mod config;
mod peer;

pub use channel::ScriptedChannel;
pub use config::ScriptConfig;
pub use peer::{PendingListen, PendingOpen, ScriptedPeer, scripted};

pub use crate::transport::memory::Sent;
