//! What is in a key file: its format, whether it is encrypted, and the key itself.
//!
//! Works on bytes in memory and blocks while it derives keys; reading files and asking for passphrases
//! is done elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use super::error::IdentityError;
use super::pem::{self, Block, PemError};
use crate::wire::keys::{Certificate, KeyFileError, KeypairData, PrivateKey, PublicKey, decode_secret_key};

const CONVERT: &str = "convert the key with `ssh-keygen -p -f`, which writes the OpenSSH format";

/// A private key file, looked at but not yet decrypted.
pub(super) struct KeyFile {
    label: String,
    content: Content,
    public: Option<PublicKey>,
}

enum Content {
    /// `openssh-key-v1`; it carries its public key in the clear.
    OpenSsh(Box<PrivateKey>),
    /// PKCS#1 and SEC1 blocks, encrypted or not.
    Pem(Block),
    /// PKCS#8.
    Pkcs8 { block: Block, encrypted: bool },
    /// PuTTY's format, version 2 or 3; it carries its public key in the clear.
    Ppk { text: Zeroizing<String>, encrypted: bool },
}

impl KeyFile {
    /// Recognises the format. `label` names the file in errors.
    pub(super) fn parse(label: &str, bytes: &[u8]) -> Result<Self, IdentityError> {
        let unknown = |found: &str| IdentityError::UnknownFormat { path: label.into(), found: found.into() };
        let text = std::str::from_utf8(bytes).map_err(|_| unknown("binary data"))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with("PuTTY-User-Key-File-") {
            return Ok(Self::ppk(label, text));
        }
        match pem::find(text, |name| name.ends_with("PRIVATE KEY")) {
            Some(Ok(block)) => Self::from_block(label, block),
            Some(Err(e)) => Err(pem_error(label, e)),
            None if is_public(text) => Err(IdentityError::PublicKey { path: label.into() }),
            None if text.is_empty() => Err(unknown("the file is empty")),
            None => Err(unknown(text.lines().find_map(pem::begin_label).unwrap_or("no PEM block"))),
        }
    }

    fn from_block(label: &str, block: Block) -> Result<Self, IdentityError> {
        let content = match block.label.as_str() {
            "OPENSSH PRIVATE KEY" => {
                let key = PrivateKey::from_bytes(&block.data).map_err(|e| malformed(label, &e))?;
                Content::OpenSsh(Box::new(key))
            }
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" => Content::Pem(block),
            "PRIVATE KEY" => Content::Pkcs8 { block, encrypted: false },
            "ENCRYPTED PRIVATE KEY" => Content::Pkcs8 { block, encrypted: true },
            other => {
                let what = format!("a key of type {other:?}");
                return Err(unsupported(label, what, "make an Ed25519 key with `ssh-keygen -t ed25519`"));
            }
        };
        let public = match &content {
            Content::OpenSsh(key) => Some(key.public_key().clone()),
            _ => None,
        };
        Ok(Self { label: label.to_owned(), content, public })
    }

    fn ppk(label: &str, text: &str) -> Self {
        let mode = text.lines().find_map(|line| line.strip_prefix("Encryption: "));
        let encrypted = mode.is_some_and(|mode| mode.trim() != "none");
        let content = Content::Ppk { text: Zeroizing::new(text.to_owned()), encrypted };
        Self { label: label.to_owned(), content, public: ppk_public(text) }
    }

    /// The public key, if the format shows it without the passphrase.
    pub(super) fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    /// Whether a passphrase is needed.
    pub(super) fn is_encrypted(&self) -> bool {
        match &self.content {
            Content::OpenSsh(key) => key.is_encrypted(),
            Content::Pem(block) => block.dek_info.is_some(),
            Content::Pkcs8 { encrypted, .. } | Content::Ppk { encrypted, .. } => *encrypted,
        }
    }

    /// The private key. Slow on purpose for encrypted files: not for an async thread.
    pub(super) fn decrypt(&self, passphrase: Option<&SecretString>) -> Result<PrivateKey, IdentityError> {
        let secret = match passphrase {
            Some(secret) if self.is_encrypted() => Some(secret.expose_secret()),
            None if self.is_encrypted() => {
                return Err(IdentityError::PassphraseNeeded { path: self.label.clone() });
            }
            _ => None,
        };
        let key = match &self.content {
            Content::OpenSsh(key) => match secret {
                Some(secret) => key.decrypt(secret).map_err(|_| self.wrong_passphrase())?,
                None => (**key).clone(),
            },
            Content::Pem(block) => self.decrypt_pem(block, secret)?,
            Content::Pkcs8 { block, .. } => {
                let text = pem::to_text(&block.label, &block.data);
                decode_secret_key(&text, secret).map_err(|e| self.decode_error(&e, secret.is_some()))?
            }
            Content::Ppk { text, .. } => PrivateKey::from_ppk(text.as_str(), secret.map(str::to_owned))
                .map_err(|e| self.decode_error(&KeyFileError::SshKey(e), secret.is_some()))?,
        };
        self.check_usable(key)
    }

    fn decrypt_pem(&self, block: &Block, secret: Option<&str>) -> Result<PrivateKey, IdentityError> {
        let text = match (&block.dek_info, secret) {
            (Some(dek_info), Some(secret)) => {
                let plain = pem::decrypt(dek_info, &block.data, secret.as_bytes())
                    .map_err(|e| pem_error(&self.label, e))?;
                pem::to_text(&block.label, &plain)
            }
            _ => pem::to_text(&block.label, &block.data),
        };
        decode_secret_key(&text, None).map_err(|e| self.decode_error(&e, secret.is_some()))
    }

