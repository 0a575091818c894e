//! One line of a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
//!
//! Owns reading a line into an entry or a problem. Knows nothing of other lines.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::names::HostNames;
use crate::wire::keys::{Algorithm, Certificate, HashAlg, KeyData, PublicKey};

/// What every certificate type's name ends with.
const CERTIFICATE_SUFFIX: &str = "-cert-v01@openssh.com";

/// A line of a file; shown as `file:line`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KnownHostsLine {
    /// The file, as it was named to us.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for KnownHostsLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What a line says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Marker {
    /// No marker: the host has this key.
    Plain,
    /// `@cert-authority`: the key signs the host's certificates.
    CertAuthority,
    /// `@revoked`: the key must not be accepted, neither as a host's key nor as an authority.
    Revoked,
}

/// A readable line.
#[derive(Debug, Clone)]
pub struct KnownHostsEntry {
    pub(super) at: KnownHostsLine,
    pub(super) marker: Marker,
    pub(super) names: HostNames,
    pub(super) key: PublicKey,
}

impl KnownHostsEntry {
    /// Where it stands.
    #[must_use]
    pub const fn at(&self) -> &KnownHostsLine {
        &self.at
    }

    /// Its marker.
    #[must_use]
    pub const fn marker(&self) -> Marker {
        self.marker
    }

    /// Its key, without comment.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// `SHA256:...` of its key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Whether its host field is hashed.
    #[must_use]
    pub const fn is_hashed(&self) -> bool {
        self.names.is_hashed()
    }

    /// Whether it is about `name`, which is written `host`, or `[host]:port` if the port is not 22.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.names.matches(name)
    }

    pub(super) fn has_key(&self, key: &KeyData) -> bool {
        self.key.key_data() == key
    }
}

/// A line that cannot be read: where it is, and what is wrong with it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{at}: {what}; correct or remove the line")]
#[non_exhaustive]
pub struct KnownHostsProblem {
    /// Where it stands.
    pub at: KnownHostsLine,
    /// What is wrong.
    pub what: String,
    pub(super) revokes: Revokes,
}

/// For whom a line that cannot be read might revoke a key.
#[derive(Debug, Clone)]
pub(super) enum Revokes {
    Nobody,
    These(HostNames),
    Anybody,
}

impl KnownHostsProblem {
    /// Whether the line was meant to revoke a key; such a line refuses the hosts it names.
    #[must_use]
    pub const fn is_revocation(&self) -> bool {
        !matches!(self.revokes, Revokes::Nobody)
    }

    pub(super) fn may_revoke_for(&self, name: &str) -> bool {
        match &self.revokes {
            Revokes::Nobody => false,
            Revokes::These(names) => names.matches(name),
            Revokes::Anybody => true,
        }
    }
}

/// Reads a line; nothing for blanks and comments.
pub(super) fn parse_line(
    at: KnownHostsLine,
    line: &[u8],
) -> Result<Option<KnownHostsEntry>, KnownHostsProblem> {
    // Only the comment may be something else than ASCII, and is not kept.
    let text = String::from_utf8_lossy(line);
    let mut fields = text.split([' ', '\t', '\r']).filter(|field| !field.is_empty()).peekable();
    if fields.peek().is_none_or(|field| field.starts_with('#')) {
        return Ok(None);
    }
    let mut revokes = Revokes::Nobody;
    match parse_fields(&mut fields, &mut revokes) {
        Ok((marker, names, key)) => Ok(Some(KnownHostsEntry { at, marker, names, key })),
        Err(what) => Err(KnownHostsProblem { at, what, revokes }),
    }
}

fn parse_fields<'a>(
    fields: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    revokes: &mut Revokes,
) -> Result<(Marker, HostNames, PublicKey), String> {
    let mut markers = Vec::new();
    while let Some(marker) = fields.next_if(|field| field.starts_with('@')) {
        markers.push(marker);
    }
    if markers.iter().any(|marker| marker.eq_ignore_ascii_case("@revoked")) {
        *revokes = Revokes::Anybody;
    }
    let marker = match markers.as_slice() {
        [] => Marker::Plain,
        ["@cert-authority"] => Marker::CertAuthority,
        ["@revoked"] => Marker::Revoked,
        [unknown] => {
            return Err(format!("unknown marker {unknown:?}, known are @cert-authority and @revoked"));
        }
        _ => return Err("more than one marker".to_owned()),
    };
    let names = HostNames::parse(fields.next().unwrap_or_default())?;
    if marker == Marker::Revoked {
        *revokes = Revokes::These(names.clone());
    }
    let kind = fields.next().filter(|kind| !kind.starts_with('#')).ok_or("the key type is missing")?;
    let blob = fields.next().filter(|blob| !blob.starts_with('#')).ok_or("the key is missing")?;
    let key = parse_key(marker, kind, blob)?;
    Ok((marker, names, key))
}

fn parse_key(marker: Marker, kind: &str, blob: &str) -> Result<PublicKey, String> {
    let text = format!("{kind} {blob}");
    if kind.ends_with(CERTIFICATE_SUFFIX) {
        // Revoking a certificate revokes the key in it; anywhere else it says nothing.
        return match (marker, Certificate::from_openssh(&text)) {
            (Marker::Revoked, Ok(certificate)) => Ok(PublicKey::from(certificate.public_key().clone())),
            (_, Ok(_)) => Err("a certificate stands where a key is wanted".to_owned()),
            (_, Err(e)) => Err(format!("the certificate cannot be read: {e}")),
        };
    }
    match PublicKey::from_openssh(&text) {
        // Revoking a key of a type that we cannot meet is harmless; any other use hides a mistake.
        Ok(key) if matches!(key.algorithm(), Algorithm::Other(_)) && marker != Marker::Revoked => {
            Err(format!("unknown key type {kind:?}"))
        }
        Ok(key) => Ok(key),
        Err(e) => Err(format!("the {kind:?} key cannot be read: {e}")),
    }
}
