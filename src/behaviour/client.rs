//! The behaviour of a channel on the side that connected.

use std::future::Future;

use super::{ChannelContext, Next};
use crate::error::{BoxError, StopReason};
use crate::port::event::ChannelMsg;

/// A channel of an SSH client, as OTP's `ssh_client_channel` has it: one actor, one channel, four callbacks.
///
/// # Contract
/// 1. [`init`](Self::init) runs first, in the channel's actor, when the peer has confirmed the open. Ask for
///    what the channel is for here: `ctx.exec(..)`, `ctx.subsystem(..)`, and wait for the answer. Nothing
///    that arrives meanwhile is lost.
/// 2. [`handle_ssh_msg`](Self::handle_ssh_msg) gets every SSH event in wire order, one at a time. The receive
///    credit of data goes back when the callback has returned: a slow callback holds the peer up, within the
///    channel's receive budget.
/// 3. [`handle_msg`](Self::handle_msg) gets what other actors send, between SSH events and in the order sent.
///    A call carries a [`ractor::RpcReplyPort`] in the message.
/// 4. `ChannelMsg::Closed` is the last event, and arrives exactly once. The actor stops after it by itself.
/// 5. [`terminate`](Self::terminate) runs last, with the reason, unless the actor was killed.
///
/// A callback that returns an error or panics ends this channel only: the peer gets SSH_MSG_CHANNEL_CLOSE, the
/// connection's supervisor gets the reason, the channel's siblings notice nothing.
///
/// A callback must not wait for its own channel's events: they come through the same actor. It may wait for
/// answers to requests (`ctx.exec(..).await`), they come by another way.
///
/// ```
/// use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};
///
/// /// Counts what a command prints.
/// struct Count(u64);
///
/// impl ClientChannel for Count {
///     type Msg = ractor_ssh::ractor::RpcReplyPort<u64>;
///
///     async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
///         ctx.exec("journalctl --follow").await?;
///         Ok(())
///     }
///
///     async fn handle_ssh_msg(
///         &mut self,
///         msg: ChannelMsg,
///         _ctx: &mut ChannelContext<Self>,
///     ) -> Result<Next, BoxError> {
///         if let ChannelMsg::Data { data, .. } = msg {
///             self.0 += data.len() as u64;
///         }
///         Ok(Next::Continue)
///     }
///
///     async fn handle_msg(
///         &mut self,
///         port: Self::Msg,
///         _ctx: &mut ChannelContext<Self>,
///     ) -> Result<Next, BoxError> {
///         let _ = port.send(self.0);
///         Ok(Next::Continue)
///     }
/// }
/// ```
pub trait ClientChannel: Send + Sized + 'static {
    /// What other actors can send to the channel. `()` if nothing.
    type Msg: Send + 'static;

    /// Runs first. An error closes the channel and is what the opener gets.
    fn init(&mut self, ctx: &mut ChannelContext<Self>) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = ctx;
        async { Ok(()) }
    }

    /// Handles one SSH event.
    fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> impl Future<Output = Result<Next, BoxError>> + Send;

    /// Handles one message of another actor.
    fn handle_msg(
        &mut self,
        msg: Self::Msg,
        ctx: &mut ChannelContext<Self>,
    ) -> impl Future<Output = Result<Next, BoxError>> + Send {
        let _ = (msg, ctx);
        async { Ok(Next::Continue) }
    }

    /// Runs last. The channel is closed or closing; nothing can be sent any more.
    fn terminate(
        &mut self,
        reason: StopReason,
        ctx: &mut ChannelContext<Self>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (reason, ctx);
        async {}
    }
}