    /// Without authentication of the data, a wrong passphrase shows as nonsense of any kind.
    fn decode_error(&self, error: &KeyFileError, decrypted: bool) -> IdentityError {
        let debug = format!("{error:?}");
        // The last two are what PBES1, and PBES2 with an unknown cipher, come to.
        let scheme = [
            "UnsupportedAlgorithm",
            "UnsupportedEncryption",
            "UnsupportedKdf",
            "OidUnknown",
            "OBJECT IDENTIFIER",
        ];
        if decrypted && scheme.iter().any(|name| debug.contains(name)) {
            return unsupported(&self.label, format!("its encryption ({error})"), CONVERT);
        }
        if debug.contains("UnsupportedFormatVersion") {
            let fix = "save it again with a current PuTTYgen";
            return unsupported(&self.label, format!("its version of the PPK format ({error})"), fix);
        }
        match error {
            KeyFileError::UnknownAlgorithm(oid) => {
                unsupported(&self.label, format!("its algorithm ({oid})"), "use Ed25519, ECDSA or RSA")
            }
            _ if decrypted => self.wrong_passphrase(),
            other => malformed(&self.label, other),
        }
    }

    fn wrong_passphrase(&self) -> IdentityError {
        IdentityError::WrongPassphrase { path: self.label.clone() }
    }

    fn check_usable(&self, key: PrivateKey) -> Result<PrivateKey, IdentityError> {
        match key.key_data() {
            KeypairData::SkEd25519(_) | KeypairData::SkEcdsaSha2NistP256(_) => {
                let fix = "add it to an ssh-agent and use the agent";
                Err(unsupported(&self.label, "a hardware (FIDO) key".into(), fix))
            }
            KeypairData::Ed25519(_) | KeypairData::Ecdsa(_) | KeypairData::Rsa(_) => Ok(key),
            _ => {
                let what = format!("a key of type {}", key.algorithm());
                Err(unsupported(&self.label, what, "use an Ed25519, ECDSA or RSA key"))
            }
        }
    }
}

/// Decodes the one line of a `-cert.pub` file.
pub(super) fn parse_certificate(label: &str, bytes: &[u8]) -> Result<Certificate, IdentityError> {
    let bad = |reason: String| IdentityError::Certificate { path: label.to_owned(), reason };
    let text = std::str::from_utf8(bytes).map_err(|_| bad("binary data".into()))?;
    let mut words = text.split_whitespace();
    let (Some(algorithm), Some(encoded)) = (words.next(), words.next()) else {
        return Err(bad("not a line of type and base64".into()));
    };
    if !algorithm.ends_with("-cert-v01@openssh.com") {
        return Err(bad(format!("its type is {algorithm:?}, which is no certificate")));
    }
    let blob = STANDARD.decode(encoded).map_err(|_| bad("its base64 text cannot be decoded".into()))?;
    certificate_from_blob(&blob).ok_or_else(|| bad("it cannot be decoded".into()))
}

/// Decodes a certificate as it stands on the wire, refusing endless nesting.
pub(super) fn certificate_from_blob(blob: &[u8]) -> Option<Certificate> {
    if is_nested(blob) { None } else { Certificate::from_bytes(blob).ok() }
}

/// Decodes a public key as it stands on the wire, refusing endless nesting.
pub(super) fn public_from_blob(blob: &[u8]) -> Option<PublicKey> {
    if is_nested(blob) { None } else { PublicKey::from_bytes(blob).ok() }
}

/// The decoder recurses into a certificate's signing key without a limit, though that is never a certificate.
fn is_nested(blob: &[u8]) -> bool {
    const MARKER: &[u8] = b"-cert-v01@";
    blob.windows(MARKER.len()).filter(|window| *window == MARKER).count() > 4
}

fn ppk_public(text: &str) -> Option<PublicKey> {
    let mut lines = text.lines();
    let count: usize = lines.by_ref().find_map(|l| l.strip_prefix("Public-Lines: "))?.trim().parse().ok()?;
    let encoded: String = lines.take(count).map(str::trim).collect();
    public_from_blob(&STANDARD.decode(encoded).ok()?)
}

fn is_public(text: &str) -> bool {
    let pem = text.lines().find_map(pem::begin_label).is_some_and(|name| name.ends_with("PUBLIC KEY"));
    let one_line = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|p| text.starts_with(p));
    pem || one_line || text.starts_with("---- BEGIN SSH2 PUBLIC KEY ----")
}

fn pem_error(label: &str, error: PemError) -> IdentityError {
    match error {
        PemError::Malformed(reason) => malformed(label, &reason),
        PemError::Cipher(name) => unsupported(label, format!("its encryption ({name})"), CONVERT),
        PemError::Passphrase => IdentityError::WrongPassphrase { path: label.to_owned() },
    }
}

fn malformed(label: &str, reason: &impl ToString) -> IdentityError {
    IdentityError::Malformed { path: label.to_owned(), reason: reason.to_string() }
}

fn unsupported(label: &str, what: String, fix: &str) -> IdentityError {
    IdentityError::Unsupported { path: label.to_owned(), what, fix: fix.to_owned() }
}
