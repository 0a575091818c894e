//! Key types, re-exported from one place.
//!
//! They come from the `ssh-key` crate (through `russh`), and are the only foreign SSH types in
//! this crate's public signatures.

pub use russh::keys::ssh_key::{
    Algorithm, Certificate, EcdsaCurve, Fingerprint, HashAlg, PrivateKey, PublicKey, certificate::CertType,
    public::KeyData,
};
