//! Errors of reading identities and of logging in, and what a login reports.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::method::AuthMethod;
use crate::error::{ConfigError, Origin};
use crate::wire::codes::DisconnectCode;

/// Why a key file, or the certificate beside it, cannot be used. Every text names the file and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file could not be read.
    #[error("{path}: cannot be read ({source}); check the path and its permissions")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It holds a public key (or a certificate) instead of a private key.
    #[error("{path}: this is a public key; give the private key, usually the same name without `.pub`")]
    PublicKey {
        /// The file.
        path: String,
    },
    /// It is no key file of a known format.
    #[error(
        "{path}: not a private key ({found}); OpenSSH, PKCS#1, PKCS#8, SEC1 and PuTTY (PPK) files are read"
    )]
    UnknownFormat {
        /// The file.
        path: String,
        /// What is there instead.
        found: String,
    },
    /// It is encrypted and there is no passphrase.
    #[error("{path}: the key is encrypted; give its passphrase, or a callback that asks for it")]
    PassphraseNeeded {
        /// The file.
        path: String,
    },
    /// The passphrase does not open it. A damaged file looks the same.
    #[error("{path}: wrong passphrase; try again, or check with `ssh-keygen -y -f` that the file is whole")]
    WrongPassphrase {
        /// The file.
        path: String,
    },
    /// The format is known and the content makes no sense.
    #[error("{path}: the key is damaged ({reason}); restore the file or make a new key")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A key type or an encryption that cannot be used here.
    #[error("{path}: {what} is not supported; {fix}")]
    Unsupported {
        /// The file.
        path: String,
        /// What is not supported.
        what: String,
        /// What to do instead.
        fix: String,
    },
    /// The certificate is unusable: damaged, for hosts, or for another key.
    #[error(
        "{path}: the certificate cannot be used ({reason}); have the user key signed again with `ssh-keygen -s`"
    )]
    Certificate {
        /// The certificate's file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl IdentityError {
    /// Who caused it: always the caller, or the local system.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        Origin::Local
    }
}

/// One thing that was tried, or left out, during a login.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthAttempt {
    /// The method.
    pub method: AuthMethod,
    /// What it was tried with: a key's fingerprint and where it came from; empty if there is nothing to say.
    pub with: String,
    /// What came of it.
    pub outcome: AttemptOutcome,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The server logged us in.
    Accepted,
    /// The server accepted it and wants more (`partial success`, RFC 4252 section 5.1).
    Partial,
    /// The server refused it.
    Refused,
    /// The server does not offer the method (any more), so it was not tried.
    NotOffered,
    /// Left out for another reason on our side, such as the limit on attempts.
    Skipped(Arc<str>),
    /// It failed on our side: an unreadable file, a declined signature, no answer to a prompt.
    Unusable(Arc<str>),
}

impl AuthAttempt {
    pub(crate) const fn new(method: AuthMethod, with: String, outcome: AttemptOutcome) -> Self {
        Self { method, with, outcome }
    }
}

impl fmt::Display for AuthAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.name())?;
        if !self.with.is_empty() {
            write!(f, " with {}", self.with)?;
        }
        match &self.outcome {
            AttemptOutcome::Accepted => f.write_str(": accepted"),
            AttemptOutcome::Partial => f.write_str(": accepted, more is wanted"),
            AttemptOutcome::Refused => f.write_str(": refused"),
            AttemptOutcome::NotOffered => f.write_str(": not offered by the server"),
            AttemptOutcome::Skipped(why) => write!(f, ": skipped ({why})"),
            AttemptOutcome::Unusable(why) => write!(f, ": unusable ({why})"),
        }
    }
}

/// Why a refused login was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthStop {
    /// Everything that the server offers was tried.
    Exhausted,
    /// One more refusal would exceed `max_attempts`.
    AttemptLimit {
        /// The limit.
        max: u32,
    },
    /// The server named no method to go on with.
    NoMethodsLeft,
    /// A keyboard-interactive exchange did not end within the limit on rounds.
    RoundLimit {
        /// The limit.
        max: u32,
    },
}

impl fmt::Display for AuthStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => f.write_str("nothing is left to try"),
            Self::AttemptLimit { max } => write!(f, "the limit of {max} attempts is reached"),
            Self::NoMethodsLeft => f.write_str("the server offers no method to go on with"),
            Self::RoundLimit { max } => write!(f, "keyboard-interactive went on for over {max} rounds"),
        }
    }
}

