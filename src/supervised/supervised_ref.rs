//! The stable address of a supervised channel.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ractor::{ActorCell, ActorRef, ActorStatus, RpcReplyPort};
use tokio::sync::watch;

use super::door::{Door, TakenBy};
use super::error::{CastError, NotUp, SupervisedCallError};
use super::place::Place;
use super::spec::ChannelSpec;
use super::state::{SupervisedInfo, SupervisedState};
use super::supervisor::{self, Order};
use crate::behaviour::{ChannelRef, ClientChannel};
use crate::error::{CallError, ConnectionError, OpenError, SendError, SendErrorKind};
use crate::handle::ConnectionRef;

/// # Supervision
impl ConnectionRef {
    /// Opens a channel by a specification, and opens it again when it ends, as its restart policy says.
    ///
    /// Returns at once; [`SupervisedRef::up`] waits for the first incarnation. A first start that fails is a
    /// failure like any later one.
    ///
    /// Supervision keeps the connection open, also while nothing is up.
    ///
    /// # Errors
    /// Wrong values in the specification, each with the way out.
    pub async fn supervise<C: ClientChannel>(
        &self,
        spec: ChannelSpec<C>,
    ) -> Result<SupervisedRef<C>, OpenError> {
        supervise(spec, self.clone()).await
    }
}

/// Starts the supervisor of a channel at a place.
pub(crate) async fn supervise<C: ClientChannel>(
    spec: ChannelSpec<C>,
    place: impl Place,
) -> Result<SupervisedRef<C>, OpenError> {
    spec.check()?;
    let place: Arc<dyn Place> = Arc::new(place);
    let (door, starting) = supervisor::prepare(spec, Arc::clone(&place))?;
    let orders = starting
        .start()
        .await
        .map_err(|error| OpenError::Connection(ConnectionError::ActorGone(error.to_string().into())))?;
    let address = Arc::new(Address { orders, door });
    let watched: Weak<Address<C>> = Arc::downgrade(&address);
    place.list(watched);
    Ok(SupervisedRef { address })
}

/// The address of a supervised channel: the same for all its incarnations.
///
/// Cheap to clone. When the last clone is dropped, the channel is stopped: nobody could do it afterwards. A
/// behaviour that holds a clone of its own address keeps itself alive.
pub struct SupervisedRef<C: ClientChannel> {
    pub(super) address: Arc<Address<C>>,
}

pub(super) struct Address<C: ClientChannel> {
    pub(super) orders: ActorRef<Order<C>>,
    pub(super) door: Arc<Door<C>>,
}

impl<C: ClientChannel> Drop for Address<C> {
    fn drop(&mut self) {
        let _ = self.orders.cast(Order::Stop);
    }
}

impl<C: ClientChannel> Clone for SupervisedRef<C> {
    fn clone(&self) -> Self {
        Self { address: Arc::clone(&self.address) }
    }
}

impl<C: ClientChannel> fmt::Debug for SupervisedRef<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedRef")
            .field("behaviour", &std::any::type_name::<C>())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// # Talking to it
impl<C: ClientChannel> SupervisedRef<C> {
    /// Sends a message to the behaviour that is up and does not wait. Messages of one sender stay in order,
    /// also across restarts.
    ///
    /// While nothing is up it is queued if [`ChannelSpec::queue`] allows, and refused if not. A message that
    /// was taken is lost if its incarnation ends before handling it.
    ///
    /// # Errors
    /// Nothing is up and the queue is full, or nothing will be up any more. The message comes back.
    pub fn cast(&self, msg: C::Msg) -> Result<(), CastError<C::Msg>> {
        self.address.door.cast(msg).map(|_| ())
    }

