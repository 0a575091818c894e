//! Tests of the embedded daemon: against OpenSSH's client, our own, and one that keeps no rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod certificates;
mod forced;
mod host_keys;
mod idle;
#[path = "../kit/mod.rs"]
mod kit;
mod limits;
mod login_keys;
mod login_steps;
mod logins;
mod openssh;
mod ours;
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
        logins::trials(),
        login_steps::trials(),
        login_keys::trials(),
        certificates::trials(),
        host_keys::trials(),
        forced::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
