//! Keys that are trusted without known_hosts.
//!
//! Owns reading and comparing pins.

use std::fmt;
use std::str::FromStr;

use super::presented::PresentedKey;
use crate::error::ConfigError;
use crate::wire::keys::{Algorithm, Fingerprint, HashAlg, PublicKey};

/// A host key that is trusted: the key itself, or its fingerprint.
///
/// Reads what `ssh-keygen -l` and `ssh-keygen -y` print: `SHA256:...`, or a line
/// `ssh-ed25519 AAAA...`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostKeyPin {
    /// The whole key. Its algorithm is asked for first.
    Key(PublicKey),
    /// A fingerprint, SHA-256 or SHA-512.
    Fingerprint(Fingerprint),
}

impl HostKeyPin {
    /// Whether the key, or the key inside the certificate, is this one.
    pub(super) fn is(&self, key: &PresentedKey) -> bool {
        match self {
            Self::Key(pinned) => pinned.key_data() == key.key_data(),
            Self::Fingerprint(pinned) => *pinned == key.key_data().fingerprint(pinned.algorithm()),
        }
    }

    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Key(key) => Some(key.algorithm()),
            Self::Fingerprint(_) => None,
        }
    }
}

impl FromStr for HostKeyPin {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        if let Ok(fingerprint) = text.parse() {
            return Ok(Self::Fingerprint(fingerprint));
        }
        PublicKey::from_openssh(text).map(Self::Key).map_err(|e| {
            let fix = "give SHA256:... as `ssh-keygen -l` prints it, or a public key line";
            ConfigError::new("pin", format!("{text:?} is neither a fingerprint nor a public key ({e})"), fix)
        })
    }
}

impl From<PublicKey> for HostKeyPin {
    fn from(key: PublicKey) -> Self {
        Self::Key(key)
    }
}

impl From<Fingerprint> for HostKeyPin {
    fn from(fingerprint: Fingerprint) -> Self {
        Self::Fingerprint(fingerprint)
    }
}

/// The fingerprint; of a key, with SHA-256.
impl fmt::Display for HostKeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fingerprint(HashAlg::Sha256).fmt(f),
            Self::Fingerprint(fingerprint) => fingerprint.fmt(f),
        }
    }
}
