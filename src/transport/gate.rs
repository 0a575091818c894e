//! What a server's transport asks of its daemon about a login: who may enter.
//!
//! The transport calls it from its session's own task, between two packets; the decision may take its time.

use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::auth::AuthMethod;
use crate::wire::keys::{Algorithm, Certificate, PublicKey};

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
