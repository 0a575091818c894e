//! The configuration of logins: callbacks, lists, what is required.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;

use super::attempt::{Contact, LoginAttempt};
use super::authorized_keys::AuthorizedKeys;
use super::decision::{LoginDecision, LoginRefusal};
use super::gate::LONGEST_DELAY;
use super::interview::{AnyInterview, Interview};
use super::penalties::SourcePenalties;
use super::requirement::Requirement;
use crate::auth::AuthMethod;
use crate::error::ConfigError;
use crate::wire::keys::{KeyData, PublicKey};

/// Decides about one kind of proof.
pub(super) type Decide<T> = Arc<dyn Fn(LoginAttempt, T) -> BoxFuture<'static, LoginDecision> + Send + Sync>;
type Begin = Arc<dyn Fn(LoginAttempt) -> Box<dyn AnyInterview> + Send + Sync>;
type Principals = Arc<dyn Fn(LoginAttempt) -> BoxFuture<'static, Vec<String>> + Send + Sync>;
type Banner = Arc<dyn Fn(&Contact) -> Option<String> + Send + Sync>;
type OnFailed = Arc<dyn Fn(&LoginAttempt, AuthMethod, &LoginRefusal) + Send + Sync>;

/// The callbacks and lists. What has none is refused.
#[derive(Clone)]
pub(in crate::server) struct Logins {
    pub(super) none: Option<Decide<()>>,
    pub(super) password: Option<Decide<SecretString>>,
    pub(super) public_key: Option<Decide<PublicKey>>,
    pub(super) interview: Option<Begin>,
    pub(in crate::server) authorized_keys: Vec<AuthorizedKeys>,
    pub(in crate::server) authorities: Vec<KeyData>,
    pub(super) principals: Option<Principals>,
    pub(in crate::server) revoked: Vec<KeyData>,
    pub(in crate::server) required: Option<Vec<Vec<AuthMethod>>>,
    pub(super) banner: Option<Banner>,
    pub(super) on_failed: Option<OnFailed>,
    pub(in crate::server) delay: Duration,
    pub(in crate::server) penalties: SourcePenalties,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            none: None,
            password: None,
            public_key: None,
            interview: None,
            authorized_keys: Vec::new(),
            authorities: Vec::new(),
            principals: None,
            revoked: Vec::new(),
            required: None,
            banner: None,
            on_failed: None,
            delay: Duration::from_secs(1),
            penalties: SourcePenalties::default(),
        }
    }
}

impl Logins {
    pub(in crate::server) fn check(&self) -> Result<(), ConfigError> {
        self.requirement()?;
        if self.delay > LONGEST_DELAY {
            let problem = "is longer than a day";
            return Err(ConfigError::new(
                "login_delay",
                problem,
                "give less; the login grace ends it anyway",
            ));
        }
        self.penalties.check()?;
        self.authorized_keys.iter().try_for_each(AuthorizedKeys::check)
    }

    /// What must be passed; any one of the methods if nothing else was said.
    pub(super) fn requirement(&self) -> Result<Requirement, ConfigError> {
        let mut offered = Vec::new();
        if self.public_key.is_some() || !self.authorized_keys.is_empty() || !self.authorities.is_empty() {
            offered.push(AuthMethod::PublicKey);
        }
        if self.interview.is_some() {
            offered.push(AuthMethod::KeyboardInteractive);
        }
        if self.password.is_some() {
            offered.push(AuthMethod::Password);
        }
        if self.none.is_some() {
            offered.push(AuthMethod::None);
        }
        match &self.required {
            Some(ways) => Requirement::new(ways.clone(), &offered),
            None => Ok(Requirement::any_of(&offered)),
        }
    }
}

/// The setters of what is made of types that only they know.
impl Logins {
    pub(in crate::server) fn set_none<F, D>(
        &mut self,
        decide: impl Fn(LoginAttempt) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = D> + Send + 'static,
        D: Into<LoginDecision> + 'static,
    {
        self.none = Some(decider(move |attempt, ()| decide(attempt)));
    }

    pub(in crate::server) fn set_password<F, D>(
        &mut self,
        decide: impl Fn(LoginAttempt, SecretString) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = D> + Send + 'static,
        D: Into<LoginDecision> + 'static,
    {
        self.password = Some(decider(decide));
    }

    pub(in crate::server) fn set_public_key<F, D>(
        &mut self,
        decide: impl Fn(LoginAttempt, PublicKey) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = D> + Send + 'static,
        D: Into<LoginDecision> + 'static,
    {
        self.public_key = Some(decider(decide));
    }

    pub(in crate::server) fn set_interview<I: Interview>(
        &mut self,
        begin: impl Fn(LoginAttempt) -> I + Send + Sync + 'static,
    ) {
        self.interview = Some(Arc::new(move |attempt| Box::new(begin(attempt))));
    }

    pub(in crate::server) fn set_principals<F>(
        &mut self,
        principals: impl Fn(LoginAttempt) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        self.principals = Some(Arc::new(move |attempt| principals(attempt).boxed()));
    }

    pub(in crate::server) fn set_banner(
        &mut self,
        banner: impl Fn(&Contact) -> Option<String> + Send + Sync + 'static,
    ) {
        self.banner = Some(Arc::new(banner));
    }

    pub(in crate::server) fn set_on_failed(
        &mut self,
        hook: impl Fn(&LoginAttempt, AuthMethod, &LoginRefusal) + Send + Sync + 'static,
    ) {
        self.on_failed = Some(Arc::new(hook));
    }
}

/// Forgets the types of a callback.
fn decider<T, F, D>(decide: impl Fn(LoginAttempt, T) -> F + Send + Sync + 'static) -> Decide<T>
where
    F: Future<Output = D> + Send + 'static,
    D: Into<LoginDecision> + 'static,
{
    Arc::new(move |attempt, proof| decide(attempt, proof).map(Into::into).boxed())
}
