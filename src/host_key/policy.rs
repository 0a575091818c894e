//! Whom to trust: the policies, and what is read before the key exchange.
//!
//! Owns the choice. Judging is done by `check`, carrying out by `prepared`.

use std::fmt;
use std::sync::Arc;

use super::algorithms::HostKeyAlgorithms;
use super::error::HostKeyError;
use super::files::{KnownHostsFiles, blocking};
use super::known_hosts::KnownHosts;
use super::names::Host;
use super::pin::HostKeyPin;
use super::prepared::Prepared;
use super::verifier::HostKeyVerifier;

/// Which host keys are accepted. The default is [`HostKeyPolicy::strict`] with OpenSSH's files.
#[derive(Debug, Clone)]
pub struct HostKeyPolicy(pub(super) Policy);

#[derive(Debug, Clone)]
pub(super) enum Policy {
    KnownHosts(Arc<KnownHostsFiles>, Unknown),
    Pinned(Arc<[HostKeyPin]>),
    Anything,
}

/// What becomes of keys that known_hosts does not have.
#[derive(Clone)]
pub(super) enum Unknown {
    Refuse,
    Remember,
    Ask(Arc<dyn HostKeyVerifier>),
}

impl fmt::Debug for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "Refuse",
            Self::Remember => "Remember",
            Self::Ask(_) => "Ask",
        })
    }
}

impl Default for HostKeyPolicy {
    fn default() -> Self {
        Self::strict(KnownHostsFiles::default())
    }
}

impl HostKeyPolicy {
    /// Only keys that the files have (`StrictHostKeyChecking yes`).
    #[must_use]
    pub fn strict(files: KnownHostsFiles) -> Self {
        Self(Policy::KnownHosts(Arc::new(files), Unknown::Refuse))
    }

    /// As [`strict`](Self::strict), and the key of a host that no line is about is written to the
    /// first file (`StrictHostKeyChecking accept-new`). A changed key is refused.
    ///
    /// The file is made with mode 0600, its directory with 0700. The name is hashed if the file has
    /// hashed names. If the key cannot be written, it is not accepted.
    #[must_use]
    pub fn accept_new(files: KnownHostsFiles) -> Self {
        Self(Policy::KnownHosts(Arc::new(files), Unknown::Remember))
    }

    /// The files are consulted, then the verifier decides. With `KnownHostsFiles::new` of no paths
    /// it decides alone.
    #[must_use]
    pub fn ask(files: KnownHostsFiles, verifier: impl HostKeyVerifier) -> Self {
        Self(Policy::KnownHosts(Arc::new(files), Unknown::Ask(Arc::new(verifier))))
    }

    /// Only these keys; no file is read. Of a certificate, the key inside counts.
    #[must_use]
    pub fn pinned<P: Into<HostKeyPin>>(pins: impl IntoIterator<Item = P>) -> Self {
        Self(Policy::Pinned(pins.into_iter().map(Into::into).collect()))
    }

    /// Any key of anybody: whoever is on the way can read and change everything, passwords too. For
    /// tests and throw-away machines.
    #[must_use]
    pub const fn danger_accept_anything() -> Self {
        Self(Policy::Anything)
    }

    /// Reads the files: what is needed before the key exchange with `host`.
    ///
    /// Malformed lines are logged as warnings, unless that is refused.
    ///
    /// # Errors
    /// [`HostKeyError::Config`] for a `host` or `port` that cannot be one; [`HostKeyError::Io`] if a
    /// file exists and cannot be read; [`HostKeyError::Malformed`] if an `@revoked` line that is, or
    /// may be, about this host cannot be read, and for any malformed line if
    /// [`KnownHostsFiles::refuse_malformed`] is set.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is changed.
    pub async fn prepare(&self, host: &str, port: u16) -> Result<Prepared, HostKeyError> {
        let host = Host::new(host, port)?;
        let base = HostKeyAlgorithms::default_order();
        let (known, algorithms) = match &self.0 {
            Policy::KnownHosts(files, _) => {
                let known = read(files, &host).await?;
                let algorithms = HostKeyAlgorithms::for_host(&known, &host, &base);
                (known, algorithms)
            }
            Policy::Pinned(pins) => {
                let has: Vec<_> = pins.iter().filter_map(HostKeyPin::algorithm).collect();
                (KnownHosts::default(), HostKeyAlgorithms::for_keys(&has, &base))
            }
            Policy::Anything => (KnownHosts::default(), HostKeyAlgorithms::for_keys(&[], &base)),
        };
        Ok(Prepared { policy: self.0.clone(), host, known, algorithms })
    }
}

async fn read(files: &Arc<KnownHostsFiles>, host: &Host) -> Result<KnownHosts, HostKeyError> {
    let paths = files.paths().to_vec();
    let known = blocking(move || KnownHosts::load_now(&paths)).await?;
    let must_stop = if files.refuse_malformed { known.problems().first() } else { None };
    if let Some(problem) = must_stop.or_else(|| known.unreadable_revocation(host)) {
        return Err(HostKeyError::Malformed(problem.clone()));
    }
    for problem in known.problems() {
        tracing::warn!(file = %problem.at.file.display(), line = problem.at.line, "known_hosts line skipped: {}", problem.what);
    }
    Ok(known)
}
