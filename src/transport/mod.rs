//! The only door to the SSH library underneath.
//!
//! [`Transport`] is what the rest of the crate may ask of an authenticated connection;
//! [`russh_client`] gives it over any byte stream, [`memory`] over nothing at all, for tests. Everything
//! that is peculiar to russh ends here.

pub(crate) mod door;
#[cfg(feature = "server")]
pub(crate) mod gate;
mod login;
#[cfg(feature = "test-util")]
pub(crate) mod memory;
mod pump;
pub(crate) mod russh_client;
pub(crate) mod russh_common;
#[cfg(feature = "server")]
pub(crate) mod russh_server;
mod version;

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::error::ConnectionError;
use crate::observe::Used;
use crate::port::{LinkClosed, Port};
use crate::wire::codes::{DisconnectCode, OpenFailureReason};
use crate::wire::open::{ListenRequest, OpenRequest};

/// Why the transport did not open a channel.
#[derive(Debug, Clone)]
pub(crate) enum OpenRefused {
    /// SSH_MSG_CHANNEL_OPEN_FAILURE (RFC 4254 section 5.1).
    ByPeer { reason: OpenFailureReason, description: String },
    /// The SSH library cannot do it, or it is nothing that this role does.
    Unsupported(String),
    /// The connection is gone.
    Lost,
}

/// Why the peer does not listen for us.
#[derive(Debug, Clone)]
pub(crate) enum ListenRefused {
    /// SSH_MSG_REQUEST_FAILURE (RFC 4254 section 4), which has no reason.
    ByPeer,
    /// A server cannot ask its client to listen.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server says so"))]
    Unsupported,
    /// The connection is gone.
    Lost,
}

/// What the connection actor is told by its transport.
#[derive(Debug, Clone)]
pub(crate) enum TransportEvent {
    /// The connection is over; every port has been told already.
    Down(ConnectionError),
    /// New keys are in use (also after the first exchange of a re-exchange by the peer).
    Rekeyed,
}

/// Where [`TransportEvent`]s go. Must not block.
pub(crate) type EventSink = Box<dyn Fn(TransportEvent) + Send + Sync>;

/// Bytes on the byte stream, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Traffic {
    pub(crate) const ZERO: Self = Self { bytes_in: 0, bytes_out: 0 };
}

/// An authenticated SSH connection.
///
/// All methods return at once; what takes time is in the returned future, which does not borrow. Futures
/// may be dropped: the request itself is made either way.
pub(crate) trait Transport: Send + Sync + 'static {
    /// Opens a channel (SSH_MSG_CHANNEL_OPEN). On success the port is connected, and whatever arrived since
    /// is in its inbox. Must be polled to the end, or the peer's slot leaks.
    fn open(&self, request: OpenRequest, port: Arc<Port>) -> BoxFuture<'static, Result<(), OpenRefused>>;

    /// Asks the peer to listen for us (RFC 4254 section 7.1). Answers with the port it has chosen, if it says one.
    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<Option<u32>, ListenRefused>>;

    /// Asks the peer to listen no more.
    fn unlisten(&self, request: ListenRequest) -> BoxFuture<'static, Result<(), ListenRefused>>;

    /// Sends a global request that the peer must answer, and waits for the answer.
    fn ping(&self) -> BoxFuture<'static, Result<(), LinkClosed>>;

    /// Exchanges keys anew (RFC 4253 section 9); resolves when new keys are in use, whoever has asked. Notes in `asked` when
    /// our KEXINIT was written: it may have to wait for its moment. `None` where nobody can ask.
    fn rekey(&self, asked: Arc<OnceLock<Instant>>) -> Option<BoxFuture<'static, Result<(), LinkClosed>>>;

    /// Sends SSH_MSG_DISCONNECT; resolves when it was handed to the byte stream and that was closed.
    fn disconnect(&self, code: DisconnectCode, text: &'static str) -> BoxFuture<'static, ()>;

    /// Closes the byte stream now, whatever is under way.
    fn abort(&self, error: ConnectionError);

    /// Bytes so far.
    fn traffic(&self) -> Traffic;

    /// What was handed on and is not written yet, where there is such a budget.
    fn outbound(&self) -> Option<Used>;
}
