//! The rules of channels and connections, against a scripted peer in memory. One file a theme, one test a rule.
//!
//! The clock is paused: it moves only when nothing else can, so a test of a long deadline takes no time, and
//! `settle` means that everything that could happen has happened.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "these are tests; helpers outside #[test] are not seen as such"
)]

mod kit;

mod bystanders;
mod cancellation;
mod close;
mod data_window;
mod failure;
mod incoming;
mod info;
mod limits;
mod open;
mod owners;
mod races;
mod requests;
mod sending;
mod sequences;
mod session;
mod shutdown;
mod supervision;
mod time;
