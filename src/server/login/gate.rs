//! The logins of one connection: what was passed, what was refused, and how long a refusal takes.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::attempt::{Contact, LoginAttempt};
use super::decision::{LoginDecision, LoginRefusal};
use super::interview::Conversation;
use super::logins::Logins;
use super::merge::both;
use super::penalties::Penalties;
use super::requirement::Requirement;
use super::stats::Counters;
use crate::auth::AuthMethod;
use crate::server::permissions::Permissions;
use crate::transport::gate::{Gatekeeper, Proof, Verdict};
use crate::transport::russh_server::Refusals;
use crate::wire::keys::KeyData;

/// So many requests of all kinds are answered on a connection, those that are no refusals included.
const MAX_REQUESTS: usize = 1024;
/// A longer name, in bytes, ends the connection.
const MAX_USER: usize = 1024;
/// So many characters of a name are logged.
const MAX_LOGGED: usize = 64;
/// A refused key takes this part of the delay: clients offer one after the other.
const KEY_PART: u32 = 20;

/// No delay is longer.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

mod weigh;

use weigh::Outcome;

/// What all gates of a daemon share.
#[derive(Clone)]
pub(in crate::server) struct GateSetup {
    logins: Arc<Logins>,
    required: Arc<Requirement>,
    max_refused: usize,
    penalties: Arc<Penalties>,
    counters: Arc<Counters>,
}

impl GateSetup {
    pub(in crate::server) fn new(
        logins: Logins,
        max_refused: usize,
        penalties: Arc<Penalties>,
        counters: Arc<Counters>,
    ) -> Result<Self, crate::error::ConfigError> {
        let required = Arc::new(logins.requirement()?);
        Ok(Self { logins: Arc::new(logins), required, max_refused, penalties, counters })
    }

    /// The methods a peer can begin with.
    pub(in crate::server) fn methods(&self) -> Vec<AuthMethod> {
        self.required.next(&[])
    }

    /// What the transport holds against refusals, also against those of which the gates never hear.
    pub(in crate::server) fn refusals(&self) -> Refusals {
        Refusals { most: self.max_refused, time: self.logins.delay / KEY_PART }
    }
}

/// Where the gate leaves what the login may do.
#[derive(Clone, Default)]
pub(in crate::server) struct Granted(Arc<Mutex<Option<Permissions>>>);

impl Granted {
    fn put(&self, permissions: Permissions) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(permissions);
    }

    /// What the login may do; nothing beyond the least, should there be none.
    pub(in crate::server) fn take(&self) -> Permissions {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(Permissions::none)
    }
}

/// The gate of one connection.
pub(in crate::server) struct Gate {
    setup: GateSetup,
    contact: Contact,
    user: Option<String>,
    /// Of this user.
    passed: Vec<AuthMethod>,
    /// Keys that have passed a step.
    spent: Vec<KeyData>,
    permissions: Permissions,
    conversation: Option<Conversation>,
    /// The peer was told to sign with a key, and has not proved yet that it can.
    signing: bool,
    requests: usize,
    refused: usize,
    /// Its address has paid for what was refused here.
    charged: bool,
    granted: Granted,
}

impl Gate {
    /// Also returns where the permissions will be.
    pub(in crate::server) fn new(setup: GateSetup, contact: Contact) -> (Self, Granted) {
        let granted = Granted::default();
        let gate = Self {
            setup,
            contact,
            user: None,
            passed: Vec::new(),
            spent: Vec::new(),
            permissions: Permissions::all(),
            conversation: None,
            signing: false,
            requests: 0,
            refused: 0,
            charged: false,
            granted: granted.clone(),
        };
        (gate, granted)
    }

    /// Another name begins from nothing; what was refused is not forgotten.
    fn identify(&mut self, user: &str) {
        if self.user.as_deref() != Some(user) {
            self.user = Some(user.to_owned());
            self.passed.clear();
            self.spent.clear();
            self.permissions = Permissions::all();
            self.conversation = None;
        }
    }

    fn attempt(&self, user: &str) -> LoginAttempt {
        LoginAttempt {
            user: user.to_owned(),
            peer: self.contact.peer,
            local: self.contact.local,
            client_version: self.contact.client_version.clone(),
            refused: self.refused,
            passed: self.passed.clone(),
        }
    }

    /// A step is passed.
    fn pass(
        &mut self,
        user: &str,
        method: AuthMethod,
        permissions: Permissions,
        key: Option<KeyData>,
    ) -> Result<Verdict, LoginRefusal> {
        self.permissions = both(self.permissions.clone(), permissions)?;
        self.passed.push(method);
        self.spent.extend(key);
        if self.setup.required.is_met(&self.passed) {
            self.setup.counters.accepted();
            self.granted.put(self.permissions.clone());
            self.charged = true;
            tracing::debug!(user = ?brief(user), %method, "login accepted");
            return Ok(Verdict::Welcome);
        }
        self.setup.counters.partial();
        tracing::debug!(user = ?brief(user), %method, "one step of the login is passed");
        Ok(Verdict::NotYet { next: self.setup.required.next(&self.passed), passed: true })
    }

    /// What follows from a refusal, but the delay.
    fn refuse(&mut self, user: &str, method: AuthMethod, why: &LoginRefusal, guess: bool) {
        tracing::info!(user = ?brief(user), %method, %why, "login refused");
        let attempt = self.attempt(user);
        self.refused = self.refused.saturating_add(1);
        self.setup.counters.refused();
        if self.refused == self.setup.max_refused {
            self.setup.counters.exhausted();
        }
        if guess {
            self.charge();
        }
        if let Some(hook) = &self.setup.logins.on_failed {
            let call = AssertUnwindSafe(|| hook(&attempt, method, why));
            if std::panic::catch_unwind(call).is_err() {
                tracing::error!("the hook for failed logins panicked");
            }
        }
    }

