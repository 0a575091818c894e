//! Who the server is: known_hosts, pinned keys, certificates, policies.
//!
//! A [`HostKeyPolicy`] is used in two steps. [`HostKeyPolicy::prepare`] reads the files, before
//! the key exchange, and says in which order host key algorithms are to be offered;
//! [`Prepared::decide`] judges the key that the server then presents. Both are async, and files
//! are only touched on tokio's blocking threads.
//!
//! The decision is OpenSSH's (`StrictHostKeyChecking yes` or `accept-new`, `CheckHostIP no`), and
//! is compared with `ssh` and `ssh-keygen` by the tests. Certificates follow OpenSSH 10.3, which
//! takes wildcards in principals, and refuses certificates without principals; before, it was the
//! other way round. The decision is stricter than OpenSSH's in four places:
//!
//! 1. A host that an `@cert-authority` line names, and that presents a certificate, must present a
//!    valid one from such an authority. OpenSSH would go on to look for the plain key inside.
//! 2. `@revoked` lines for `host` also hold for `[host]:port`.
//! 3. An `@revoked` line that cannot be read refuses the hosts it names, and all hosts if the names
//!    cannot be read either. Other malformed lines are reported and skipped, as OpenSSH does.
//! 4. With `accept_new`, a key that cannot be written down is not accepted.
//!
//! Knows keys and files; knows nothing of sessions, actors or the SSH library's transport.

mod algorithms;
mod append;
mod certificate;
mod check;
mod entry;
mod error;
mod files;
mod known_hosts;
mod names;
mod pin;
mod policy;
mod prepared;
mod presented;
mod verifier;

pub use algorithms::HostKeyAlgorithms;
#[cfg(feature = "ssh-config")]
pub(crate) use algorithms::host_key_names;
pub use certificate::CertificateProblem;
#[cfg(feature = "server")]
pub(crate) use certificate::{SignatureProblem, check_signature};
pub use check::{KnownKey, Verdict};
pub use entry::{KnownHostsEntry, KnownHostsLine, KnownHostsProblem, Marker};
pub use error::HostKeyError;
pub use files::KnownHostsFiles;
pub use known_hosts::KnownHosts;
#[cfg(any(feature = "server", feature = "ssh-config"))]
pub(crate) use names::glob;
pub use pin::HostKeyPin;
pub use policy::HostKeyPolicy;
pub use prepared::{Accepted, AcceptedBy, Prepared};
pub use presented::PresentedKey;
pub use verifier::{HostKeyDecision, HostKeyInfo, HostKeyVerifier};
