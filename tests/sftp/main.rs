//! The SFTP client: against OpenSSH's `sftp-server`, against the crate's own daemon, and against servers that do not
//! behave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod big;
mod example;
mod files;
mod hostile;
#[path = "../kit/mod.rs"]
mod kit;
mod leaks;
mod managed;
mod names;
mod support;
mod transfers;

fn main() -> ExitCode {
    let trials = [
        names::trials(),
        files::trials(),
        transfers::trials(),
        leaks::trials(),
        managed::trials(),
        hostile::trials(),
        big::trials(),
        example::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
