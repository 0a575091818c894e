//! A private key that is ready to use, with its certificate if there is one.
//!
//! Files are read by tokio; decryption runs on the blocking pool.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;

use super::error::IdentityError;
use super::identity_file::{self, IdentityFile};
use super::key_file::{KeyFile, parse_certificate};
use super::passphrase::Passphrase;
use crate::wire::keys::{CertType, Certificate, HashAlg, PrivateKey, PublicKey};

/// A loaded private key, and the OpenSSH user certificate presented with it.
///
/// Cheap to clone. The key is wiped from memory when the last clone is dropped.
#[derive(Clone)]
pub struct Identity {
    key: Arc<PrivateKey>,
    certificate: Option<Arc<Certificate>>,
    source: Arc<str>,
}

impl Identity {
    /// Reads a key file: OpenSSH, PKCS#1, PKCS#8, SEC1 or PuTTY (PPK version 2 or 3), encrypted or not.
    ///
    /// A certificate in `PATH-cert.pub` is taken along, as OpenSSH does; one that does not fit the
    /// key is ignored with a warning in the log. To read the file only when a login comes to it, use
    /// [`IdentityFile`].
    ///
    /// Cancel safe: dropping the future leaves nothing behind but a finished read.
    ///
    /// # Errors
    /// [`IdentityError`], which names the file and the way out.
    pub async fn load(
        path: impl AsRef<Path>,
        passphrase: impl Into<Passphrase>,
    ) -> Result<Self, IdentityError> {
        IdentityFile::new(path.as_ref()).passphrase(passphrase).load().await
    }

    /// The same from bytes. Errors call it "the key given as bytes".
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn from_bytes(
        bytes: impl Into<Vec<u8>>,
        passphrase: impl Into<Passphrase>,
    ) -> Result<Self, IdentityError> {
        let label = "the key given as bytes";
        let bytes = Zeroizing::new(bytes.into());
        let file = KeyFile::parse(label, &bytes)?;
        let key = identity_file::decrypt(label, Arc::new(file), &passphrase.into()).await?;
        Ok(Self::new(key, label))
    }

    /// Uses a key that is in memory already.
    #[must_use]
    pub fn from_private_key(key: PrivateKey) -> Self {
        Self::new(key, "the key given")
    }

    pub(super) fn new(key: PrivateKey, source: &str) -> Self {
        Self { key: Arc::new(key), certificate: None, source: source.into() }
    }

    /// Presents the certificate in a file (as `ssh-keygen -s` writes it) with this key, instead of any other.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`IdentityError::Unreadable`], and [`IdentityError::Certificate`] if it is damaged, no user
    /// certificate, or made for another key.
    pub async fn with_certificate(self, path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let certificate = read_certificate(path.as_ref(), Some(self.public_key())).await?;
        Ok(self.and_certificate(certificate))
    }

    pub(super) fn and_certificate(self, certificate: Certificate) -> Self {
        Self { certificate: Some(Arc::new(certificate)), ..self }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// The certificate presented with it.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    pub(super) fn private_key(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.key)
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("source", &self.source)
            .field("public_key", &self.public_key().fingerprint(HashAlg::Sha256).to_string())
            .field("certificate", &self.certificate.as_ref().map(|c| c.key_id().to_owned()))
            .finish_non_exhaustive()
    }
}

/// Reads and checks a user certificate; `key`, where it is known already, is what it must certify.
pub(super) async fn read_certificate(
    path: &Path,
    key: Option<&PublicKey>,
) -> Result<Certificate, IdentityError> {
    let label = path.display().to_string();
    let bytes = identity_file::read(path).await?;
    let certificate = parse_certificate(&label, &bytes)?;
    let refuse =
        |reason: &str| Err(IdentityError::Certificate { path: label.clone(), reason: reason.into() });
    if certificate.cert_type() != CertType::User {
        return refuse("it certifies a host, not a user");
    }
    if key.is_some_and(|key| key.key_data() != certificate.public_key()) {
        return refuse("it was made for another key");
    }
    Ok(certificate)
}
