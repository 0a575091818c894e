//! Forwards, against `sshd` and against our own daemon. One module per theme; each lists its trials.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod bytes;
mod common;
mod faults;
#[path = "../kit/mod.rs"]
mod kit;
mod leaks;
mod life;
mod local;
mod managed;
mod remote;
mod socks;
mod stalled;

fn main() -> ExitCode {
    let trials = [
        local::trials(),
        socks::trials(),
        faults::trials(),
        life::trials(),
        managed::trials(),
        remote::trials(),
        stalled::trials(),
        leaks::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
