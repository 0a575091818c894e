//! Peers that keep no rules, against our daemon and against our client. Whatever they send: the offending channel or
//! connection ends with a reason, all others live, memory is bounded, and nothing panics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod channel;
mod channels;
mod client_channels;
mod client_handshake;
mod floods;
mod forwards;
mod greeting;
mod kex;
#[path = "../kit/mod.rs"]
mod kit;
mod login;
mod logs;
mod mutations;
mod negotiation;
mod packet;
mod peer;
mod rules;
mod server;
mod smoke;
mod target;
mod unauthenticated;
mod windows;
mod wire;

fn main() -> ExitCode {
    rules::watch_for_panics();
    logs::collect();
    let trials = [
        smoke::trials(),
        greeting::trials(),
        negotiation::trials(),
        unauthenticated::trials(),
        channels::trials(),
        windows::trials(),
        floods::trials(),
        forwards::trials(),
        client_handshake::trials(),
        client_channels::trials(),
        mutations::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
