//! Where a supervised channel lives: what gives it a connection to open on, and what goes on when that one is lost.
//!
//! A [`ConnectionRef`] is the simplest place: its end is the end. A managed connection is another: after one
//! connection comes the next.

use std::sync::Weak;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::state::IncarnationEnd;
use crate::error::ConnectionError;
use crate::handle::ConnectionRef;
use crate::handle::msg::ConnectionMsg;
use crate::handle::route::Way;
use crate::observe::Watched;

/// A place for one supervised channel.
pub(crate) trait Place: Send + Sync + 'static {
    /// Asks for a connection to open the next incarnation on.
    fn admit(&self) -> Admission;

    /// The channel is done with its connection, and asks again after a pause.
    fn pauses(&self) {}

    /// Waits until there will be no connection any more.
    fn gone(&self) -> BoxFuture<'static, ConnectionError>;

    /// Waits until there is another connection than this one, which was lost.
    fn next_up(&self, lost: &ConnectionRef) -> BoxFuture<'static, ()>;

    /// Whether another connection may follow when one is lost.
    fn comes_back(&self) -> bool;

    /// What a channel that waits for a connection is waiting for, in words.
    fn waits_for(&self) -> Option<String>;

    /// Lists the channel among those of this place, for as long as it can be looked at.
    fn list(&self, channel: Weak<dyn Watched>);

    /// The channel cannot be kept up, and its specification says that the connection is to end then.
    fn escalate(&self, connection: &ConnectionRef, last: &IncarnationEnd);
}

/// The answer of a place.
pub(crate) enum Admission {
    Now(Admitted),
    /// When there is a connection, and those that come first are up. `None`: see [`Place::gone`].
    Later(BoxFuture<'static, Option<Admitted>>),
    Never(ConnectionError),
}

/// Leave to open on this connection.
pub(crate) struct Admitted {
    pub(crate) way: Way,
    pub(crate) turn: Option<Turn>,
}

/// While it is held, those that were declared later wait.
pub(crate) struct Turn(#[expect(dead_code, reason = "its drop is what counts")] oneshot::Sender<()>);

impl Turn {
    /// The turn, and what ends with it.
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (turn, over) = oneshot::channel();
        (Self(turn), over)
    }
}

impl Place for ConnectionRef {
    fn admit(&self) -> Admission {
        Admission::Now(Admitted { way: Way::shared(self.clone()), turn: None })
    }

    fn gone(&self) -> BoxFuture<'static, ConnectionError> {
        let connection = self.clone();
        async move { connection.closed().await }.boxed()
    }

    fn next_up(&self, _lost: &ConnectionRef) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }

    fn comes_back(&self) -> bool {
        false
    }

    fn waits_for(&self) -> Option<String> {
        None
    }

    fn list(&self, channel: Weak<dyn Watched>) {
        self.watched().add(channel);
    }

    fn escalate(&self, _connection: &ConnectionRef, _last: &IncarnationEnd) {
        let _ = self.tell(ConnectionMsg::Close);
    }
}
