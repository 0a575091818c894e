//! Running the command of a `Match exec`.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Whether the command ends with status 0 within the limit. It reads nothing, and what it writes to its output is dropped.
pub(super) async fn run(command: &str, limit: Duration) -> io::Result<bool> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let mut child = Command::new(shell.unwrap_or_else(|| OsString::from("/bin/sh")));
    child.arg("-c").arg(command);
    child.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let status = child.status();
    match tokio::time::timeout(limit, status).await {
        Ok(status) => Ok(status?.success()),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("was not done after {limit:?}"))),
    }
}
