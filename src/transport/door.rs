//! What a server's transport asks of its daemon: who may enter, and what becomes of the channels a peer opens.
//!
//! Nothing here waits but the decision about a login. The transport calls all of it from its session's own task, between
//! two packets.

use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::auth::AuthMethod;
use crate::port::Port;
use crate::port::event::ChannelMsg;
use crate::wire::codes::OpenFailureReason;
use crate::wire::keys::{Algorithm, Certificate, PublicKey};
use crate::wire::open::OpenRequest;

/// What a peer offers as proof of who it is (RFC 4252).
#[derive(Debug)]
pub(crate) enum Proof {
    /// Nothing.
    None,
    Password(SecretString),
    /// A key that the peer may own, and the signature algorithm it would use. Of a certificate, russh shows the key in
    /// it, and nothing of the rest.
    OfferedKey {
        key: PublicKey,
        algorithm: Algorithm,
    },
    /// A key that the peer has proved to own.
    Key {
        key: PublicKey,
        algorithm: Algorithm,
    },
    /// A certificate whose key the peer has proved to own.
    Certificate(Box<Certificate>),
    /// The peer wants to be asked (RFC 4256).
    Interview,
    /// The answers of the last round; nothing if they were no text.
    Answers(Option<Vec<SecretString>>),
}

/// One round of questions (RFC 4256 section 3.2), each with whether the answer is shown while it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Questions {
    pub(crate) name: String,
    pub(crate) instructions: String,
    pub(crate) prompts: Vec<(String, bool)>,
}

/// What the peer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in.
    Welcome,
    /// It may prove that it owns the key.
    Sign,
    /// It is asked.
    Ask(Questions),
    /// No; or, with `passed`, yes, but not enough. `next` can go on.
    NotYet { next: Vec<AuthMethod>, passed: bool },
    /// Nothing: the connection ends.
    End,
}

/// Decides about the logins of one connection, and keeps what it knows of them.
pub(crate) trait Gatekeeper: Send + 'static {
    /// The login begins: the peer's identification string. Returns what to show first (RFC 4252 section 5.4).
    fn greet(&mut self, client_version: String) -> Option<String>;

    /// Whether this proof lets this user in. It takes as long as it should for the answer not to tell more.
    fn judge<'a>(&'a mut self, user: &'a str, proof: Proof) -> BoxFuture<'a, Verdict>;

    /// The methods that were passed, once the verdict was `Welcome`.
    fn passed(&self) -> Vec<AuthMethod>;
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
