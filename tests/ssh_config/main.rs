//! OpenSSH's client configuration: the options of a collection of files against `ssh -G`, files made at random, lines that `ssh`
//! refuses, texts that
//! mean nothing, and connections made from files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod applied;
mod corpus;
mod dump;
#[path = "../kit/mod.rs"]
mod kit;
mod lines;
mod properties;
mod random;
mod rules;

fn main() -> ExitCode {
    let trials = [
        corpus::trials(),
        lines::trials(),
        rules::trials(),
        properties::trials(),
        random::trials(),
        applied::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
