//! Whether a user certificate holds (PROTOCOL.certkeys), once its authority is trusted, and what it allows.
//!
//! Owns the checks of one certificate. Does not know who is trusted. russh has verified that the peer owns the key in
//! it, that its own signature fits the authority's key, and that it is within its validity; the last two are checked
//! here again, so that nothing depends on it.

use std::net::IpAddr;

use super::addresses::in_networks;
use crate::host_key::{SignatureProblem, check_signature};
use crate::server::permissions::Permissions;
use crate::wire::keys::{CertType, Certificate};

/// Why a certificate does not let a user in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateRefusal {
    /// Nobody trusts its authority.
    #[error("its authority {authority} is not trusted")]
    UnknownAuthority {
        /// `SHA256:...` of the authority's key.
        authority: String,
    },
    /// It is a host certificate.
    #[error("it is a host certificate")]
    NotForUsers,
    /// Its validity starts later.
    #[error("it is not valid before {0} (Unix time, seconds)")]
    NotYetValid(u64),
    /// Its validity has ended.
    #[error("it has expired at {0} (Unix time, seconds)")]
    Expired(u64),
    /// It names nobody; that does not mean everybody.
    #[error("it names no principals")]
    NoPrincipals,
    /// It is for others.
    #[error("it is for {}, not for this user", .0.join(", "))]
    WrongPrincipal(Vec<String>),
    /// The peer is not where it must be, or its address is not known.
    #[error("the peer is not within its source-address {0}")]
    WrongAddress(String),
    /// Its `source-address` cannot be read.
    #[error("its source-address {0}")]
    BadSourceAddress(String),
    /// It has critical options that this server cannot enforce.
    #[error("it has unknown critical options: {}", .0.join(", "))]
    CriticalOptions(Vec<String>),
    /// It is signed with an algorithm that is not accepted for authorities.
    #[error("it is signed with {0}")]
    SignatureAlgorithm(String),
    /// Its signature is wrong.
    #[error("its signature does not verify")]
    BadSignature,
}

const FORCE_COMMAND: &str = "force-command";
const SOURCE_ADDRESS: &str = "source-address";

/// Checks all but the authority. It must name one of `principals`. `now` is in seconds of Unix time.
pub(super) fn check(
    certificate: &Certificate,
    principals: &[String],
    peer: Option<IpAddr>,
    now: u64,
) -> Result<Permissions, CertificateRefusal> {
    if certificate.cert_type() != CertType::User {
        return Err(CertificateRefusal::NotForUsers);
    }
    if now < certificate.valid_after() {
        return Err(CertificateRefusal::NotYetValid(certificate.valid_after()));
    }
    if now >= certificate.valid_before() {
        return Err(CertificateRefusal::Expired(certificate.valid_before()));
    }
    let named = certificate.valid_principals();
    if named.is_empty() {
        return Err(CertificateRefusal::NoPrincipals);
    }
    if !named.iter().any(|name| principals.contains(name)) {
        return Err(CertificateRefusal::WrongPrincipal(named.to_vec()));
    }
    let critical = certificate.critical_options();
    let known = [FORCE_COMMAND, SOURCE_ADDRESS];
    let unknown: Vec<_> = critical.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
    if !unknown.is_empty() {
        return Err(CertificateRefusal::CriticalOptions(unknown));
    }
    if let Some(list) = critical.get(SOURCE_ADDRESS) {
        let inside = peer.map_or(Ok(false), |ip| in_networks(list, ip));
        if !inside.map_err(CertificateRefusal::BadSourceAddress)? {
            return Err(CertificateRefusal::WrongAddress(list.clone()));
        }
    }
    check_signature(certificate, now).map_err(|problem| match problem {
        SignatureProblem::Algorithm(name) => CertificateRefusal::SignatureAlgorithm(name),
        SignatureProblem::Wrong => CertificateRefusal::BadSignature,
    })?;
    Ok(permissions(certificate))
}

/// What is not among the extensions is not allowed.
fn permissions(certificate: &Certificate) -> Permissions {
    let has = |extension: &str| certificate.extensions().contains_key(extension);
    Permissions {
        force_command: certificate
            .critical_options()
            .get(FORCE_COMMAND)
            .map(|command| command.clone().into()),
        pty: has("permit-pty"),
        port_forwarding: has("permit-port-forwarding"),
        agent_forwarding: has("permit-agent-forwarding"),
        x11_forwarding: has("permit-X11-forwarding"),
        ..Permissions::none()
    }
}

#[cfg(test)]
mod tests;
