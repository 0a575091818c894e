//! Carries out a login (RFC 4252) on a session that has exchanged keys.
//!
//! Owns the conversation with the server: it asks the plan what is next, does it through russh, and tells
//! the plan what came of it. It does not decide the order, read files or know formats; `auth` does.

mod exchange;

use std::collections::HashSet;
use std::sync::Arc;

use russh::client::{Handle, Handler};

use self::exchange::{Ending, Reply};
use crate::auth::{
    Answer, AttemptOutcome, Auth, AuthAttempt, AuthError, AuthMethod, AuthStop, Conversation, KeyOffer,
    LeftOver, Listing, LoginSummary, PasswordRequest, Plan, RsaHashes, SessionBinding, Source, Step,
    list_keys,
};
use crate::wire::keys::HashAlg;

/// Logs `user` in, as `auth` describes.
///
/// Not cancel safe, and without a deadline of its own: a caller that drops the future, or gets an error,
/// must drop the handle too. After [`AuthError::ConnectionLost`] the handle, which is also a
/// future, has been awaited to its end and must not be awaited again.
///
/// For a lost connection to be told from a server that names no more methods, the handler's `disconnected`
/// must return the error that it is given, as the default one does.
pub(crate) async fn login<H: Handler + 'static>(
    handle: &mut Handle<H>,
    user: &str,
    auth: &Auth,
) -> Result<LoginSummary, AuthError> {
    auth.check(user)?;
    Login::new(handle, user, auth).run().await
}

struct Login<'a, H: Handler> {
    handle: &'a mut Handle<H>,
    user: &'a str,
    auth: &'a Auth,
    plan: Plan,
    /// The keys of each slot, once listed.
    offers: Vec<Vec<KeyOffer>>,
    /// The keyboard-interactive state of each slot.
    talks: Vec<Option<Conversation<'a>>>,
    /// What was offered already, from whichever slot.
    offered: HashSet<(Vec<u8>, Option<HashAlg>)>,
    rsa: Option<RsaHashes>,
    accepted: Vec<AuthMethod>,
    attempts: u32,
    tried: Vec<AuthAttempt>,
}

