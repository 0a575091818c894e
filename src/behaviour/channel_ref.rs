//! The address of a running channel actor.

use std::ops::Deref;
use std::time::Duration;

use ractor::{ActorCell, ActorRef, MessagingErr, RpcReplyPort};

use super::handle::ChannelHandle;
use super::msg::ActorMsg;
use super::role::{Behaviour, ClientSide, Role};
use crate::error::{CallError, StopReason};

/// The address of a channel actor: send it messages, send data on its channel, close it, wait for it.
///
/// Cheap to clone. Dereferences to [`ChannelHandle`] for the functions of the channel itself. The channel lives
/// until its behaviour stops, the peer closes it, or somebody closes or stops it; dropping the address changes
/// nothing, as with any actor's.
pub struct ChannelRef<C: Behaviour<R>, R: Role = ClientSide> {
    actor: ActorRef<ActorMsg<C::Msg>>,
    handle: ChannelHandle<R>,
}

impl<C: Behaviour<R>, R: Role> Clone for ChannelRef<C, R> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), handle: self.handle.clone() }
    }
}

impl<C: Behaviour<R>, R: Role> std::fmt::Debug for ChannelRef<C, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelRef")
            .field("channel", &self.handle.id())
            .field("actor", &self.actor.get_id())
            .finish()
    }
}

impl<C: Behaviour<R>, R: Role> Deref for ChannelRef<C, R> {
    type Target = ChannelHandle<R>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl<C: Behaviour<R>, R: Role> ChannelRef<C, R> {
    pub(crate) const fn new(actor: ActorRef<ActorMsg<C::Msg>>, handle: ChannelHandle<R>) -> Self {
        Self { actor, handle }
    }

    /// Sends a message to the behaviour and does not wait. Messages of one sender stay in order.
    ///
    /// The mailbox is not bounded: a sender that may outrun the behaviour uses [`call`](Self::call).
    ///
    /// # Errors
    /// The channel actor is gone.
    pub fn cast(&self, msg: C::Msg) -> Result<(), CallError> {
        self.actor.cast(ActorMsg::User(msg)).map_err(|_| CallError::Closed)
    }

    /// As [`cast`](Self::cast), and gives the message back if it was not taken.
    pub(crate) fn offer(&self, msg: C::Msg) -> Result<(), C::Msg> {
        match self.actor.cast(ActorMsg::User(msg)) {
            Err(MessagingErr::SendErr(ActorMsg::User(msg))) => Err(msg),
            // The other errors are about messages of another type.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Sends a message with a reply port and waits for the answer.
    ///
    /// # Cancel safety
    /// The behaviour handles the message even when the future is dropped; its answer is thrown away.
    ///
    /// # Errors
    /// The actor is gone or goes, the behaviour dropped the port, or there was no answer in time.
    pub async fn call<T: Send + 'static>(
        &self,
        msg: impl FnOnce(RpcReplyPort<T>) -> C::Msg + Send,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let (tx, rx) = ractor::concurrency::oneshot();
        self.cast(msg(tx.into()))?;
        match tokio::time::timeout(timeout, rx).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if self.actor.get_status() < ractor::ActorStatus::Stopping => Err(CallError::NoReply),
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => Err(CallError::Timeout { after: timeout }),
        }
    }

    /// Waits until the channel actor has ended, and says why.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn wait(&self) -> StopReason {
        let port = self.handle.port();
        tokio::select! {
            biased;
            reason = port.exited() => reason,
            // A connection that was killed cannot say how its channels ended; killed with it is how.
            _ = self.actor.wait(None) => port.exit().cloned().unwrap_or(StopReason::Killed),
        }
    }

    /// Stops the actor after the message it is handling: `terminate` runs, the channel is closed.
    pub fn stop(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.handle.port().note_stop(&reason);
        self.actor.stop(Some(reason));
    }

    /// Kills the actor at its next await: `terminate` does not run, the channel is closed.
    pub fn kill(&self) {
        self.actor.kill();
    }

    /// The ractor actor behind it, to link, monitor, register or group it.
    #[must_use]
    pub fn actor(&self) -> ActorCell {
        self.actor.get_cell()
    }
}
