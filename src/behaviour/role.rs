//! The two roles, and the one shape of behaviour the channel actor runs for both.

use std::fmt::Debug;
use std::future::Future;

use super::{ChannelContext, ClientChannel, ServerChannel};
use crate::error::{BoxError, StopReason};
use crate::port::event::ChannelMsg;

mod sealed {
    #[allow(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {}
    impl Sealed for super::ClientSide {}
    impl Sealed for super::ServerSide {}
}

/// Which side of a connection a channel is on. It decides which requests it can send.
pub trait Role: sealed::Sealed + Debug + Send + Sync + 'static {}

/// The side that connected: may ask for commands, shells, subsystems and terminals.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums)]
pub enum ClientSide {}

/// The side that was connected to: may report exit statuses and answer requests.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums)]
pub enum ServerSide {}

impl Role for ClientSide {}
impl Role for ServerSide {}

/// What a callback wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Go on.
    Continue,
    /// Send what is queued, close the channel and stop; `terminate` gets `StopReason::Normal`.
    Stop,
    /// As [`Stop`](Self::Stop), with a reason in words: `terminate` and `ChannelRef::wait` get
    /// `StopReason::Because`.
    StopBecause(&'static str),
}

/// What [`ClientChannel`] and [`ServerChannel`] have in common, for code that serves both.
///
/// Implemented for every behaviour by its role's trait; not meant to be implemented directly.
pub trait Behaviour<R: Role>: Send + Sized + 'static {
    /// What other actors can send to the channel.
    type Msg: Send + 'static;

    /// See [`ClientChannel::init`].
    fn init(
        &mut self,
        ctx: &mut ChannelContext<Self, R>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// See [`ClientChannel::handle_ssh_msg`].
    fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, R>,
    ) -> impl Future<Output = Result<Next, BoxError>> + Send;

    /// See [`ClientChannel::handle_msg`].
    fn handle_msg(
        &mut self,
        msg: Self::Msg,
        ctx: &mut ChannelContext<Self, R>,
    ) -> impl Future<Output = Result<Next, BoxError>> + Send;

    /// See [`ClientChannel::terminate`].
    fn terminate(
        &mut self,
        reason: StopReason,
        ctx: &mut ChannelContext<Self, R>,
    ) -> impl Future<Output = ()> + Send;
}

macro_rules! behaviour_of {
    ($channel:ident, $role:ident) => {
        impl<C: $channel> Behaviour<$role> for C {
            type Msg = <C as $channel>::Msg;

            fn init(
                &mut self,
                ctx: &mut ChannelContext<Self, $role>,
            ) -> impl Future<Output = Result<(), BoxError>> + Send {
                $channel::init(self, ctx)
            }

            fn handle_ssh_msg(
                &mut self,
                msg: ChannelMsg,
                ctx: &mut ChannelContext<Self, $role>,
            ) -> impl Future<Output = Result<Next, BoxError>> + Send {
                $channel::handle_ssh_msg(self, msg, ctx)
            }

            fn handle_msg(
                &mut self,
                msg: Self::Msg,
                ctx: &mut ChannelContext<Self, $role>,
            ) -> impl Future<Output = Result<Next, BoxError>> + Send {
                $channel::handle_msg(self, msg, ctx)
            }

            fn terminate(
                &mut self,
                reason: StopReason,
                ctx: &mut ChannelContext<Self, $role>,
            ) -> impl Future<Output = ()> + Send {
                $channel::terminate(self, reason, ctx)
            }
        }
    };
}

behaviour_of!(ClientChannel, ClientSide);
behaviour_of!(ServerChannel, ServerSide);
