//! Pools, targets and fan-outs: against `sshd` with its own idea of how many sessions are enough, against daemons of our own, and
//! against servers that do not behave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod endings;
mod example_fan_out;
mod fan_out;
mod health;
mod hosts;
#[path = "../kit/mod.rs"]
mod kit;
mod look;
mod places;
mod supervised;
mod support;
mod targets;

fn main() -> ExitCode {
    let trials = [
        places::trials(),
        hosts::trials(),
        health::trials(),
        supervised::trials(),
        look::trials(),
        endings::trials(),
        targets::trials(),
        fan_out::trials(),
        example_fan_out::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
