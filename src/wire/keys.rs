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
    ssh_key::{Cipher, private::KeypairData},
};
