//! Why no byte stream could be made.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::proxy::is_host;
use crate::error::OpenError;
use crate::wire::codes::OpenFailureReason as Reason;

/// Why no byte stream could be made. Names the stop on the way at which it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name could not be looked up.
    #[error("{host} cannot be looked up: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The name has no address that may be used.
    #[error("{host} has no {wanted} address")]
    NoAddress {
        /// The name.
        host: String,
        /// What is allowed: `IPv4`, `IPv6` or `usable`.
        wanted: &'static str,
    },
    /// No address answered. Has all that were tried, with their errors.
    #[error("{}", Attempts(.attempts))]
    Tcp {
        /// Each address with its error, in the order in which they failed.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
    /// The Unix socket cannot be connected to.
    #[error("{}: {source}", path.display())]
    Unix {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The proxy command could not be started.
    #[error("the proxy command `{command}` was not started: {source}")]
    Command {
        /// The command, with its tokens replaced.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A proxy could not be reached, or did not let us through.
    #[error("the proxy {proxy} {source}")]
    Proxy {
        /// Kind, host and port.
        proxy: String,
        /// What went wrong.
        source: ProxyError,
    },
    /// A jump host let us in, and did not connect us to the next stop.
    #[error("the jump host {hop} did not connect to {to}: {source}")]
    Jump {
        /// User, host and port of the jump host.
        hop: String,
        /// What it was asked to connect to.
        to: String,
        /// What it said.
        source: Box<OpenError>,
    },
    /// What was given to [`dial_with`](crate::ClientConfig::dial_with) failed.
    #[error(transparent)]
    Own(io::Error),
}

impl DialError {
    /// Whether the same may succeed later without anybody changing anything: not after a login that a proxy refused, or
    /// a forwarding that a jump host does not allow.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Proxy { source, .. } => source.is_retryable(),
            Self::Command { .. } => false,
            // An address is of one family for good; a name may get another address.
            Self::NoAddress { host, .. } => !is_address(host),
            Self::Jump { source, .. } => match &**source {
                OpenError::Config(_) | OpenError::Unsupported { .. } => false,
                // Of sessions it is OpenSSH's answer beyond `MaxSessions`; this is none.
                OpenError::Refused { reason, .. } => {
                    !matches!(reason, Reason::AdministrativelyProhibited | Reason::UnknownChannelType)
                }
                _ => true,
            },
            _ => true,
        }
    }

    pub(super) fn proxy(proxy: &impl fmt::Display, source: ProxyError) -> Self {
        Self::Proxy { proxy: proxy.to_string(), source }
    }
}

struct Attempts<'a>(&'a [(SocketAddr, io::Error)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (address, error)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{address}: {error}")?;
        }
        Ok(())
    }
}

/// What went wrong with a proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It could not be reached itself.
    #[error("cannot be reached: {0}")]
    Unreachable(#[source] Box<DialError>),
    /// It wants a login, and none was given.
    #[error("wants a login ({asks}), and none is configured")]
    LoginRequired {
        /// What it asks for: the schemes of an HTTP proxy, the methods of SOCKS.
        asks: String,
    },
    /// It did not take the login that was given.
    #[error("refused the login: {0}")]
    LoginRefused(String),
    /// It may not, or does not want to, connect us there.
    #[error("does not allow connections to {to}: {why}")]
    Denied {
        /// Host and port that were asked for.
        to: String,
        /// Its words.
        why: String,
    },
    /// It could not connect us there.
    #[error("could not connect to {to}: {why}")]
    Failed {
        /// Host and port that were asked for.
        to: String,
        /// Its words.
        why: String,
    },
    /// It was not reached, or did not connect us, in time: [`Proxy::deadline`](super::Proxy::deadline), or a limit on the
    /// whole way that ended there ([`Timeouts::dial`](crate::config::Timeouts::dial),
    /// [`ClientConfig::deadline`](crate::ClientConfig::deadline)).
    #[error("did not answer within {after:?}")]
    TimedOut {
        /// The limit that was reached.
        after: Duration,
    },
    /// It closed the stream before it had answered.
    #[error("closed the stream before it had answered")]
    Closed,
    /// Its answer is none.
    #[error("gave an answer that makes no sense: {0}")]
    Nonsense(String),
    /// The name of the target, which we have to look up for this proxy, has no address that can be given to it.
    #[error("is to be given an address of {host}: {why}")]
    NoAddress {
        /// The name.
        host: String,
        /// What the system said.
        why: String,
    },
    /// The stream to it failed.
    #[error("was lost: {0}")]
    Io(#[source] io::Error),
}

impl ProxyError {
    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::LoginRequired { .. } | Self::LoginRefused(_) | Self::Denied { .. } | Self::Nonsense(_) => {
                false
            }
            Self::Unreachable(error) => error.is_retryable(),
            Self::NoAddress { host, .. } => !is_address(host) && is_host(host),
            _ => true,
        }
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        let wanted = "IPv6";
        assert!(!DialError::NoAddress { host: "127.0.0.1".to_owned(), wanted }.is_retryable());
        assert!(DialError::NoAddress { host: "h.example.org".to_owned(), wanted }.is_retryable());
        let proxy = |host: &str| ProxyError::NoAddress { host: host.to_owned(), why: String::new() };
        assert!(!proxy("::1").is_retryable() && !proxy("a b").is_retryable());
        assert!(proxy("h.example.org").is_retryable());
    }
}
