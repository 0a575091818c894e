//! Test support shared by the integration test binaries: real SSH peers in private directories.
//!
//! A binary takes it in with `mod kit;` or `#[path = "../kit/mod.rs"] mod kit;`. It knows nothing of the
//! crate under test, so that a fault of ours cannot hide in the machinery that looks for it.
//!
//! - [`Sshd`] is an OpenSSH server on an ephemeral loopback port, run as the current user.
//! - [`Dropbear`] is another server, with an account of its own.
//! - [`RealProxy`] is Dante or tinyproxy.
//! - [`SshAgent`] is an agent.
//! - [`KeyPair`] makes keys and certificates with `ssh-keygen`.
//! - [`example`] is the program of an example, [`openssh`] a client of OpenSSH's.
//! - [`exchange`] and [`after_eof`] are the two ends of a byte stream.
//! - [`soon`] and [`becomes_true`] wait, and give up.
//! - [`peer_test`] registers a test that needs programs from outside, and [`run`] is such a binary's `main`.
#![allow(dead_code, unused_imports, reason = "every test binary uses a part of the kit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: a broken environment ends the test"
)]

mod account;
mod agent;
mod daemon;
mod dropbear;
mod keys;
mod peers;
mod process;
mod programs;
mod proxies;
mod sshd;
mod sshd_config;
mod streams;
mod trial;
mod waiting;

pub(crate) use agent::SshAgent;
pub(crate) use dropbear::Dropbear;
pub(crate) use keys::{KeyKind, KeyPair};
pub(crate) use peers::{Peer, Verdict, verdict};
pub(crate) use process::{find_program, is_running, require_program};
pub(crate) use programs::{example, openssh};
pub(crate) use proxies::RealProxy;
pub(crate) use sshd::Sshd;
pub(crate) use sshd_config::SshdBuilder;
pub(crate) use streams::{after_eof, exchange};
pub(crate) use trial::{execute, paused, peer_test, peer_test_within, run};
pub(crate) use waiting::{SOON, becomes_true, soon};