    /// Sends a message with a reply port and waits for the answer. There is exactly one answer or error,
    /// whatever happens to the incarnation; the message is never given to a second one.
    ///
    /// A call that is queued waits for the next incarnation, within its `timeout`.
    ///
    /// # Cancel safety
    /// The behaviour handles the message even when the future is dropped; its answer is thrown away.
    ///
    /// # Errors
    /// The message was not taken as by [`cast`](Self::cast), the incarnation ended, the behaviour dropped the
    /// port, or there was no answer in time.
    pub async fn call<T: Send + 'static>(
        &self,
        msg: impl FnOnce(RpcReplyPort<T>) -> C::Msg + Send,
        timeout: Duration,
    ) -> Result<T, SupervisedCallError> {
        let (tx, rx) = ractor::concurrency::oneshot();
        let taken = self.address.door.cast(msg(tx.into())).map_err(|error| error.reason)?;
        match tokio::time::timeout(timeout, rx).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if self.still_runs(&taken) => Err(CallError::NoReply.into()),
            Ok(Err(_)) => Err(CallError::Closed.into()),
            Err(_) => Err(CallError::Timeout { after: timeout }.into()),
        }
    }

    fn still_runs(&self, taken: &TakenBy) -> bool {
        match taken {
            TakenBy::Incarnation(actor) => actor.get_status() < ActorStatus::Stopping,
            TakenBy::Queue => self.current().is_some(),
        }
    }

    /// Sends ordinary data on the channel that is up, as [`ChannelHandle::send`](crate::ChannelHandle::send).
    /// Data is never queued for a later incarnation: that one's peer would not know what to make of it.
    ///
    /// # Cancel safety
    /// Nothing was taken if the future is dropped before it returned.
    ///
    /// # Errors
    /// Nothing is up; otherwise as the handle's. The data comes back whole.
    pub async fn send(&self, data: impl Into<Bytes> + Send) -> Result<(), SendError> {
        let data = data.into();
        match self.address.door.channel() {
            Ok(channel) => channel.send(data).await,
            Err(not_up) => Err(SendError { kind: SendErrorKind::Closed(not_up.close_reason()), data }),
        }
    }

    /// The address of the incarnation that is up. It is of no use after that one's end.
    ///
    /// Stopping or killing it is a failure of this incarnation, after which the next one follows; closing it is a
    /// normal end. To end them all, use [`stop`](Self::stop) here.
    #[must_use]
    pub fn current(&self) -> Option<ChannelRef<C>> {
        self.address.door.channel().ok()
    }
}

/// # Its life
impl<C: ClientChannel> SupervisedRef<C> {
    /// Where it is now.
    #[must_use]
    pub fn state(&self) -> SupervisedState {
        self.address.door.state()
    }

    /// Where it is from now on. A receiver that is slow sees the latest state, not every one. It does not keep
    /// the channel alive.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<SupervisedState> {
        self.address.door.states()
    }

    /// Everything there is to see of it. Answered without asking an actor.
    #[must_use]
    pub fn info(&self) -> SupervisedInfo {
        self.address.info()
    }

    /// Waits until an incarnation is up, and gives its address.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    ///
    /// # Errors
    /// None will be up any more.
    pub async fn up(&self) -> Result<ChannelRef<C>, NotUp> {
        let mut states = self.states();
        loop {
            let state = states.borrow_and_update().clone();
            if state.is_final() {
                return Err(NotUp::Over { state });
            }
            if state.is_up()
                && let Ok(channel) = self.address.door.channel()
            {
                return Ok(channel);
            }
            if states.changed().await.is_err() {
                return Err(NotUp::Over { state: self.state() });
            }
        }
    }

    /// Stops the channel and its supervision, whatever it is doing: `terminate` runs, the channel is closed, a
    /// pause ends, a channel that is confirmed later is closed. A behaviour that is stuck in a callback is killed
    /// after [`ChannelSpec::stuck_limit`]. Messages are refused from now on. Returns at
    /// once. Idempotent; a state that is final already stays as it is.
    pub fn stop(&self) {
        self.address.door.brick_up();
        let _ = self.address.orders.cast(Order::Stop);
    }

    /// Waits until nothing will be started any more, and gives the final state. After a
    /// [`stop`](Self::stop), the last incarnation's `terminate` may still be running then.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn wait(&self) -> SupervisedState {
        let mut states = self.states();
        match states.wait_for(SupervisedState::is_final).await {
            Ok(state) => state.clone(),
            Err(_) => SupervisedState::Stopped,
        }
    }

    /// The ractor actor that supervises, to monitor it. Killing it stops the channel.
    #[must_use]
    pub fn supervisor(&self) -> ActorCell {
        self.address.orders.get_cell()
    }
}
