//! NETCONF: sessions with a scripted peer, with yuma's `netconfd` behind `sshd`, and Python's `ncclient` with a server made
//! of the codec.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

#[path = "../kit/mod.rs"]
mod kit;
mod peers;
mod sessions;
mod support;

fn main() -> ExitCode {
    kit::run([sessions::trials(), peers::trials()].into_iter().flatten().collect())
}
