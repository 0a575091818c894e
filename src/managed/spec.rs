//! What a managed connection is told beyond how to connect.

use std::time::Duration;

use crate::error::ConfigError;
use crate::supervision::RestartPolicy;

/// When a managed connection is made again, and how long others wait for it: for
/// [`Client::manage`](crate::Client::manage).
///
/// | option | default |
/// |---|---|
/// | `restart` | permanent, never giving up, pauses from 100 ms to 30 s |
/// | `retry_untrusted_host` | no |
/// | `retry_refused_login` | no |
/// | `patience` | 30 s |
/// | `start_limit` | 10 s |
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a specification does nothing by itself"]
pub struct ManagedSpec {
    pub(super) policy: RestartPolicy,
    pub(super) retry_untrusted_host: bool,
    pub(super) retry_refused_login: bool,
    pub(super) patience: Duration,
    pub(super) start_limit: Duration,
}

impl Default for ManagedSpec {
    fn default() -> Self {
        Self::new()
    }
}

impl ManagedSpec {
    /// All defaults.
    pub fn new() -> Self {
        Self {
            policy: RestartPolicy::permanent().never_give_up(),
            retry_untrusted_host: false,
            retry_refused_login: false,
            patience: Duration::from_secs(30),
            start_limit: Duration::from_secs(10),
        }
    }

    /// Sets when the connection is made again, after what pause, and when to give up.
    ///
    /// An attempt that fails counts as a connection that is lost does. A `Transient` one is not made again after
    /// somebody has closed it by its [`ConnectionRef`](crate::ConnectionRef); a `Temporary` one is made once.
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets whether to try again after the host key was not accepted. Otherwise that is the end: somebody has to look
    /// first. Nothing is ever sent to such a host either way.
    pub const fn retry_untrusted_host(mut self, retry: bool) -> Self {
        self.retry_untrusted_host = retry;
        self
    }

    /// Sets whether to try again after the server has refused all credentials. Otherwise that is the end: accounts are
    /// locked by such tries. With a [provider](crate::ClientConfig::auth_with) it may be that the next ones are good.
    pub const fn retry_refused_login(mut self, retry: bool) -> Self {
        self.retry_refused_login = retry;
        self
    }

    /// Sets how long [`ManagedRef::connection`](super::ManagedRef::connection) and commands wait for a connection.
    /// Zero: they fail at once when there is none.
    pub const fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Sets how long a supervised channel that starts, or is not done with the connection before, may keep those waiting
    /// that were declared after it. Zero: they start in order, without waiting for each other.
    pub const fn start_limit(mut self, limit: Duration) -> Self {
        self.start_limit = limit;
        self
    }

    /// Looks at every value; managing does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.policy.check()
    }
}
