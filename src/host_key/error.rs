//! Why a host key was not accepted, or could not be judged.
//!
//! Owns the texts: each names the host, the key, the line, and the way out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::certificate::CertificateProblem;
use super::check::KnownKey;
use super::entry::{KnownHostsLine, KnownHostsProblem};
use crate::error::{ConfigError, Origin};

/// Why a host key was not accepted, or could not be judged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HostKeyError {
    /// A wrong argument.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}; correct the file's permissions, or give another file", .file.display())]
    #[non_exhaustive]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// A line cannot be read, and must not be skipped.
    #[error("{}{}", .0, if .0.is_revocation() { " (it may revoke the key of this host)" } else { "" })]
    Malformed(KnownHostsProblem),
    /// No line is about the host.
    #[error(
        "{name} is not known: it presents the {key}, and no line for it is in {}; \
         compare the fingerprint with the one the host's owner tells you, then add the key",
        List(.files)
    )]
    #[non_exhaustive]
    Unknown {
        /// The name that was looked up: `host`, or `[host]:port`.
        name: String,
        /// Algorithm and fingerprint of the presented key.
        key: String,
        /// The files that were read.
        files: Vec<PathBuf>,
    },
    /// The host is known with other keys.
    #[error(
        "the host key of {name} has changed: it presents the {key}, but is known with {}; \
         someone may be intercepting the connection. If the host really has a new key, \
         remove the old one with {}, then add the new one",
        Known(.known), Remove(.name, .known)
    )]
    #[non_exhaustive]
    Changed {
        /// The name that was looked up: `host`, or `[host]:port`.
        name: String,
        /// Algorithm and fingerprint of the presented key.
        key: String,
        /// The keys that are known for it, and where.
        known: Vec<KnownKey>,
    },
    /// The key, the key inside the certificate, or the certificate's authority is revoked.
    #[error(
        "the host key of {name} is revoked by {at}: it presents the {key}; \
         whoever has that key may not be the host, which needs a new one"
    )]
    #[non_exhaustive]
    Revoked {
        /// The name that was looked up: `host`, or `[host]:port`.
        name: String,
        /// Algorithm and fingerprint of the presented key.
        key: String,
        /// The line.
        at: KnownHostsLine,
    },
    /// The host has an `@cert-authority` line, and presents a certificate that is not good.
    #[error("the host certificate of {name} is refused (@cert-authority in {at}; {key}): {why}")]
    #[non_exhaustive]
    CertificateInvalid {
        /// The name that was looked up: `host`, or `[host]:port`.
        name: String,
        /// Algorithm and fingerprint of the key inside the certificate.
        key: String,
        /// The line.
        at: KnownHostsLine,
        /// What is wrong with the certificate.
        why: CertificateProblem,
    },
    /// The key is none of the pinned ones.
    #[error(
        "{name} presents the {key}, which is not pinned; pinned are {}. If the host has several keys, \
         pin whole public keys: their types are then asked for first",
        .pins.join(", ")
    )]
    #[non_exhaustive]
    NotPinned {
        /// The host, or `[host]:port`.
        name: String,
        /// Algorithm and fingerprint of the presented key.
        key: String,
        /// The pinned fingerprints.
        pins: Vec<String>,
    },
    /// The key is too short to prove anything.
    #[error(
        "{name} presents an RSA key of {bits} bits; the least is {MIN_RSA_BITS}: the host needs a new key"
    )]
    #[non_exhaustive]
    WeakKey {
        /// The host, or `[host]:port`.
        name: String,
        /// The length of its modulus.
        bits: u32,
    },
    /// The verifier refused the key.
    #[error("the verifier refused the {key} of {name}: {why}")]
    #[non_exhaustive]
    Refused {
        /// The host, or `[host]:port`.
        name: String,
        /// Algorithm and fingerprint of the presented key.
        key: String,
        /// The reason that the verifier gave.
        why: String,
    },
    /// The verifier could not decide.
    #[error("the verifier failed for {name}: {source}")]
    #[non_exhaustive]
    Verifier {
        /// The host, or `[host]:port`.
        name: String,
        /// Its error.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// Shorter RSA keys are refused, as by OpenSSH.
pub(super) const MIN_RSA_BITS: u32 = 1024;

impl HostKeyError {
    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Config(_) | Self::Io { .. } | Self::Malformed(_) | Self::Verifier { .. } => Origin::Local,
            _ => Origin::Remote,
        }
    }

    /// Whether connecting again may help: never, somebody has to look first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }

    pub(super) fn io(action: &'static str, file: &Path, source: io::Error) -> Self {
        Self::Io { action, file: file.to_owned(), source: Arc::new(source) }
    }
}

/// Files with commas.
struct List<'a>(&'a [PathBuf]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, file) in self.0.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, file.display())?;
        }
        if self.0.is_empty() { f.write_str("any file (none is configured)") } else { Ok(()) }
    }
}

/// Keys and lines with commas.
struct Known<'a>(&'a [KnownKey]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, key) in self.0.iter().enumerate() {
            write!(f, "{}{key}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The `ssh-keygen -R` commands that remove the offending lines: one for each file.
struct Remove<'a>(&'a str, &'a [KnownKey]);

impl fmt::Display for Remove<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files: Vec<&Path> = Vec::new();
        for key in self.1 {
            if !files.contains(&&*key.at.file) {
                files.push(&key.at.file);
            }
        }
        for (i, file) in files.iter().enumerate() {
            let and = if i == 0 { "" } else { " and " };
            write!(f, "{and}`ssh-keygen -R {} -f {}`", quoted(self.0), quoted(&file.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// For a POSIX shell.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}
