//! Whether a host certificate holds (PROTOCOL.certkeys), once its authority is trusted.
//!
//! Owns the checks of one certificate. Does not know who is trusted.

use super::names::glob;
use crate::wire::keys::{Algorithm, CertType, Certificate, HashAlg, KeyData};

/// Why a certificate is not good for a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Its authority is not one of the host's `@cert-authority` lines.
    #[error(
        "it is signed by {authority}, which no @cert-authority line for this host names; \
         add a line for that authority, or take the host out of the others with \"!host\""
    )]
    UnknownAuthority {
        /// `SHA256:...` of the authority's key.
        authority: String,
    },
    /// It is a user certificate.
    #[error("it is a user certificate, not a host certificate")]
    NotForHosts,
    /// Its validity starts later.
    #[error("it is not valid before {} (Unix time, seconds); compare the clocks", .0)]
    NotYetValid(u64),
    /// Its validity has ended.
    #[error("it has expired at {} (Unix time, seconds); the host needs a new one", .0)]
    Expired(u64),
    /// It names no host at all, which once meant any host, and since OpenSSH 10.3 means none.
    #[error("it names no hosts; sign it for some, with `ssh-keygen -n`")]
    NoPrincipals,
    /// It is for other hosts.
    #[error("it is for {}, not for this host", .0.join(", "))]
    WrongPrincipal(Vec<String>),
    /// It has critical options; none are defined for hosts.
    #[error("it has unknown critical options: {}", .0.join(", "))]
    CriticalOptions(Vec<String>),
    /// It is signed with an algorithm that is not accepted for authorities.
    #[error("it is signed with {}; sign it with Ed25519, ECDSA, or RSA with SHA-2", .0)]
    SignatureAlgorithm(String),
    /// Its signature is wrong.
    #[error("its signature does not verify")]
    BadSignature,
}

/// Checks all but the authority. `now` is in seconds of Unix time.
pub(super) fn validate(certificate: &Certificate, host: &str, now: u64) -> Result<(), CertificateProblem> {
    if certificate.cert_type() != CertType::Host {
        return Err(CertificateProblem::NotForHosts);
    }
    if now < certificate.valid_after() {
        return Err(CertificateProblem::NotYetValid(certificate.valid_after()));
    }
    if now >= certificate.valid_before() {
        return Err(CertificateProblem::Expired(certificate.valid_before()));
    }
    let principals = certificate.valid_principals();
    if principals.is_empty() {
        return Err(CertificateProblem::NoPrincipals);
    }
    // Wildcards are OpenSSH's since 10.3, for host certificates only.
    if !principals.iter().any(|principal| glob(principal, host)) {
        return Err(CertificateProblem::WrongPrincipal(principals.to_vec()));
    }
    if !certificate.critical_options().is_empty() {
        let names = certificate.critical_options().keys().cloned().collect();
        return Err(CertificateProblem::CriticalOptions(names));
    }
    check_signature(certificate, now).map_err(|problem| match problem {
        SignatureProblem::Algorithm(name) => CertificateProblem::SignatureAlgorithm(name),
        SignatureProblem::Wrong => CertificateProblem::BadSignature,
    })
}

/// What is wrong with the signature of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SignatureProblem {
    /// Its algorithm does not fit the authority's key, or is not accepted.
    Algorithm(String),
    /// It does not verify.
    Wrong,
}

/// Checks the signature that the named authority has put under a certificate that is valid `now`.
pub(crate) fn check_signature(certificate: &Certificate, now: u64) -> Result<(), SignatureProblem> {
    let signed_with = certificate.signature().algorithm();
    let fits = match certificate.signature_key() {
        KeyData::Rsa(_) => matches!(signed_with, Algorithm::Rsa { hash: Some(_) }),
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            signed_with == certificate.signature_key().algorithm()
        }
        _ => false,
    };
    if !fits {
        return Err(SignatureProblem::Algorithm(signed_with.as_str().to_owned()));
    }
    // The time is checked before; what is left for this call to refuse is the signature.
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    certificate.validate_at(now, [&authority]).map_err(|_| SignatureProblem::Wrong)
}