/// Why a login (RFC 4252) did not succeed. Clonable; holds no secrets.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A wrong argument; nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server let nobody in.
    #[error("user {user:?} was not logged in, {stop}; tried {}; the server {}", list(.tried), wants(.wanted))]
    Refused {
        /// The user name.
        user: String,
        /// Why it was given up.
        stop: AuthStop,
        /// Each attempt with its outcome, in order; then what was left out.
        tried: Vec<AuthAttempt>,
        /// What the server still wanted when it was last heard of.
        wanted: Vec<AuthMethod>,
    },
    /// An agent was required and is not there.
    #[error("the ssh-agent is required and cannot be used: {problem}; start one and set SSH_AUTH_SOCK")]
    Agent {
        /// What is wrong with it.
        problem: Arc<str>,
    },
    /// The provider of credentials failed; nothing was sent.
    #[error("no credentials: {problem}")]
    Provider {
        /// What it says.
        problem: Arc<str>,
    },
    /// The server ended the connection with SSH_MSG_DISCONNECT (RFC 4253 section 11.1). OpenSSH does so
    /// beyond `MaxAuthTries`.
    #[error("the server disconnected during login (code {}): {description}; tried {}", .code.0, list(.tried))]
    Disconnected {
        /// Its reason code.
        code: DisconnectCode,
        /// Its text.
        description: String,
        /// What was tried before.
        tried: Vec<AuthAttempt>,
    },
    /// The connection was lost.
    #[error("the connection was lost during login ({reason}); tried {}", list(.tried))]
    ConnectionLost {
        /// What is known about it.
        reason: Arc<str>,
        /// What was tried before.
        tried: Vec<AuthAttempt>,
    },
}

impl AuthError {
    /// Who caused it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Config(_) | Self::Agent { .. } | Self::Provider { .. } => Origin::Local,
            Self::Refused { tried, .. } if !tried.iter().any(was_sent) => Origin::Local,
            _ => Origin::Remote,
        }
    }

    /// Whether the same login may succeed later: yes after a lost connection and when a provider had no credentials
    /// to give, no after a refusal.
    ///
    /// A server's own disconnect counts as a refusal if it had refused something before (OpenSSH ends a
    /// login with too many failures that way) or if its code says so.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::ConnectionLost { .. } | Self::Provider { .. } => true,
            Self::Disconnected { code, tried, .. } => {
                let refused = tried.iter().any(|a| a.outcome == AttemptOutcome::Refused);
                // HOST_NOT_ALLOWED, NO_MORE_AUTH_METHODS_AVAILABLE, ILLEGAL_USER_NAME.
                !refused && !matches!(code.0, 1 | 14 | 15)
            }
            _ => false,
        }
    }

    /// What was tried, each with its outcome.
    #[must_use]
    pub fn tried(&self) -> &[AuthAttempt] {
        match self {
            Self::Refused { tried, .. }
            | Self::Disconnected { tried, .. }
            | Self::ConnectionLost { tried, .. } => tried,
            Self::Config(_) | Self::Agent { .. } | Self::Provider { .. } => &[],
        }
    }

    /// The same, when it has turned out that the server disconnected in words.
    pub(crate) fn with_disconnect(self, code: DisconnectCode, description: String) -> Self {
        match self {
            Self::ConnectionLost { tried, .. } => Self::Disconnected { code, description, tried },
            other => other,
        }
    }
}

fn was_sent(attempt: &AuthAttempt) -> bool {
    matches!(attempt.outcome, AttemptOutcome::Refused | AttemptOutcome::Partial)
}

fn list(tried: &[AuthAttempt]) -> String {
    if tried.is_empty() {
        return "nothing".to_owned();
    }
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn wants(wanted: &[AuthMethod]) -> String {
    if wanted.is_empty() {
        return "named no methods".to_owned();
    }
    let names: Vec<_> = wanted.iter().map(|m| m.name()).collect();
    format!("wants {}", names.join(" or "))
}

/// How a login went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginSummary {
    /// The methods that the server accepted, in order; more than one for a multi-step login.
    pub methods: Vec<AuthMethod>,
    /// How many attempts the server answered, the first `none` that only asks for its methods not counted.
    pub attempts: u32,
    /// Everything that was tried or left out on the way.
    pub tried: Vec<AuthAttempt>,
}

impl LoginSummary {
    pub(crate) const fn new(methods: Vec<AuthMethod>, attempts: u32, tried: Vec<AuthAttempt>) -> Self {
        Self { methods, attempts, tried }
    }
}
