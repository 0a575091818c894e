//! What a server presents as its identity in the key exchange (RFC 4253 section 8).
//!
//! Owns the difference between keys and certificates. Decides nothing.

use std::fmt;

use crate::wire::keys::{Algorithm, Certificate, HashAlg, KeyData, PublicKey};

/// A host key or host certificate, as the server presented it. The server has proved that it holds
/// the private key; nothing else is checked yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PresentedKey {
    /// A plain public key.
    Key(PublicKey),
    /// An OpenSSH certificate (PROTOCOL.certkeys).
    Certificate(Box<Certificate>),
}

impl PresentedKey {
    /// The key: of a certificate, the one inside.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from(self.key_data().clone())
    }

    /// The key's algorithm; for a certificate, without its certificate suffix.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.key_data().algorithm()
    }

    /// `SHA256:...` of the key, as `ssh-keygen -l` prints it; of a certificate, of the key inside.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key_data().fingerprint(HashAlg::Sha256).to_string()
    }

    /// The certificate, if it is one.
    #[must_use]
    pub const fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Key(_) => None,
            Self::Certificate(certificate) => Some(certificate),
        }
    }

    pub(super) fn key_data(&self) -> &KeyData {
        match self {
            Self::Key(key) => key.key_data(),
            Self::Certificate(certificate) => certificate.public_key(),
        }
    }
}

impl From<PublicKey> for PresentedKey {
    fn from(key: PublicKey) -> Self {
        Self::Key(key)
    }
}

impl From<Certificate> for PresentedKey {
    fn from(certificate: Certificate) -> Self {
        Self::Certificate(Box::new(certificate))
    }
}

/// The algorithm and the fingerprint.
impl fmt::Display for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.certificate().is_some() { "certificate for the " } else { "" };
        write!(f, "{kind}{} key {}", self.algorithm(), self.fingerprint())
    }
}
