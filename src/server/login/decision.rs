//! What is decided about a login, and why it was refused.

use super::certificate::CertificateRefusal;
use crate::server::permissions::Permissions;

/// What a callback decides.
///
/// `true` and `false` stand for `Accept` and `Reject`, [`Permissions`] for `AcceptWith`: what a callback returns is
/// `impl Into<LoginDecision>`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginDecision {
    /// This proof is good.
    Accept,
    /// This proof is good, and the login may do no more than this. Of several steps, each can only take away.
    AcceptWith(Permissions),
    /// This proof is not good. The peer may try again, as long as it has attempts left.
    Reject,
    /// This proof is not good, and the connection ends without an answer.
    Disconnect,
}

impl From<bool> for LoginDecision {
    fn from(yes: bool) -> Self {
        if yes { Self::Accept } else { Self::Reject }
    }
}

impl From<Permissions> for LoginDecision {
    fn from(permissions: Permissions) -> Self {
        Self::AcceptWith(permissions)
    }
}

/// Why a login was refused. The peer is never told: it sees the same refusal for all of them.
///
/// There are refusals that russh makes without asking anybody, and that have no reason here: see
/// [what russh refuses itself](crate::login#what-russh-refuses-itself).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginRefusal {
    /// A callback said no, or no list names the key.
    #[error("the proof was not accepted")]
    Denied,
    /// A callback panicked.
    #[error("the login callback panicked")]
    CallbackPanicked,
    /// The method is not offered, or it is not this method's turn.
    #[error("the method cannot be used now")]
    NotOffered,
    /// The connection has no attempts left; nobody was asked.
    #[error("there were too many attempts on this connection")]
    TooManyAttempts,
    /// The key, or the authority of the certificate, is among the revoked ones.
    #[error("the key is revoked")]
    Revoked,
    /// The key was to sign with SHA-1 (`ssh-rsa`).
    #[error("an RSA key was to be used with SHA-1; the client must use rsa-sha2-256 or rsa-sha2-512")]
    Sha1,
    /// The peer was told to sign with a key, and has not proved to own it: its signature was wrong, or it turned to
    /// something else. This is noticed at the next request or at the end of the connection.
    #[error("the peer has not proved to own the key")]
    NotProved,
    /// Two steps were to be passed with one key.
    #[error("the key was used for an earlier step")]
    KeyUsedBefore,
    /// A line of an authorized_keys file names the key, and does not let it in.
    #[error("{place} names the key, but {problem}")]
    Line {
        /// File and line.
        place: String,
        /// What stands against it.
        problem: String,
    },
    /// The certificate does not hold.
    #[error("the certificate is not good: {0}")]
    Certificate(#[from] CertificateRefusal),
    /// Answers were missing, or were no text.
    #[error("the answers do not fit the questions")]
    Answers,
    /// The peer was asked, and has turned to something else instead of answering, or the connection has ended.
    #[error("the questions were not answered")]
    Unfinished,
    /// Two steps, or a certificate and its authority's line, force different commands.
    #[error("two different commands are forced")]
    TwoCommands,
}
