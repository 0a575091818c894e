//! What travels in a connection actor's mailbox: control only, never payload.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::{ActorRef, RpcReplyPort};
use tokio::sync::oneshot;

use super::acceptance::Ticket;
use super::intake::InUse;
use super::roster::Parent;
use super::route::Claim;
use crate::behaviour::HandleTimeouts;
use crate::config::ChannelOptions;
use crate::error::{ConnectionError, ForwardError, OpenError};
use crate::observe::{ConnectionInfo, Gauges};
use crate::port::Port;
use crate::transport::{OpenRefused, TransportEvent};
use crate::wire::id::ChannelKey;
use crate::wire::open::{ListenRequest, OpenRequest};

/// Makes the channel actor once the peer has confirmed; the way to pass a behaviour of any type through the
/// mailbox. Dropping it unused tells the opener that the connection is gone.
pub(crate) trait StartChannel: Send {
    /// Spawns the actor and enters it into the roster. False when the opener is gone or it could not be spawned; the
    /// port has been abandoned then.
    fn start(
        self: Box<Self>,
        port: Arc<Port>,
        timeouts: HandleTimeouts,
        parent: Parent,
    ) -> BoxFuture<'static, bool>;

    /// Tells the opener that there will be no channel.
    fn refuse(self: Box<Self>, error: OpenError);

    /// The name of the behaviour's type.
    fn behaviour(&self) -> &'static str;
}

/// A channel to open.
pub(crate) struct OpenCommand {
    pub(crate) request: OpenRequest,
    pub(crate) options: ChannelOptions,
    /// Its slot is dropped when both the channel and its actor have ended.
    pub(crate) claim: Claim,
    pub(crate) start: Box<dyn StartChannel>,
}

/// A channel the peer has opened and the transport has accepted.
pub(crate) struct AcceptCommand {
    pub(crate) kind: &'static str,
    pub(crate) port: Arc<Port>,
    pub(crate) start: Box<dyn StartChannel>,
    /// Dropped when both the channel and its actor have ended.
    pub(crate) keeps: Option<Box<dyn Any + Send>>,
}

/// Something to ask the server to listen on.
pub(crate) struct ListenCommand {
    pub(crate) request: ListenRequest,
    /// Takes its channels in.
    pub(crate) ticket: Ticket,
    pub(crate) answer: oneshot::Sender<Result<Listening, ForwardError>>,
}

/// Something to listen on no more. Channels are taken in until the server has answered.
pub(crate) struct UnlistenCommand {
    pub(crate) request: ListenRequest,
    pub(crate) ticket: Ticket,
    pub(crate) answer: Option<oneshot::Sender<Result<(), ForwardError>>>,
}

/// The server listens, until this is dropped.
pub(crate) struct Listening {
    actor: ActorRef<ConnectionMsg>,
    /// With the port that the server has.
    pub(crate) request: ListenRequest,
    /// `None` once it is cancelled.
    ticket: Option<Ticket>,
    _in_use: InUse,
}

impl Listening {
    pub(crate) fn new(
        actor: ActorRef<ConnectionMsg>,
        gauges: Arc<Gauges>,
        request: ListenRequest,
        ticket: Ticket,
    ) -> Self {
        let in_use = InUse::new(gauges, actor.clone());
        Self { actor, request, ticket: Some(ticket), _in_use: in_use }
    }

    /// Has the server listen no more; tells the answer.
    pub(crate) fn cancel(mut self) -> oneshot::Receiver<Result<(), ForwardError>> {
        let (tx, rx) = oneshot::channel();
        self.end(Some(tx));
        rx
    }

    fn end(&mut self, answer: Option<oneshot::Sender<Result<(), ForwardError>>>) {
        if let Some(ticket) = self.ticket.take() {
            let request = self.request.clone();
            let _ = self.actor.cast(ConnectionMsg::Unlisten(UnlistenCommand { request, ticket, answer }));
        }
    }
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Why a channel has no actor.
pub(crate) enum NoActor {
    /// The peer confirmed, but there is no actor; the port closes itself.
    NotStarted,
    /// The peer refused, or the connection went.
    Failed,
}

/// One message to a connection actor.
pub(crate) enum ConnectionMsg {
    Open(OpenCommand),
    /// The channel gets no actor. One that does needs no message: it is in the roster.
    Unstarted(ChannelKey, NoActor),
    /// The opener has been told that the peer has not answered in time; the answer may still come.
    OpenOverdue(ChannelKey),
    Accept(AcceptCommand),
    Listen(ListenCommand),
    Unlisten(UnlistenCommand),
    /// Nothing of the channel is left on the wire.
    Gone(ChannelKey),
    Transport(TransportEvent),
    /// Reading has stopped: too much is unread.
    GateShut,
    /// Time to look at the clocks.
    Tick,
    KeepaliveAnswered,
    /// Tells when the peer has answered a question that is asked now: it has seen all that was sent before.
    Ask(oneshot::Sender<()>),
    Info(RpcReplyPort<ConnectionInfo>),
    Rekey(oneshot::Sender<Result<(), ConnectionError>>),
    RekeyDone,
    Shutdown {
        grace: Duration,
    },
    Close,
    /// The peer does too much of something: an end with these words.
    Expel(&'static str),
    /// The last handle was dropped: end with the last channel.
    Orphaned,
}

impl std::fmt::Debug for ConnectionMsg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionMsg")
    }
}

impl From<OpenRefused> for OpenError {
    fn from(refused: OpenRefused) -> Self {
        match refused {
            OpenRefused::ByPeer { reason, description } => Self::Refused { reason, description },
            OpenRefused::Unsupported(what) => Self::Unsupported { what },
            OpenRefused::Lost => Self::Connection(ConnectionError::Closed),
        }
    }
}
