//! Asking the application about a host key.
//!
//! Owns the question and the answers. The answer is carried out by `prepared`.

use std::future::Future;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::check::Verdict;
use super::presented::PresentedKey;
use crate::error::BoxError;

/// What a verifier is asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostKeyInfo {
    /// The name or address that was asked for.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// What the server presents.
    pub key: PresentedKey,
    /// `SHA256:...` of the key; of a certificate, of the key inside.
    pub fingerprint: String,
    /// What known_hosts says: `Known`, `Certified`, `New` or `Changed`.
    pub verdict: Verdict,
}

/// A verifier's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostKeyDecision {
    /// As known_hosts says: `Known` and `Certified` are accepted, `New` and `Changed` refused.
    AsKnownHosts,
    /// Accepted for this connection.
    Accept,
    /// Accepted, and written down if the host is new. A changed key is never written: remove the old
    /// line first.
    AcceptAndRemember,
    /// Refused, for this reason.
    Refuse(String),
}

/// Decides about host keys: shows a dialog, asks a database.
///
/// 1. It is called once for each connection, after known_hosts was consulted, and before anything
///    secret is sent.
/// 2. It is not called for revoked keys and for bad certificates of hosts with an
///    `@cert-authority` line: those are refused.
/// 3. It runs within the deadline of the key exchange, and is dropped when that passes.
/// 4. An error is [`HostKeyError::Verifier`](super::HostKeyError::Verifier) and refuses the key.
///
/// Implemented for closures that return a future.
pub trait HostKeyVerifier: Send + Sync + 'static {
    /// Answers for one key.
    fn verify(&self, info: HostKeyInfo) -> BoxFuture<'_, Result<HostKeyDecision, BoxError>>;
}

impl<F, Fut> HostKeyVerifier for F
where
    F: Fn(HostKeyInfo) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HostKeyDecision, BoxError>> + Send + 'static,
{
    fn verify(&self, info: HostKeyInfo) -> BoxFuture<'_, Result<HostKeyDecision, BoxError>> {
        self(info).boxed()
    }
}
