//! Programs that tests start: the examples, and OpenSSH's clients with nothing of the user's own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::require_program;

/// The program of an example, built with the tests: `cargo build --examples` builds it otherwise.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let directory = test.ancestors().nth(2).expect("it is in target/*/deps");
    directory.join("examples").join(name)
}

/// `ssh`, `sftp` or `scp` with this key and these known hosts, all but where to and what for. It reads no configuration,
/// asks no agent, and with `BatchMode` (`yes` or `no`) nobody; there is nothing on its standard input.
pub(crate) fn openssh(
    name: &str,
    identity: &Path,
    known_hosts: &Path,
    batch_mode: &str,
) -> io::Result<Command> {
    let mut command = Command::new(require_program(name)?);
    command
        .args(["-F", "none", "-o", &format!("BatchMode={batch_mode}"), "-o", "IdentitiesOnly=yes"])
        .args(["-o", "ConnectTimeout=20", "-o", "UpdateHostKeys=no"])
        .args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()))
        .arg("-i")
        .arg(identity)
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null());
    Ok(command)
}
