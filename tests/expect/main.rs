//! Dialogues: with shells and REPLs behind real servers and the crate's own daemon, and with a scripted peer where time
//! and packets matter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod devices;
mod ends;
mod example;
#[path = "../kit/mod.rs"]
mod kit;
mod shells;
mod steps;
mod support;

fn main() -> ExitCode {
    let trials = [steps::trials(), ends::trials(), devices::trials(), shells::trials(), example::trials()];
    kit::run(trials.into_iter().flatten().collect())
}
