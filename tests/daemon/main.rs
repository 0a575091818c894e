//! Tests of the embedded daemon: against OpenSSH's client, our own, and one that keeps no rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod example_sshd;
mod idle;
#[path = "../kit/mod.rs"]
mod kit;
mod limits;
mod openssh;
mod ours;
mod processes;
mod programs;
mod replies;
mod streams;
mod support;

fn main() -> ExitCode {
    let trials = [
        openssh::trials(),
        ours::trials(),
        replies::trials(),
        limits::trials(),
        streams::trials(),
        idle::trials(),
        processes::trials(),
        example_sshd::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
