//! Tests against OpenSSH as it is installed here. One module per theme; each lists its trials.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

mod common;
mod connect;
mod core;
mod dropbear;
mod endings;
#[cfg(feature = "server")]
mod example_observer;
mod example_ssh;
mod example_ssh_forwards;
mod flood;
#[path = "../kit/mod.rs"]
mod kit;
mod limits;
mod passwords;
mod rekey;
mod remote;
mod replies;
mod session;
mod slow_consumer;
mod smoke;
mod transfer;

fn main() -> ExitCode {
    if flood::is_wanted() {
        return flood::serve();
    }
    kit::run(
        [
            core::trials(),
            replies::trials(),
            transfer::trials(),
            passwords::trials(),
            rekey::trials(),
            remote::trials(),
            slow_consumer::trials(),
            flood::trials(),
            endings::trials(),
            dropbear::trials(),
            limits::trials(),
            connect::trials(),
            session::trials(),
            #[cfg(feature = "server")]
            example_observer::trials(),
            example_ssh::trials(),
            example_ssh_forwards::trials(),
            smoke::trials(),
        ]
        .into_iter()
        .flatten()
        .collect(),
    )
}
