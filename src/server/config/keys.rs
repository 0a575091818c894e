//! Keys by list, certificates, and the daemon's own.

use super::DaemonConfig;
use crate::error::ConfigError;
use crate::server::login::{AuthorizedKeys, LoginAttempt};
use crate::wire::keys::{CertType, Certificate, PrivateKey, PublicKey};

use std::future::Future;

/// # Keys and certificates
impl DaemonConfig {
    /// Adds a host key; at least one is needed. Of several, the client's preference decides by their algorithms.
    #[must_use]
    pub fn host_key(mut self, key: PrivateKey) -> Self {
        self.host_keys.push(key);
        self
    }

    /// Adds a certificate for a host key that was given or will be (PROTOCOL.certkeys). Clients that know its authority
    /// (`@cert-authority` in known_hosts) need not know the key; the others get the key alone.
    #[must_use]
    pub fn host_certificate(mut self, certificate: Certificate) -> Self {
        self.host_certificates.push(certificate);
        self
    }

    /// Adds keys that let users in, and authorities, by list. Lists are asked in order, after
    /// [`public_key`](Self::public_key); the first yes counts.
    #[must_use]
    pub fn authorized_keys(mut self, keys: AuthorizedKeys) -> Self {
        self.logins.authorized_keys.push(keys);
        self
    }

    /// Adds an authority whose user certificates let users in (PROTOCOL.certkeys).
    ///
    /// A certificate must be for users, within its validity, and name the user among its principals (see
    /// [`user_principals`](Self::user_principals)); one that names nobody is for nobody. `source-address` and
    /// `force-command` are enforced, other critical options are refused. What its extensions do not permit is not
    /// permitted.
    #[must_use]
    pub fn trusted_user_ca(mut self, key: &PublicKey) -> Self {
        self.logins.authorities.push(key.key_data().clone());
        self
    }

    /// Sets which principals of a certificate stand for a user, as OpenSSH's `AuthorizedPrincipalsFile`: one of those
    /// returned must be named. Default: the user's name. `cert-authority` lines of an authorized_keys file have
    /// `principals=` instead.
    #[must_use]
    pub fn user_principals<F>(
        mut self,
        principals: impl Fn(LoginAttempt) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        self.logins.set_principals(principals);
        self
    }

    /// Adds keys that let nobody in, whatever a callback, a list or a certificate says: users' keys, also inside
    /// certificates, and authorities.
    #[must_use]
    pub fn revoked_keys(mut self, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        self.logins.revoked.extend(keys.into_iter().map(|key| key.key_data().clone()));
        self
    }

    /// The part of [`check`](Self::check) that looks at the daemon's own keys.
    pub(super) fn check_host_keys(&self) -> Result<(), ConfigError> {
        if self.host_keys.is_empty() {
            return Err(ConfigError::new(
                "host_key",
                "none was given",
                "give one; `wire::keys::generate_ed25519()` makes one",
            ));
        }
        if let Some(key) = self.host_keys.iter().find(|key| key.is_encrypted()) {
            let problem = format!("the {} key is encrypted", key.algorithm());
            return Err(ConfigError::new("host_key", problem, "decrypt it first"));
        }
        for certificate in &self.host_certificates {
            let wrong = |problem: &str, fix: &str| {
                let problem = format!("the certificate {:?} {problem}", certificate.key_id());
                Err(ConfigError::new("host_certificate", problem, fix))
            };
            if certificate.cert_type() != CertType::Host {
                return wrong("is not for hosts", "sign the host key with `ssh-keygen -h`");
            }
            let is_its = |key: &PrivateKey| key.public_key().key_data() == certificate.public_key();
            if !self.host_keys.iter().any(is_its) {
                return wrong(
                    "is for another key than the host keys",
                    "give its private key as a host key, too",
                );
            }
        }
        Ok(())
    }
}
