//! Keys and certificates: everybody who may know them is asked.

use std::time::{SystemTime, UNIX_EPOCH};

use super::attempt::LoginAttempt;
use super::authorized_keys::{Asking, Shown};
use super::certificate::{self, CertificateRefusal};
use super::decision::{LoginDecision, LoginRefusal};
use super::gate::guarded;
use super::logins::Logins;
use crate::wire::keys::{Algorithm, Certificate, HashAlg, PublicKey};

/// What is known about an offered key.
pub(super) enum Offer {
    /// It would let the user in.
    Known,
    /// It would not, but a certificate with it might.
    Perhaps,
    /// It would not.
    No(LoginRefusal),
    /// The connection is to end.
    Disconnect,
}

/// RSA with SHA-1.
pub(super) fn is_sha1(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { hash: None })
}

impl Logins {
    /// Asks about a key, and whether certificates could be trusted.
    async fn ask(
        &self,
        attempt: &LoginAttempt,
        key: &PublicKey,
    ) -> (Result<LoginDecision, LoginRefusal>, bool) {
        let mut authorities = !self.authorities.is_empty();
        let mut refusal = LoginRefusal::Denied;
        if let Some(decide) = &self.public_key {
            let decide = decide.clone();
            let (attempt, key) = (attempt.clone(), key.clone());
            match guarded(async move { decide(attempt, key).await }).await {
                Ok(LoginDecision::Reject) => {}
                Err(problem) => refusal = problem,
                Ok(decision) => return (Ok(decision), authorities),
            }
        }
        for list in &self.authorized_keys {
            let found = list.look_up(&asking(attempt), &Shown::Key(key.key_data())).await;
            authorities |= found.authorities;
            match found.answer {
                Some(Ok(permissions)) => return (Ok(LoginDecision::AcceptWith(permissions)), authorities),
                Some(Err(problem)) => refusal = problem,
                None => {}
            }
        }
        (Err(refusal), authorities)
    }

    /// A key that the peer may own.
    pub(super) async fn offered(&self, attempt: &LoginAttempt, key: &PublicKey) -> Offer {
        if self.revoked.contains(key.key_data()) {
            return Offer::No(LoginRefusal::Revoked);
        }
        match self.ask(attempt, key).await {
            (Ok(LoginDecision::Disconnect), _) => Offer::Disconnect,
            (Ok(_), _) => Offer::Known,
            (Err(_), true) => Offer::Perhaps,
            (Err(refusal), false) => Offer::No(refusal),
        }
    }

    /// A key that the peer owns.
    pub(super) async fn key(
        &self,
        attempt: &LoginAttempt,
        key: &PublicKey,
    ) -> Result<LoginDecision, LoginRefusal> {
        if self.revoked.contains(key.key_data()) {
            return Err(LoginRefusal::Revoked);
        }
        self.ask(attempt, key).await.0
    }

    /// A certificate whose key the peer owns.
    pub(super) async fn certificate(
        &self,
        attempt: &LoginAttempt,
        certificate: &Certificate,
    ) -> Result<LoginDecision, LoginRefusal> {
        if self
            .revoked
            .iter()
            .any(|key| key == certificate.public_key() || key == certificate.signature_key())
        {
            return Err(LoginRefusal::Revoked);
        }
        let asking = asking(attempt);
        let mut refusal = None;
        if self.authorities.contains(certificate.signature_key()) {
            let principals = match &self.principals {
                Some(principals) => {
                    let (principals, attempt) = (principals.clone(), attempt.clone());
                    guarded(async move { principals(attempt).await }).await?
                }
                None => vec![attempt.user.clone()],
            };
            match certificate::check(certificate, &principals, asking.ip, asking.now) {
                Ok(permissions) => return Ok(LoginDecision::AcceptWith(permissions)),
                Err(problem) => refusal = Some(problem.into()),
            }
        }
        for list in &self.authorized_keys {
            match list.look_up(&asking, &Shown::Certificate(certificate)).await.answer {
                Some(Ok(permissions)) => return Ok(LoginDecision::AcceptWith(permissions)),
                Some(Err(problem)) => refusal = Some(problem),
                None => {}
            }
        }
        Err(refusal.unwrap_or_else(|| {
            let authority = certificate.signature_key().fingerprint(HashAlg::Sha256).to_string();
            CertificateRefusal::UnknownAuthority { authority }.into()
        }))
    }
}

fn asking(attempt: &LoginAttempt) -> Asking<'_> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Asking { user: &attempt.user, ip: attempt.peer.map(|peer| peer.ip()), now }
}
