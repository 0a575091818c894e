//! Tests of the embedded daemon: against OpenSSH's client, our own, and one that keeps no rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

mod bastion;
mod caps;
mod certificates;
mod child;
mod clocks;
mod custom_subsystem;
mod example_sshd;
mod exits;
mod forced;
mod forwards;
mod functions;
mod host_keys;
mod idle;
mod jump_host;
#[path = "../kit/mod.rs"]
mod kit;
mod late_reads;
mod life;
mod limits;
mod listening;
mod login_keys;
mod login_steps;
mod logins;
mod openssh;
mod ours;
mod processes;
mod programs;
mod replies;
mod routes;
mod session_limits;
mod sessions;
mod sftp;
mod streams;
mod support;

fn main() -> ExitCode {
    // What the daemon says, if it is asked to.
    let said = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(said).with_test_writer().init();
    if let Some(code) = child::main() {
        return code;
    }
    let trials = [
        openssh::trials(),
        ours::trials(),
        replies::trials(),
        limits::trials(),
        sessions::trials(),
        streams::trials(),
        sftp::trials(),
        caps::trials(),
        clocks::trials(),
        life::trials(),
        routes::trials(),
        functions::trials(),
        exits::trials(),
        late_reads::trials(),
        session_limits::trials(),
        forwards::trials(),
        jump_host::trials(),
        listening::trials(),
        bastion::trials(),
        custom_subsystem::trials(),
        idle::trials(),
        logins::trials(),
        login_steps::trials(),
        login_keys::trials(),
        certificates::trials(),
        host_keys::trials(),
        forced::trials(),
        processes::trials(),
        example_sshd::trials(),
    ];
    kit::run(trials.into_iter().flatten().collect())
}
