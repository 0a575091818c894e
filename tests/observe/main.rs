//! Looking in: what the infos and trees show, and why something stands still, each provoked for real.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "a failed expectation ends the test; the kit is shared"
)]

mod house;
#[path = "../scripted/kit/mod.rs"]
mod kit;
mod sentences;
mod trees;
