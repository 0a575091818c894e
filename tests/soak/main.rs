//! A soak: fifty supervised channels over managed connections that are cut at random. Ignored unless asked for:
//!
//! ```sh
//! SOAK_SECONDS=600 cargo test --all-features --test soak -- --ignored
//! ```
//!
//! Three kinds of work, each with a position that outlives incarnations and connections:
//! - *produce*: the peer sends numbers from the position on. Each is taken once, in order.
//! - *sink*: the peer writes what it gets into a ledger, and acknowledges it. What was acknowledged is in the ledger,
//!   and nothing is in it twice.
//! - *echo*: numbers come back from a plain `cat`. Each incarnation begins behind the last that came back.
//!
//! Peers are a daemon of this crate and, if there is one, `sshd`. `SOAK_SECONDS` is 120 by default.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;
use std::time::Duration;

mod chaos;
#[path = "../kit/mod.rs"]
mod kit;
mod peers;
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../managed/proxy.rs"]
mod proxy;
mod run;
mod worker;

fn main() -> ExitCode {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    let length = Duration::from_secs(seconds);
    let limit = length + Duration::from_secs(120);
    let soak = kit::peer_test_within(
        limit,
        "fifty_channels_over_connections_that_are_cut_lose_nothing_and_leak_nothing",
        [],
        move || run::soak(length),
    );
    kit::run(vec![soak.with_ignored_flag(true)])
}
