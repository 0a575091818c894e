//! What a server's transport asks of its daemon: who may enter, and what becomes of the channels a peer opens.
//!
//! Nothing here waits but the decision about a login. The transport calls [`Door`] and [`Guest`] from its session's
//! own task, between two packets.

use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::port::Port;
use crate::port::event::ChannelMsg;
use crate::wire::codes::OpenFailureReason;
use crate::wire::keys::PublicKey;
use crate::wire::open::OpenRequest;

/// Which ways to log in are offered. What is not is refused without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoginMethods {
    pub(crate) none: bool,
    pub(crate) password: bool,
    pub(crate) public_key: bool,
}

/// Decides about the logins of one connection.
pub(crate) trait Gatekeeper: Send + Sync + 'static {
    /// Shown before the login (RFC 4252 section 5.4).
    fn banner(&self) -> Option<String>;

    /// Whether this password lets this user in.
    fn password(&self, user: &str, password: SecretString) -> BoxFuture<'static, bool>;

    /// Whether this key lets this user in. Asked for a key that is only offered, and again when the peer has proved
    /// that it owns the key.
    fn public_key(&self, user: &str, key: PublicKey) -> BoxFuture<'static, bool>;
}

/// Where the channels of one authenticated peer are taken in.
pub(crate) trait Door: Send + 'static {
    /// The peer opens a channel: what is made for it, or why it is refused. Must not block.
    fn open(&mut self, request: OpenRequest) -> Admission;

    /// The peer has opened a channel of a type that servers do not take; it is refused.
    fn turn_away(&mut self);

    /// Whether one more request is within what the peer may ask. Counts it.
    fn may_ask(&mut self) -> bool;
}

/// What becomes of an open.
pub(crate) enum Admission {
    Now(NewChannel),
    Refused(OpenFailureReason),
    /// It is decided elsewhere, and takes its time. Dropped when the connection ends.
    Later(BoxFuture<'static, Result<NewChannel, OpenFailureReason>>),
}

/// A channel that is taken in.
pub(crate) struct NewChannel {
    /// Its port, not connected yet.
    pub(crate) port: Arc<Port>,
    /// Decides about its requests.
    pub(crate) guest: Box<dyn Guest>,
}

/// Decides about the requests on one channel (RFC 4254 section 6).
pub(crate) trait Guest: Send {
    /// A request that the peer may want an answer to. Must not block.
    fn request(&mut self, request: ChannelMsg) -> Decision;

    /// A request that is never answered: whether the behaviour gets it.
    fn event(&mut self, event: &ChannelMsg) -> bool;
}

/// What becomes of a request.
pub(crate) enum Decision {
    /// It is answered here and now.
    Answer(bool),
    /// The behaviour gets it as an event, behind some others, and answers.
    Deliver { before: Vec<ChannelMsg>, request: ChannelMsg },
    /// It is decided elsewhere, and takes its time. The future queues the answer on the port.
    Later(BoxFuture<'static, ()>),
}
