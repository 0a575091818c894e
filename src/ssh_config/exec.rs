//! Running the command of a `Match exec`.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Whether the command ends with status 0 within the limit. It reads nothing, and what it writes to its output is dropped.
///
/// # Cancel safety
/// Dropping the future kills the command and what it has started.
pub(super) async fn run(command: &str, limit: Duration) -> io::Result<bool> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let mut shell = Command::new(shell.unwrap_or_else(|| OsString::from("/bin/sh")));
    shell.arg("-c").arg(command);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    #[cfg(unix)]
    shell.process_group(0);
    let mut child = shell.spawn()?;
    #[cfg(unix)]
    let mut group = Group::of(&child);
    let Ok(status) = tokio::time::timeout(limit, child.wait()).await else {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("was not done after {limit:?}")));
    };
    // What it has left behind is meant to stay, as a connection that others share.
    #[cfg(unix)]
    group.let_go();
    Ok(status?.success())
}

/// A process group that is killed when this is dropped. Its leader is not reaped before that, so its number is its own.
#[cfg(unix)]
struct Group(Option<rustix::process::Pid>);

#[cfg(unix)]
impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    const fn let_go(&mut self) {
        self.0 = None;
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}
