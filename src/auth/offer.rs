//! The keys that a source has to offer, one by one, and how each of them signs.
//!
//! Reads files and asks agents; knows nothing of servers. What the server supports of RSA is told.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::agent::{Agent, AgentMode, SessionBinding};
use super::config::Source;
use super::identity::Identity;
use super::identity_file::{IdentityFile, public_key_of};
use super::signer::Signer;
use crate::error::BoxError;
use crate::wire::keys::{
    Algorithm, Certificate, Fingerprint, HashAlg, KeyData, KeypairData, PrivateKey, PublicKey, SignBytes,
    Signature,
};

/// What is shown to the server.
#[derive(Debug, Clone)]
pub(crate) enum OfferedKey {
    /// A bare key.
    PublicKey(Box<PublicKey>),
    /// A certificate.
    Certificate(Box<Certificate>),
}

impl OfferedKey {
    fn is_rsa(&self) -> bool {
        let algorithm = match self {
            Self::PublicKey(key) => key.algorithm(),
            Self::Certificate(certificate) => certificate.algorithm(),
        };
        matches!(algorithm, Algorithm::Rsa { .. })
    }

    fn describe(&self, source: &str) -> String {
        match self {
            Self::PublicKey(key) => format!("key {} ({source})", key.fingerprint(HashAlg::Sha256)),
            Self::Certificate(c) => {
                let key = Fingerprint::new(HashAlg::Sha256, c.public_key());
                format!("certificate {:?} of key {key} ({source})", c.key_id())
            }
        }
    }

    /// The key, or the one that is certified.
    fn key_data(&self) -> &KeyData {
        match self {
            Self::PublicKey(key) => key.key_data(),
            Self::Certificate(certificate) => certificate.public_key(),
        }
    }

    /// Equal for the same key or certificate, from wherever it comes.
    fn blob(&self) -> Vec<u8> {
        match self {
            Self::PublicKey(key) => key.to_bytes(),
            Self::Certificate(certificate) => certificate.to_bytes(),
        }
        .unwrap_or_default()
    }
}

/// How signatures are made.
#[derive(Clone)]
enum SignBy {
    Key(Arc<PrivateKey>),
    File(IdentityFile),
    Agent(Arc<Mutex<Agent>>, Arc<[u8]>),
    Signer(Arc<dyn Signer>),
}

/// A key to offer, with the hash for its signature.
#[derive(Clone)]
pub(crate) struct KeyOffer {
    pub(crate) key: OfferedKey,
    /// For RSA; always `None` for other keys.
    pub(crate) hash: Option<HashAlg>,
    source: Arc<str>,
    by: SignBy,
}

/// Which RSA signatures the server takes (RFC 8332, `server-sig-algs` of RFC 8308).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RsaHashes {
    /// It did not say: SHA-512 first, then SHA-256.
    Unsaid,
    /// Its best.
    Best(HashAlg),
    /// It named none with SHA-2.
    Sha1Only,
}

impl RsaHashes {
    fn to_try(self, allow_sha1: bool) -> Vec<Option<HashAlg>> {
        let sha1 = allow_sha1.then_some(None);
        match self {
            Self::Unsaid => [Some(Some(HashAlg::Sha512)), Some(Some(HashAlg::Sha256)), sha1]
                .into_iter()
                .flatten()
                .collect(),
            Self::Best(hash) => vec![Some(hash)],
            Self::Sha1Only => sha1.into_iter().collect(),
        }
    }
}

/// What a source has, or why it has nothing.
pub(crate) enum Listing {
    /// Keys, in the order they are to be offered.
    Keys(Vec<KeyOffer>),
    /// It cannot be used; the login goes on without it.
    Unusable { with: String, why: Arc<str> },
    /// It cannot be used and was required.
    Missing { why: Arc<str> },
}

