//! What a client lends to its server, with real peers: the agent (`ssh-agent`, `ssh-add`) and the display (`Xvfb`,
//! `xdpyinfo`); our client at OpenSSH's server, OpenSSH's client at our daemon, and ours at ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by ending"
)]

#[path = "../kit/mod.rs"]
mod kit;

mod agent;
mod constraints;
mod display;
mod ends;
mod permissions;
mod support;

fn main() -> std::process::ExitCode {
    let trials =
        [agent::trials(), constraints::trials(), display::trials(), ends::trials(), permissions::trials()];
    kit::run(trials.into_iter().flatten().collect())
}