    fn charge(&mut self) {
        self.charged = true;
        if let Some(ip) = self.contact.ip() {
            self.setup.penalties.failed(ip);
        }
    }

    /// An interview that the peer has left; whether there was one.
    fn settle_interview(&mut self) -> bool {
        let left = self.conversation.take().is_some();
        if left {
            let user = self.user.clone().unwrap_or_default();
            self.refuse(&user, AuthMethod::KeyboardInteractive, &LoginRefusal::Unfinished, true);
        }
        left
    }

    /// A key that was to sign, and something else came: the signature was wrong, or there never was one. russh refuses a
    /// wrong one itself and tells nobody.
    fn settle_key(&mut self) {
        if std::mem::take(&mut self.signing) {
            let user = self.user.clone().unwrap_or_default();
            self.refuse(&user, AuthMethod::PublicKey, &LoginRefusal::NotProved, false);
        }
    }

    async fn verdict(&mut self, user: &str, proof: Proof) -> Verdict {
        let mut start = Instant::now();
        self.requests += 1;
        if self.requests > MAX_REQUESTS || user.len() > MAX_USER {
            return Verdict::End;
        }
        if matches!(proof, Proof::Key { .. } | Proof::Certificate(_)) {
            self.signing = false;
        }
        self.settle_key();
        let goes_on = matches!(proof, Proof::Answers(_)) && self.user.as_deref() == Some(user);
        if !goes_on && self.settle_interview() {
            sleep_a_multiple(start, self.setup.logins.delay).await;
            start = Instant::now();
        }
        self.identify(user);
        let (method, is_key) = match &proof {
            Proof::None => (AuthMethod::None, false),
            Proof::Password(_) => (AuthMethod::Password, false),
            Proof::OfferedKey { .. } | Proof::Key { .. } | Proof::Certificate(_) => {
                (AuthMethod::PublicKey, true)
            }
            Proof::Interview | Proof::Answers(_) => (AuthMethod::KeyboardInteractive, false),
        };
        let mut end = false;
        let why = match self.weigh(user, method, proof).await {
            Outcome::Sign => {
                self.signing = true;
                return Verdict::Sign;
            }
            Outcome::Ask(questions) => return Verdict::Ask(questions),
            Outcome::Decided(LoginDecision::Accept, key) => {
                match self.pass(user, method, Permissions::all(), key) {
                    Ok(verdict) => return verdict,
                    Err(why) => why,
                }
            }
            Outcome::Decided(LoginDecision::AcceptWith(permissions), key) => {
                match self.pass(user, method, permissions, key) {
                    Ok(verdict) => return verdict,
                    Err(why) => why,
                }
            }
            Outcome::Decided(LoginDecision::Reject, _) => LoginRefusal::Denied,
            Outcome::Decided(LoginDecision::Disconnect, _) => {
                end = true;
                LoginRefusal::Denied
            }
            Outcome::Refused(why) => why,
        };
        // Every client begins with the method none, to learn which ones there are: that is no attempt.
        if method != AuthMethod::None {
            self.refuse(user, method, &why, !is_key);
            let delay = self.setup.logins.delay;
            sleep_a_multiple(start, if is_key { delay / KEY_PART } else { delay }).await;
        }
        if end {
            return Verdict::End;
        }
        Verdict::NotYet { next: self.setup.required.next(&self.passed), passed: false }
    }
}

impl Drop for Gate {
    /// What was left off is refused; then a connection on which keys were refused, and nothing else came of it.
    fn drop(&mut self) {
        self.settle_key();
        self.settle_interview();
        if self.refused > 0 && !self.charged {
            self.charge();
        }
    }
}

impl Gatekeeper for Gate {
    fn greet(&mut self, client_version: String) -> Option<String> {
        self.contact.client_version = client_version;
        let banner = self.setup.logins.banner.as_ref()?;
        let call = AssertUnwindSafe(|| banner(&self.contact));
        std::panic::catch_unwind(call).unwrap_or_else(|_| {
            tracing::error!("the callback for the banner panicked; none is shown");
            None
        })
    }

    fn judge<'a>(&'a mut self, user: &'a str, proof: Proof) -> BoxFuture<'a, Verdict> {
        self.verdict(user, proof).boxed()
    }

    fn passed(&self) -> Vec<AuthMethod> {
        self.passed.clone()
    }
}

/// Waits until the delay since `start` is over; if it is already, until twice, four times, ... the delay is.
async fn sleep_a_multiple(start: Instant, delay: Duration) {
    let mut wait = delay;
    while !wait.is_zero() && wait < start.elapsed() {
        wait = wait.saturating_mul(2);
    }
    let end = start.checked_add(wait);
    tokio::time::sleep_until(end.unwrap_or_else(|| start + LONGEST_DELAY)).await;
}

/// Enough of a name for a line of a log.
fn brief(user: &str) -> &str {
    user.char_indices().nth(MAX_LOGGED).map_or(user, |(end, _)| user.get(..end).unwrap_or_default())
}

/// Runs users' code; a panic is a refusal.
pub(super) async fn guarded<T>(work: impl Future<Output = T> + Send) -> Result<T, LoginRefusal> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        tracing::error!("a login callback panicked; the login is refused");
        LoginRefusal::CallbackPanicked
    })
}

#[cfg(test)]
mod tests;