/// Finds out what a source of keys has to offer. RSA keys come without a hash: see [`KeyOffer::with_hashes`].
pub(crate) async fn list_keys(source: &Source, binding: Option<&SessionBinding>) -> Listing {
    match source {
        Source::Identity(identity) => Listing::Keys(of_identity(identity)),
        Source::File(file) => of_file(file).await,
        Source::Signer(signer) => Listing::Keys(of_signer(signer)),
        Source::Agent { mode, socket, only } => {
            match of_agent(socket.as_deref(), only.as_deref(), binding).await {
                Ok(keys) => Listing::Keys(keys),
                Err(why) if *mode == AgentMode::Required => Listing::Missing { why: why.to_string().into() },
                Err(why) => Listing::Unusable { with: "the agent".into(), why: why.to_string().into() },
            }
        }
        Source::None | Source::Password(_) | Source::AskPassword(_) | Source::Keyboard(_) => {
            Listing::Keys(Vec::new())
        }
    }
}

fn of_identity(identity: &Identity) -> Vec<KeyOffer> {
    let by = SignBy::Key(identity.private_key());
    pair(identity.public_key(), identity.certificate(), identity.source(), &by)
}

async fn of_file(file: &IdentityFile) -> Listing {
    match file.offerable().await {
        Ok(found) => {
            let source = file.path().display().to_string();
            let by = SignBy::File(file.clone());
            Listing::Keys(pair(&found.public, found.certificate.as_ref(), &source, &by))
        }
        Err(error) => {
            let with = file.path().display().to_string();
            // The error names the file too; once is enough.
            let why = error.to_string();
            let why = why.strip_prefix(&format!("{with}: ")).unwrap_or(&why).into();
            Listing::Unusable { with, why }
        }
    }
}

fn of_signer(signer: &Arc<dyn Signer>) -> Vec<KeyOffer> {
    let by = SignBy::Signer(Arc::clone(signer));
    pair(signer.public_key(), signer.certificate(), "external signer", &by)
}

/// A certificate is offered before its bare key, as OpenSSH does.
fn pair(key: &PublicKey, certificate: Option<&Certificate>, source: &str, by: &SignBy) -> Vec<KeyOffer> {
    let bare = OfferedKey::PublicKey(Box::new(key.clone()));
    let certified = certificate.map(|c| OfferedKey::Certificate(Box::new(c.clone())));
    let offer = |key| KeyOffer { key, hash: None, source: source.into(), by: by.clone() };
    certified.into_iter().chain([bare]).map(offer).collect()
}

async fn of_agent(
    socket: Option<&Path>,
    only: Option<&[PathBuf]>,
    binding: Option<&SessionBinding>,
) -> Result<Vec<KeyOffer>, BoxError> {
    let mut agent = Agent::connect(socket).await?;
    if let Some(binding) = binding
        && let Err(error) = agent.bind(binding).await
    {
        tracing::debug!(%error, "the agent was not bound to this session");
    }
    let mut keys = agent.keys().await?;
    if let Some(files) = only {
        let mut named = Vec::new();
        for file in files {
            named.extend(public_key_of(file).await);
        }
        keys.retain(|held| named.iter().any(|key| key.key_data() == held.key.key_data()));
    }
    let agent = Arc::new(Mutex::new(agent));
    let offer = |key: super::agent::AgentKey| KeyOffer {
        source: format!("agent, {}", key.comment).into(),
        by: SignBy::Agent(Arc::clone(&agent), key.blob.into()),
        key: key.key,
        hash: None,
    };
    Ok(keys.into_iter().map(offer).collect())
}

impl KeyOffer {
    /// Whether what the server takes of RSA matters.
    pub(crate) fn is_rsa(&self) -> bool {
        self.key.is_rsa()
    }

    /// One offer for each hash to try; the offer itself if it is not RSA; none if nothing is allowed.
    pub(crate) fn with_hashes(self, rsa: RsaHashes, allow_sha1: bool) -> Vec<Self> {
        if !self.is_rsa() {
            return vec![self];
        }
        rsa.to_try(allow_sha1).into_iter().map(|hash| Self { hash, ..self.clone() }).collect()
    }

