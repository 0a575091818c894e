//! Key types, re-exported from one place.
//!
//! They come from the `ssh-key` crate (through `russh`), and are the only foreign SSH types in
//! this crate's public signatures.

pub use russh::keys::ssh_key::{
    Algorithm, Certificate, EcdsaCurve, Fingerprint, HashAlg, PrivateKey, PublicKey, Signature,
    certificate::CertType, public::KeyData,
};

// What reading key files and signing need besides, for the crate only.
pub(crate) use russh::keys::{
    Error as KeyFileError, decode_secret_key,
    signature::Signer as SignBytes,
    ssh_key::{
        Cipher,
        private::{Ed25519Keypair, KeypairData},
    },
};

/// A new Ed25519 key: for tests, or as a daemon's first host key.
///
/// Clients remember a host key. A daemon that is to be recognised after a restart keeps its key in a file.
#[must_use]
pub fn generate_ed25519() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::random(&mut rand::rng()))
}