impl<'a, H: Handler + 'static> Login<'a, H> {
    fn new(handle: &'a mut Handle<H>, user: &'a str, auth: &'a Auth) -> Self {
        let talk = |source: &'a Source| match source {
            Source::Keyboard(how) => Some(Conversation::new(how)),
            _ => None,
        };
        Self {
            handle,
            user,
            auth,
            plan: Plan::new(auth.slots(), auth.limit()),
            offers: vec![Vec::new(); auth.sources().len()],
            talks: auth.sources().iter().map(talk).collect(),
            offered: HashSet::new(),
            rsa: None,
            accepted: Vec::new(),
            attempts: 0,
            tried: Vec::new(),
        }
    }

    async fn run(mut self) -> Result<LoginSummary, AuthError> {
        loop {
            let done = match self.plan.next_step() {
                Step::Probe => self.probe().await?,
                Step::List { slot } => {
                    self.list(slot).await?;
                    false
                }
                Step::Try { slot, item } => self.attempt(slot, item).await?,
                Step::Stop(stop) => return Err(self.refused(stop)),
            };
            if done {
                tracing::debug!(user = self.user, attempts = self.attempts, "logged in");
                let Self { accepted, attempts, tried, .. } = self;
                return Ok(LoginSummary::new(accepted, attempts, tried));
            }
        }
    }

    async fn probe(&mut self) -> Result<bool, AuthError> {
        let reply = exchange::none(self.handle, self.user).await;
        self.settle(AuthMethod::None, String::new(), reply).await
    }

    /// Finds the keys of a slot.
    async fn list(&mut self, slot: usize) -> Result<(), AuthError> {
        let Some(source) = self.auth.sources().get(slot) else { return Ok(()) };
        let binding = match source {
            Source::Agent { .. } => session_binding(self.handle),
            _ => None,
        };
        let keys = match list_keys(source, binding.as_ref()).await {
            Listing::Keys(keys) => keys,
            Listing::Unusable { with, why } => {
                self.record(AuthMethod::PublicKey, with, AttemptOutcome::Unusable(why));
                Vec::new()
            }
            Listing::Missing { why } => return Err(AuthError::Agent { problem: why }),
        };
        let offers = self.choose_hashes(keys).await?;
        self.plan.handle_listed(slot, offers.len());
        if let Some(place) = self.offers.get_mut(slot) {
            *place = offers;
        }
        Ok(())
    }

    /// Asks what the server takes of RSA, once and only if it matters: russh waits up to a second for
    /// servers that do not say.
    async fn choose_hashes(&mut self, keys: Vec<KeyOffer>) -> Result<Vec<KeyOffer>, AuthError> {
        if self.rsa.is_none() && keys.iter().any(KeyOffer::is_rsa) {
            match self.handle.best_supported_rsa_hash().await {
                Ok(None) => self.rsa = Some(RsaHashes::Unsaid),
                Ok(Some(Some(hash))) => self.rsa = Some(RsaHashes::Best(hash)),
                Ok(Some(None)) => self.rsa = Some(RsaHashes::Sha1Only),
                Err(_) => return Err(self.lost().await),
            }
        }
        let rsa = self.rsa.unwrap_or(RsaHashes::Unsaid);
        let mut offers = Vec::new();
        for key in keys {
            let with = key.describe();
            let hashed = key.with_hashes(rsa, self.auth.allows_rsa_sha1());
            if hashed.is_empty() {
                let why = "the server takes RSA signatures with SHA-1 only; use another kind of key";
                self.record(AuthMethod::PublicKey, with, AttemptOutcome::Unusable(why.into()));
            }
            offers.extend(hashed);
        }
        Ok(offers)
    }

    async fn attempt(&mut self, slot: usize, item: usize) -> Result<bool, AuthError> {
        match self.auth.sources().get(slot) {
            Some(Source::None) => self.probe().await,
            Some(Source::Password(secret)) => {
                let reply = exchange::password(self.handle, self.user, secret).await;
                self.settle(AuthMethod::Password, String::new(), reply).await
            }
            Some(Source::AskPassword(ask)) => {
                let number = u32::try_from(item).unwrap_or(u32::MAX).saturating_add(1);
                let reply = match ask(PasswordRequest::new(self.user, number)).await {
                    Some(secret) => exchange::password(self.handle, self.user, &secret).await,
                    None => Reply::Unusable("no password was given".into()),
                };
                self.settle(AuthMethod::Password, String::new(), reply).await
            }
            Some(Source::Keyboard(_)) => {
                let Some(Some(talk)) = self.talks.get_mut(slot) else { return Ok(false) };
                let reply = exchange::keyboard_interactive(self.handle, self.user, talk).await;
                self.settle(AuthMethod::KeyboardInteractive, String::new(), reply).await
            }
            _ => self.offer(slot, item).await,
        }
    }

    async fn offer(&mut self, slot: usize, item: usize) -> Result<bool, AuthError> {
        let offer = self.offers.get(slot).and_then(|offers| offers.get(item));
        let Some(offer) = offer.cloned() else { return Ok(false) };
        if !self.offered.insert(offer.identity()) {
            let why = "it was offered before".into();
            self.record(AuthMethod::PublicKey, offer.describe(), AttemptOutcome::Skipped(why));
            return Ok(false);
        }
        let reply = exchange::public_key(self.handle, self.user, &offer).await;
        self.settle(AuthMethod::PublicKey, offer.describe(), reply).await
    }

    /// Records what came of an attempt and tells the plan. True when logged in.
    async fn settle(&mut self, method: AuthMethod, with: String, reply: Reply) -> Result<bool, AuthError> {
        let (outcome, answer) = match reply {
            Reply::Success => {
                self.attempts += 1;
                self.accepted.push(method);
                self.record(method, with, AttemptOutcome::Accepted);
                return Ok(true);
            }
            Reply::Failure { methods, partial: true } => {
                self.attempts += 1;
                self.accepted.push(method);
                (AttemptOutcome::Partial, Answer::Partial(methods))
            }
            Reply::Failure { methods, partial: false } => {
                self.attempts += u32::from(method != AuthMethod::None);
                (AttemptOutcome::Refused, Answer::Refused(methods))
            }
            Reply::Unusable(why) => (AttemptOutcome::Unusable(why), Answer::Unusable),
            Reply::GaveUp { methods, why } => (AttemptOutcome::Unusable(why), Answer::GaveUp(methods)),
            Reply::RoundLimit(max) => {
                self.record(method, with, AttemptOutcome::Refused);
                return Err(self.refused(AuthStop::RoundLimit { max }));
            }
            Reply::NothingLeft => return Err(self.ended(method, with).await),
            Reply::Lost => return Err(self.lost().await),
        };
        // A first `none` that only asks for the methods is nothing to tell anybody.
        if !(method == AuthMethod::None && outcome == AttemptOutcome::Refused) || self.asked_for_none() {
            self.record(method, with, outcome);
        }
        self.plan.handle_answer(answer);
        Ok(false)
    }

    fn asked_for_none(&self) -> bool {
        self.auth.sources().iter().any(|source| matches!(source, Source::None))
    }

    fn record(&mut self, method: AuthMethod, with: String, outcome: AttemptOutcome) {
        let attempt = AuthAttempt::new(method, with, outcome);
        tracing::debug!(user = self.user, %attempt, "authentication");
        self.tried.push(attempt);
    }

    /// russh says "no method left" both when the server did and when the connection is gone.
    async fn ended(&mut self, method: AuthMethod, with: String) -> AuthError {
        match exchange::ending(self.handle).await {
            Ending::NoMethodsLeft => {
                self.record(method, with, AttemptOutcome::Refused);
                self.plan.handle_answer(Answer::Refused(Vec::new()));
                self.refused(AuthStop::NoMethodsLeft)
            }
            Ending::Lost(reason) => self.connection_lost(reason),
        }
    }

    async fn lost(&mut self) -> AuthError {
        match exchange::ending(self.handle).await {
            Ending::NoMethodsLeft => self.refused(AuthStop::NoMethodsLeft),
            Ending::Lost(reason) => self.connection_lost(reason),
        }
    }

    fn connection_lost(&mut self, reason: Arc<str>) -> AuthError {
        AuthError::ConnectionLost { reason, tried: std::mem::take(&mut self.tried) }
    }

    fn refused(&mut self, stop: AuthStop) -> AuthError {
        for (method, left) in self.plan.left_over() {
            let outcome = match left {
                LeftOver::NotOffered => AttemptOutcome::NotOffered,
                LeftOver::NotReached => AttemptOutcome::Skipped("its turn never came".into()),
                LeftOver::Keys(count) => {
                    AttemptOutcome::Skipped(format!("{count} more not offered, for want of attempts").into())
                }
            };
            self.record(method, String::new(), outcome);
        }
        AuthError::Refused {
            user: self.user.to_owned(),
            stop,
            tried: std::mem::take(&mut self.tried),
            wanted: self.plan.wanted().to_vec(),
        }
    }
}

/// What the key exchange left to bind agents to.
pub(crate) fn session_binding<H: Handler>(handle: &Handle<H>) -> Option<SessionBinding> {
    handle.agent_session_binding().map(|binding| SessionBinding {
        host_key: binding.host_key().to_vec(),
        session_id: binding.session_id().to_vec(),
        signature: binding.signature().to_vec(),
    })
}

#[cfg(test)]
mod openssh_tests;
#[cfg(test)]
mod scripted_tests;
#[cfg(test)]
mod test_support;
