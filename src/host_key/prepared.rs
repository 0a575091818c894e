//! Judging the key that a server presents, once the files are read.
//!
//! Owns carrying out a policy. Does not know how the key came.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::algorithms::HostKeyAlgorithms;
use super::append::remember;
use super::check::Verdict;
use super::entry::{KnownHostsLine, KnownHostsProblem};
use super::error::{HostKeyError, MIN_RSA_BITS};
use super::files::{KnownHostsFiles, blocking};
use super::known_hosts::KnownHosts;
use super::names::Host;
use super::policy::{Policy, Unknown};
use super::presented::PresentedKey;
use super::verifier::{HostKeyDecision, HostKeyInfo, HostKeyVerifier};

/// A policy for one host, with its files read: from [`HostKeyPolicy::prepare`](super::HostKeyPolicy::prepare).
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(super) policy: Policy,
    pub(super) host: Host,
    pub(super) known: KnownHosts,
    pub(super) algorithms: HostKeyAlgorithms,
}

/// A host key that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// `SHA256:...` of the key; of a certificate, of the key inside.
    pub fingerprint: String,
    /// Why.
    pub by: AcceptedBy,
}

/// Why a host key was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptedBy {
    /// This line has the key.
    Known(KnownHostsLine),
    /// This `@cert-authority` line has the certificate's authority.
    Certified(KnownHostsLine),
    /// The host was new, and its key is now written down.
    Remembered,
    /// The key is pinned.
    Pinned,
    /// The verifier accepted it.
    Verifier,
    /// Anything is accepted.
    Anything,
}

impl Prepared {
    /// The host key algorithms to offer, best first: those that the host is known with lead.
    #[must_use]
    pub const fn algorithms(&self) -> &HostKeyAlgorithms {
        &self.algorithms
    }

    /// The malformed lines that were skipped.
    #[must_use]
    pub fn problems(&self) -> &[KnownHostsProblem] {
        self.known.problems()
    }

    /// Judges the key that the server presents, after it has proved that it holds it.
    ///
    /// Returns when the decision is made, and, for a key that is to be remembered, when it is on
    /// disk.
    ///
    /// # Errors
    /// Any [`HostKeyError`]; the connection must then be closed.
    ///
    /// # Cancel safety
    /// Cancel safe: a new key is written whole or not at all, perhaps after the cancellation.
    pub async fn decide(&self, key: impl Into<PresentedKey>) -> Result<Accepted, HostKeyError> {
        let key = key.into();
        let by = match &self.policy {
            Policy::Anything => AcceptedBy::Anything,
            Policy::Pinned(pins) => {
                self.check_strength(&key)?;
                if !pins.iter().any(|pin| pin.is(&key)) {
                    let pins = pins.iter().map(ToString::to_string).collect();
                    return Err(HostKeyError::NotPinned {
                        name: self.host.name(),
                        key: key.to_string(),
                        pins,
                    });
                }
                AcceptedBy::Pinned
            }
            Policy::KnownHosts(files, unknown) => {
                self.check_strength(&key)?;
                let now = unix_time();
                match (self.known.judge(&self.host, &key, now), unknown) {
                    (Verdict::New, Unknown::Remember) => self.remember(files, &key, now).await?,
                    (verdict, Unknown::Ask(verifier)) => {
                        self.ask(verifier.as_ref(), files, &key, verdict, now).await?
                    }
                    (verdict, _) => self.follow(verdict, files, &key)?,
                }
            }
        };
        Ok(Accepted { fingerprint: key.fingerprint(), by })
    }

    fn check_strength(&self, key: &PresentedKey) -> Result<(), HostKeyError> {
        let authority = key.certificate().and_then(|certificate| certificate.signature_key().rsa());
        for rsa in key.key_data().rsa().into_iter().chain(authority) {
            let bits = rsa.key_size();
            if bits < MIN_RSA_BITS {
                return Err(HostKeyError::WeakKey { name: self.host.name(), bits });
            }
        }
        Ok(())
    }

    /// What the files say, without exception.
    fn follow(
        &self,
        verdict: Verdict,
        files: &KnownHostsFiles,
        key: &PresentedKey,
    ) -> Result<AcceptedBy, HostKeyError> {
        let (name, key) = (self.host.name(), key.to_string());
        Err(match verdict {
            Verdict::Known(at) => return Ok(AcceptedBy::Known(at)),
            Verdict::Certified(at) => return Ok(AcceptedBy::Certified(at)),
            Verdict::New => HostKeyError::Unknown { name, key, files: files.paths().to_vec() },
            Verdict::Changed(known) => HostKeyError::Changed { name, key, known },
            Verdict::Revoked(at) => HostKeyError::Revoked { name, key, at },
            Verdict::CertificateInvalid { at, why } => {
                HostKeyError::CertificateInvalid { name, key, at, why }
            }
        })
    }

    /// Writes the key of a new host down; if it is not new any more, follows what is there.
    async fn remember(
        &self,
        files: &Arc<KnownHostsFiles>,
        key: &PresentedKey,
        now: u64,
    ) -> Result<AcceptedBy, HostKeyError> {
        let (to, host, what) = (Arc::clone(files), self.host.clone(), key.clone());
        match blocking(move || remember(&to, &host, &what, now)).await? {
            Verdict::New => Ok(AcceptedBy::Remembered),
            verdict => self.follow(verdict, files, key),
        }
    }

    async fn ask(
        &self,
        verifier: &dyn HostKeyVerifier,
        files: &Arc<KnownHostsFiles>,
        key: &PresentedKey,
        verdict: Verdict,
        now: u64,
    ) -> Result<AcceptedBy, HostKeyError> {
        if matches!(verdict, Verdict::Revoked(_) | Verdict::CertificateInvalid { .. }) {
            return self.follow(verdict, files, key);
        }
        let info = HostKeyInfo {
            host: self.host.bare().to_owned(),
            port: self.host.port(),
            key: key.clone(),
            fingerprint: key.fingerprint(),
            verdict: verdict.clone(),
        };
        let name = self.host.name();
        match verifier.verify(info).await {
            Ok(HostKeyDecision::AsKnownHosts) => self.follow(verdict, files, key),
            Ok(HostKeyDecision::AcceptAndRemember) if verdict == Verdict::New => {
                self.remember(files, key, now).await
            }
            Ok(HostKeyDecision::Accept | HostKeyDecision::AcceptAndRemember) => Ok(AcceptedBy::Verifier),
            Ok(HostKeyDecision::Refuse(why)) => {
                Err(HostKeyError::Refused { name, key: key.to_string(), why })
            }
            Err(e) => Err(HostKeyError::Verifier { name, source: Arc::from(e) }),
        }
    }
}

/// Seconds since 1970; a clock before that makes every certificate not yet valid.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