    /// What to call it in reports.
    pub(crate) fn describe(&self) -> String {
        let text = self.key.describe(&self.source);
        match self.hash {
            Some(HashAlg::Sha256) => format!("{text} by rsa-sha2-256"),
            Some(_) => format!("{text} by rsa-sha2-512"),
            None if self.is_rsa() => format!("{text} by ssh-rsa"),
            None => text,
        }
    }

    /// Equal for offers that the server cannot tell apart.
    pub(crate) fn identity(&self) -> (Vec<u8>, Option<HashAlg>) {
        (self.key.blob(), self.hash)
    }

    /// Signs; the answer is a signature blob (RFC 4253 section 6.6).
    pub(crate) async fn sign(&self, data: &[u8]) -> Result<Vec<u8>, BoxError> {
        match &self.by {
            SignBy::Key(key) => sign_with_key(key, data, self.hash),
            SignBy::File(file) => {
                let identity = file.load().await?;
                self.check_same(identity.public_key())?;
                sign_with_key(&identity.private_key(), data, self.hash)
            }
            SignBy::Agent(agent, blob) => Ok(agent.lock().await.sign(blob, data, self.hash).await?),
            SignBy::Signer(signer) => {
                let signature = signer.sign(data, self.hash).await?;
                self.check_algorithm(&signature)?;
                to_blob(signature)
            }
        }
    }

    /// The `.pub` file that was offered may belong to another key.
    fn check_same(&self, key: &PublicKey) -> Result<(), BoxError> {
        let offered = match &self.key {
            OfferedKey::PublicKey(offered) => offered.key_data(),
            OfferedKey::Certificate(certificate) => certificate.public_key(),
        };
        if offered == key.key_data() {
            return Ok(());
        }
        Err("the public key beside the file belongs to another key; write it again with `ssh-keygen -y`"
            .into())
    }

    fn check_algorithm(&self, signature: &Signature) -> Result<(), BoxError> {
        let wanted = match &self.key {
            OfferedKey::PublicKey(key) => key.algorithm(),
            OfferedKey::Certificate(certificate) => certificate.algorithm(),
        };
        let wanted = if self.is_rsa() { Algorithm::Rsa { hash: self.hash } } else { wanted };
        let found = signature.algorithm();
        if found == wanted {
            return Ok(());
        }
        Err(format!("the signer signed with {found} instead of {wanted}").into())
    }
}

impl fmt::Debug for KeyOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyOffer({})", self.describe())
    }
}

fn sign_with_key(key: &PrivateKey, data: &[u8], hash: Option<HashAlg>) -> Result<Vec<u8>, BoxError> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(rsa) => (rsa, hash).try_sign(data)?,
        other => other.try_sign(data)?,
    };
    to_blob(signature)
}

fn to_blob(signature: Signature) -> Result<Vec<u8>, BoxError> {
    Ok(Vec::try_from(signature)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_without_server_sig_algs_is_tried_with_sha512_then_sha256_and_with_sha1_only_if_allowed() {
        let (sha512, sha256) = (Some(HashAlg::Sha512), Some(HashAlg::Sha256));
        for (said, allow_sha1, expected) in [
            (RsaHashes::Unsaid, false, vec![sha512, sha256]),
            (RsaHashes::Unsaid, true, vec![sha512, sha256, None]),
            (RsaHashes::Best(HashAlg::Sha256), true, vec![sha256]),
            (RsaHashes::Sha1Only, false, vec![]),
            (RsaHashes::Sha1Only, true, vec![None]),
        ] {
            assert_eq!(said.to_try(allow_sha1), expected, "{said:?} {allow_sha1}");
        }
    }

    #[tokio::test]
    async fn a_public_file_of_another_key_is_noticed_before_anything_is_signed() {
        let key = || PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let text = key().to_openssh(Default::default()).unwrap();
        std::fs::write(&path, text.as_bytes()).unwrap();
        let offer = KeyOffer {
            key: OfferedKey::PublicKey(Box::new(key().public_key().clone())),
            hash: None,
            source: "key".into(),
            by: SignBy::File(IdentityFile::new(path)),
        };
        assert!(offer.sign(b"data").await.unwrap_err().to_string().contains("another key"));
    }
}
