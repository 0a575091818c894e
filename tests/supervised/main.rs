//! Supervised channels, each rule against a peer in the process with paused time, and the whole against `sshd`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

mod crashes;
mod cycles;
mod ends;
#[path = "../kit/mod.rs"]
mod kit;
mod messages;
mod openssh;
mod peer;
mod policies;
mod probe;
mod restarts;
mod stops;
