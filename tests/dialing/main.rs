//! Ways to a server: TCP, Unix sockets, proxies, commands, jump hosts. Against `sshd`, against real proxies, and against
//! proxies that misbehave. One module per theme; each lists its trials.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod commands;
mod common;
mod faults;
mod jumps;
#[path = "../kit/mod.rs"]
mod kit;
mod leaks;
mod names;
mod proxies;
mod sockets;

fn main() -> ExitCode {
    if proxies::is_asked_for_the_environment() {
        return proxies::tell_the_environment();
    }
    if let Some(target) = names::is_asked_to_connect() {
        return names::tell_the_error(&target);
    }
    let trials = [
        sockets::trials(),
        proxies::trials(),
        faults::trials(),
        commands::trials(),
        jumps::trials(),
        leaks::trials(),
        names::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
