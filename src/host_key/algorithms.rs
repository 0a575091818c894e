//! In which order host key algorithms are offered (RFC 4253 section 7.1).
//!
//! Owns the order. The server takes the first it has, so what is known for the host comes first:
//! a server with several keys then presents the one that we can check.

use super::entry::Marker;
use super::known_hosts::KnownHosts;
use super::names::Host;
use crate::wire::keys::{Algorithm, EcdsaCurve, HashAlg};

/// OpenSSH's order; without SHA-1 and DSA.
const DEFAULT: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// The host key algorithms to offer, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostKeyAlgorithms {
    /// To be offered as certificates, ahead of all plain keys; empty if no line could tell anything
    /// about a certificate.
    pub certificates: Vec<Algorithm>,
    /// To be offered as plain keys.
    pub keys: Vec<Algorithm>,
}

/// The names of all we support, in the default order.
#[cfg(feature = "ssh-config")]
pub(crate) fn host_key_names() -> Vec<String> {
    DEFAULT.iter().map(|algorithm| algorithm.as_str().to_owned()).collect()
}

impl HostKeyAlgorithms {
    /// Everything we support, in the default order.
    pub(super) fn default_order() -> Vec<Algorithm> {
        DEFAULT.to_vec()
    }

    /// Follows what lines say of a host, keeping the given order otherwise.
    pub(super) fn for_host(known: &KnownHosts, host: &Host, base: &[Algorithm]) -> Self {
        let name = host.name();
        let names =
            if known.find(&name).next().is_some() { Some(name) } else { host.fallback().map(str::to_owned) };
        let about = |marker| {
            let lines = names.iter().flat_map(|name| known.find(name));
            lines.filter(move |entry| entry.marker == marker)
        };
        let has: Vec<Algorithm> = about(Marker::Plain).map(|entry| entry.key.algorithm()).collect();
        let certificates = if about(Marker::CertAuthority).next().is_some() {
            base.to_vec()
        } else if about(Marker::Revoked).next().is_some() {
            // A certificate shows whether its authority is revoked; a known key must not lose to it.
            let preferred: Vec<_> = base.iter().filter(|a| is_of_kind(a, &has)).cloned().collect();
            if preferred.is_empty() { base.to_vec() } else { preferred }
        } else {
            Vec::new()
        };
        Self { certificates, keys: prefer(base, &has) }
    }

    /// Puts the algorithms of the given keys first.
    pub(super) fn for_keys(has: &[Algorithm], base: &[Algorithm]) -> Self {
        Self { certificates: Vec::new(), keys: prefer(base, has) }
    }
}

/// Known ones first; unchanged if the first is known, as OpenSSH does.
fn prefer(base: &[Algorithm], has: &[Algorithm]) -> Vec<Algorithm> {
    if base.first().is_some_and(|best| is_of_kind(best, has)) {
        return base.to_vec();
    }
    let (mut first, last): (Vec<_>, Vec<_>) = base.iter().cloned().partition(|a| is_of_kind(a, has));
    first.extend(last);
    first
}

/// Whether one of the keys can sign with the algorithm; all RSA algorithms use the same keys.
fn is_of_kind(algorithm: &Algorithm, has: &[Algorithm]) -> bool {
    has.iter().any(|key| match (algorithm, key) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        (algorithm, key) => algorithm == key,
    })
}
