//! Managed connections against real servers: killed, cut off, started again. One module per theme; each lists its
//! trials.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod common;
mod cuts;
mod escalation;
#[path = "../kit/mod.rs"]
mod kit;
mod leaks;
mod lines;
mod logins;
mod one_off;
mod proxy;
mod restarts;
mod stalls;
mod stops;
mod stuck;
mod tail;

fn main() -> ExitCode {
    kit::run(
        [
            restarts::trials(),
            logins::trials(),
            cuts::trials(),
            one_off::trials(),
            stops::trials(),
            leaks::trials(),
            escalation::trials(),
            stalls::trials(),
            stuck::trials(),
            tail::trials(),
        ]
        .into_iter()
        .flatten()
        .collect(),
    )
}
