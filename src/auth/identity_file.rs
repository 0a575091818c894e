//! A key file that is read when a login comes to it, and decrypted when the server has asked for a signature.
//!
//! Owns the reading of key and certificate files and the asking for passphrases.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::OnceCell;

use super::error::IdentityError;
use super::identity::{Identity, read_certificate};
use super::key_file::KeyFile;
use super::passphrase::Passphrase;
use crate::wire::keys::{Certificate, PrivateKey, PublicKey};

/// Key files are a few KiB; anything longer is something else.
const MAX_FILE: u64 = 1 << 20;

/// A key file to be used in a login, not read yet.
///
/// Where the format shows the public key without the passphrase (OpenSSH and PPK do; for others a
/// `PATH.pub` beside it will do), that is offered first, and the passphrase is asked for only if the
/// server would accept the key. A key once decrypted is kept for as long as a clone of this value
/// lives, so that a reconnect does not ask again.
#[derive(Clone)]
pub struct IdentityFile {
    path: PathBuf,
    passphrase: Passphrase,
    certificate: Option<PathBuf>,
    loaded: Arc<OnceCell<Identity>>,
}

/// What can be offered of a key file before it is decrypted.
pub(super) struct Offerable {
    pub(super) public: PublicKey,
    pub(super) certificate: Option<Certificate>,
}

impl IdentityFile {
    /// Names the file; it is not touched yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            passphrase: Passphrase::none(),
            certificate: None,
            loaded: Arc::new(OnceCell::new()),
        }
    }

    /// The passphrase, or whom to ask for it. Default: none.
    #[must_use]
    pub fn passphrase(mut self, passphrase: impl Into<Passphrase>) -> Self {
        self.passphrase = passphrase.into();
        self.loaded = Arc::new(OnceCell::new());
        self
    }

    /// The certificate to present with it. Default: `PATH-cert.pub`, if that exists.
    #[must_use]
    pub fn certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificate = Some(path.into());
        self.loaded = Arc::new(OnceCell::new());
        self
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and decrypts it now. A second call returns what the first one loaded.
    ///
    /// Cancel safe; a passphrase callback under way is dropped.
    ///
    /// # Errors
    /// [`IdentityError`], which names the file and the way out. Errors are not kept.
    pub async fn load(&self) -> Result<Identity, IdentityError> {
        self.loaded.get_or_try_init(|| self.load_now()).await.cloned()
    }

    async fn load_now(&self) -> Result<Identity, IdentityError> {
        let label = self.path.display().to_string();
        let file = self.parse().await?;
        let key = decrypt(&label, Arc::new(file), &self.passphrase).await?;
        let certificate = self.find_certificate(Some(key.public_key())).await?;
        let identity = Identity::new(key, &label);
        Ok(match certificate {
            Some(certificate) => identity.and_certificate(certificate),
            None => identity,
        })
    }

    /// What to offer. Decrypts only if the public key cannot be had otherwise.
    pub(super) async fn offerable(&self) -> Result<Offerable, IdentityError> {
        let shown = match self.loaded.get() {
            Some(_) => None,
            None => self.public_without_passphrase().await?,
        };
        match shown {
            Some(public) => {
                let certificate = self.find_certificate(Some(&public)).await?;
                Ok(Offerable { public, certificate })
            }
            None => {
                let identity = self.load().await?;
                let certificate = identity.certificate().cloned();
                Ok(Offerable { public: identity.public_key().clone(), certificate })
            }
        }
    }

    async fn public_without_passphrase(&self) -> Result<Option<PublicKey>, IdentityError> {
        let file = self.parse().await?;
        if !file.is_encrypted() {
            return Ok(None);
        }
        if let Some(public) = file.public() {
            return Ok(Some(public.clone()));
        }
        Ok(public_line(&with_suffix(&self.path, ".pub")).await)
    }

    async fn parse(&self) -> Result<KeyFile, IdentityError> {
        KeyFile::parse(&self.path.display().to_string(), &read(&self.path).await?)
    }

    async fn find_certificate(&self, key: Option<&PublicKey>) -> Result<Option<Certificate>, IdentityError> {
        if let Some(path) = &self.certificate {
            return read_certificate(path, key).await.map(Some);
        }
        let beside = with_suffix(&self.path, "-cert.pub");
        match read_certificate(&beside, key).await {
            Ok(certificate) => Ok(Some(certificate)),
            Err(IdentityError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate beside the key is ignored");
                Ok(None)
            }
        }
    }
}

impl fmt::Debug for IdentityFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityFile")
            .field("path", &self.path)
            .field("passphrase", &self.passphrase)
            .field("certificate", &self.certificate)
            .field("loaded", &self.loaded.initialized())
            .finish()
    }
}

/// The public key that a file of a public or private key shows without a passphrase, or the `.pub` file beside it.
pub(super) async fn public_key_of(path: &Path) -> Option<PublicKey> {
    if let Some(public) = public_line(path).await {
        return Some(public);
    }
    if let Some(public) = public_line(&with_suffix(path, ".pub")).await {
        return Some(public);
    }
    let file = KeyFile::parse(&path.display().to_string(), &read(path).await.ok()?).ok()?;
    match file.public() {
        Some(public) => Some(public.clone()),
        None if file.is_encrypted() => None,
        None => file.decrypt(None).ok().map(|key| key.public_key().clone()),
    }
}

/// The public key in a file of one line, if it is one.
async fn public_line(path: &Path) -> Option<PublicKey> {
    let bytes = read(path).await.ok()?;
    PublicKey::from_openssh(std::str::from_utf8(&bytes).ok()?.trim()).ok()
}

/// Reads a small file whole, into memory that is wiped.
pub(super) async fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let unreadable = |source| IdentityError::Unreadable { path: path.display().to_string(), source };
    // Room for a whole key file, so that growing does not leave unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let file = File::open(path).await.map_err(unreadable)?;
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_FILE {
        let found = "longer than 1 MiB".to_owned();
        return Err(IdentityError::UnknownFormat { path: path.display().to_string(), found });
    }
    Ok(bytes)
}

/// Decrypts on the blocking pool, asking for the passphrase as long as that makes sense.
pub(super) async fn decrypt(
    label: &str,
    file: Arc<KeyFile>,
    passphrase: &Passphrase,
) -> Result<PrivateKey, IdentityError> {
    if !file.is_encrypted() {
        return file.decrypt(None);
    }
    let mut outcome = Err(IdentityError::PassphraseNeeded { path: label.to_owned() });
    for attempt in 1..=Passphrase::MAX_ASKS {
        let Some(secret) = passphrase.get(label, attempt).await else { return outcome };
        let file = Arc::clone(&file);
        let decrypted = tokio::task::spawn_blocking(move || file.decrypt(Some(&secret))).await;
        outcome = decrypted.unwrap_or_else(|e| {
            Err(IdentityError::Malformed { path: label.to_owned(), reason: e.to_string() })
        });
        if !matches!(outcome, Err(IdentityError::WrongPassphrase { .. })) {
            return outcome;
        }
    }
    outcome
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
