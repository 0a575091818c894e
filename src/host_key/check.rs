//! The decision: what known_hosts says of a host and the key it presents.
//!
//! Owns the order in which lines are asked; it is a pure function of lines, key and time. Does not
//! know what a policy makes of the answer.

use std::fmt;

use super::certificate::{self, CertificateProblem};
use super::entry::{KnownHostsEntry, KnownHostsLine, KnownHostsProblem, Marker};
use super::error::HostKeyError;
use super::known_hosts::KnownHosts;
use super::names::Host;
use super::presented::PresentedKey;
use crate::wire::keys::{Algorithm, Certificate, HashAlg, KeyData};

/// What known_hosts says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// A line has this very key.
    Known(KnownHostsLine),
    /// An `@cert-authority` line has the authority of the certificate, which is valid.
    Certified(KnownHostsLine),
    /// No line is about this host.
    New,
    /// The lines for this host have other keys.
    Changed(Vec<KnownKey>),
    /// An `@revoked` line has the key, the key inside the certificate, or the certificate's authority.
    Revoked(KnownHostsLine),
    /// An `@cert-authority` line is about this host, and the certificate is not good.
    CertificateInvalid {
        /// The line: the one with the certificate's authority, or else the first.
        at: KnownHostsLine,
        /// What is wrong with the certificate.
        why: CertificateProblem,
    },
}

/// A key that a line has for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownKey {
    /// The line.
    pub at: KnownHostsLine,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// `SHA256:...` of the key.
    pub fingerprint: String,
}

impl KnownKey {
    fn new(entry: &KnownHostsEntry) -> Self {
        Self { at: entry.at.clone(), algorithm: entry.key.algorithm(), fingerprint: entry.fingerprint() }
    }
}

impl fmt::Display for KnownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in {}", self.algorithm, self.fingerprint, self.at)
    }
}

impl KnownHosts {
    /// What these lines say of the key that a host presents. `now` is in seconds of Unix time, for
    /// the validity of certificates.
    ///
    /// `host` is the name or address that was asked for, in any case. If `[host]:port` is not known,
    /// a line for plain `host` with this very key or authority will do, as for OpenSSH.
    ///
    /// # Errors
    /// [`HostKeyError::Config`] if `host` or `port` cannot be one; [`HostKeyError::Malformed`] if an
    /// `@revoked` line cannot be read that is, or may be, about this host.
    pub fn check(
        &self,
        host: &str,
        port: u16,
        key: &PresentedKey,
        now: u64,
    ) -> Result<Verdict, HostKeyError> {
        let host = Host::new(host, port)?;
        match self.unreadable_revocation(&host) {
            Some(problem) => Err(HostKeyError::Malformed(KnownHostsProblem::clone(problem))),
            None => Ok(self.judge(&host, key, now)),
        }
    }

    pub(super) fn judge(&self, host: &Host, key: &PresentedKey, now: u64) -> Verdict {
        let exact = Lines::about(self, &host.name());
        let bare = host.fallback().map(|name| Lines::about(self, name)).unwrap_or_default();
        if let Some(at) = exact.revoking(key).or_else(|| bare.revoking(key)) {
            return Verdict::Revoked(at.clone());
        }
        let plain = exact.plain(key.key_data());
        if let Some(certificate) = key.certificate() {
            if let Some(verdict) = exact.certified(certificate, host, now) {
                return verdict;
            }
            match bare.certified(certificate, host, now) {
                Some(verdict @ Verdict::Certified(_)) => return verdict,
                Some(verdict) if !matches!(plain, Verdict::Known(_)) => return verdict,
                _ => {}
            }
        }
        match (plain, bare.plain(key.key_data())) {
            (Verdict::New, known @ Verdict::Known(_)) => known,
            (verdict, _) => verdict,
        }
    }
}

/// The lines about one name.
#[derive(Default)]
struct Lines<'a>(Vec<&'a KnownHostsEntry>);

impl<'a> Lines<'a> {
    fn about(known: &'a KnownHosts, name: &str) -> Self {
        Self(known.find(name).collect())
    }

    fn with(&self, marker: Marker) -> impl Iterator<Item = &'a KnownHostsEntry> {
        self.0.iter().copied().filter(move |entry| entry.marker == marker)
    }

    /// A line that revokes the key, or the authority that signed it.
    fn revoking(&self, key: &PresentedKey) -> Option<&'a KnownHostsLine> {
        let authority = key.certificate().map(Certificate::signature_key);
        self.with(Marker::Revoked)
            .find(|entry| entry.has_key(key.key_data()) || authority.is_some_and(|ca| entry.has_key(ca)))
            .map(KnownHostsEntry::at)
    }

    /// What the `@cert-authority` lines say; nothing if there are none.
    fn certified(&self, certificate: &Certificate, host: &Host, now: u64) -> Option<Verdict> {
        let first = self.with(Marker::CertAuthority).next()?;
        let authority = certificate.signature_key();
        let Some(entry) = self.with(Marker::CertAuthority).find(|entry| entry.has_key(authority)) else {
            let authority = authority.fingerprint(HashAlg::Sha256).to_string();
            let why = CertificateProblem::UnknownAuthority { authority };
            return Some(Verdict::CertificateInvalid { at: first.at.clone(), why });
        };
        Some(match certificate::validate(certificate, host.bare(), now) {
            Ok(()) => Verdict::Certified(entry.at.clone()),
            Err(why) => Verdict::CertificateInvalid { at: entry.at.clone(), why },
        })
    }

    /// What the lines without marker say. As for OpenSSH, a host that has keys of other types only
    /// has changed, too.
    fn plain(&self, key: &KeyData) -> Verdict {
        if let Some(entry) = self.with(Marker::Plain).find(|entry| entry.has_key(key)) {
            return Verdict::Known(entry.at.clone());
        }
        let known: Vec<KnownKey> = self.with(Marker::Plain).map(KnownKey::new).collect();
        if known.is_empty() { Verdict::New } else { Verdict::Changed(known) }
    }
}
