//! The behaviour of a channel on the side that was connected to.

use std::future::Future;

use super::{ChannelContext, Next, ServerSide};
use crate::error::{BoxError, StopReason};
use crate::port::event::ChannelMsg;

/// A channel of an SSH server, as OTP's `ssh_server_channel` has it.
///
/// The contract is that of [`ClientChannel`](super::ClientChannel), run by the same actor. Requests of the
/// client (`Pty`, `Env`, `Shell`, `Exec`, `Subsystem`, ...) arrive as events; those with `want_reply` are
/// answered by `ctx.reply_request(..)`, in the order they came. What a callback leaves unanswered is answered
/// with failure when it returns.
pub trait ServerChannel: Send + Sized + 'static {
    /// What other actors can send to the channel. `()` if nothing.
    type Msg: Send + 'static;

    /// Runs first. An error closes the channel.
    fn init(
        &mut self,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = ctx;
        async { Ok(()) }
    }

    /// Handles one SSH event.
    fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> impl Future<Output = Result<Next, BoxError>> + Send;

    /// Handles one message of another actor.
    fn handle_msg(
        &mut self,
        msg: Self::Msg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> impl Future<Output = Result<Next, BoxError>> + Send {
        let _ = (msg, ctx);
        async { Ok(Next::Continue) }
    }

    /// Runs last. The channel is closed or closing; nothing can be sent any more.
    fn terminate(
        &mut self,
        reason: StopReason,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (reason, ctx);
        async {}
    }
}
