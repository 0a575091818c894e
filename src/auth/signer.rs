//! Keys that live elsewhere: a token, a key service, another process.

use futures::future::BoxFuture;

use crate::error::BoxError;
use crate::wire::keys::{Certificate, HashAlg, PublicKey, Signature};

/// A key pair whose private half this process does not hold.
///
/// Contract:
/// 1. [`public_key`](Self::public_key) and [`certificate`](Self::certificate) answer the same for the
///    whole login, and cheaply.
/// 2. The key is offered first; [`sign`](Self::sign) is called only if the server would accept it, at
///    most once per offer, with exactly the bytes to sign (RFC 4252 section 7).
/// 3. An error, or a signature of the wrong algorithm, ends this key's turn and the next method is tried;
///    the server does not count it.
/// 4. A signature that takes long holds up the login only; the login's deadline drops the future.
///
/// Right: ask the key service and wrap its answer with [`Signature::new`]. Wrong: hashing `data` first,
/// when the service hashes too.
///
/// ```
/// use futures::future::BoxFuture;
/// use ractor_ssh::auth::Signer;
/// use ractor_ssh::error::BoxError;
/// use ractor_ssh::wire::keys::{Algorithm, HashAlg, PublicKey, Signature};
///
/// struct Token { public: PublicKey }
///
/// impl Token {
///     async fn ed25519_sign(&self, _data: &[u8]) -> Result<[u8; 64], BoxError> {
///         Err("the token is not plugged in".into())
///     }
/// }
///
/// impl Signer for Token {
///     fn public_key(&self) -> &PublicKey {
///         &self.public
///     }
///
///     fn sign<'a>(
///         &'a self,
///         data: &'a [u8],
///         _hash: Option<HashAlg>,
///     ) -> BoxFuture<'a, Result<Signature, BoxError>> {
///         Box::pin(async move {
///             let raw = self.ed25519_sign(data).await?;
///             Ok(Signature::new(Algorithm::Ed25519, raw)?)
///         })
///     }
/// }
/// ```
pub trait Signer: Send + Sync {
    /// The public key. With a certificate, the key that it certifies.
    fn public_key(&self) -> &PublicKey;

    /// The OpenSSH user certificate to present; the bare key is offered after it.
    fn certificate(&self) -> Option<&Certificate> {
        None
    }

    /// Signs `data`.
    ///
    /// `hash` matters to RSA keys only: the signature must be `rsa-sha2-256` or `rsa-sha2-512` (RFC 8332)
    /// as it says, and `ssh-rsa` (SHA-1) for `None`, which never comes unless
    /// [`Auth::danger_allow_rsa_sha1`](super::Auth::danger_allow_rsa_sha1) was called.
    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        hash: Option<HashAlg>,
    ) -> BoxFuture<'a, Result<Signature, BoxError>>;
}
