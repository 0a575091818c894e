//! Cookies for clients that are not trusted, as `xauth generate` has the X server make them (its SECURITY extension).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::cookie::{Cookie, MIT_MAGIC_COOKIE};
use super::directory::private_directory;
use super::display::Display;
use super::error::X11Error;

/// How long `xauth` may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The X server forgets the cookie this much later than we do, so that it is not forgotten in the middle of a client's
/// start; as OpenSSH has it.
const SLACK: Duration = Duration::from_secs(60);

/// Has the X server make one. `timeout`: how long it is good for while no client uses it; `None` for ever. `authority`:
/// where the display's own cookie is, if not in the usual place.
pub(super) async fn generate(
    display: &Display,
    xauth: &Path,
    timeout: Option<Duration>,
    authority: Option<&Path>,
) -> Result<Cookie, X11Error> {
    let failed = |problem: String| X11Error::Untrusted { problem };
    let directory = private_directory("ssh-x11-");
    let directory = directory.map_err(|error| failed(format!("no directory for its file: {error}")))?;
    let file = directory.path().join("xauthority");
    let seconds = timeout.map_or(0, |timeout| timeout.saturating_add(SLACK).as_secs());
    let mut command = tokio::process::Command::new(xauth);
    command
        .arg("-q")
        .arg("-f")
        .arg(&file)
        .args(["generate", &display.to_string(), MIT_MAGIC_COOKIE, "untrusted", "timeout"])
        .arg(seconds.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(file) = authority {
        command.env("XAUTHORITY", file);
    }
    let run = tokio::time::timeout(LIMIT, command.output()).await;
    let run = run.map_err(|_| failed(format!("{} took longer than {LIMIT:?}", xauth.display())))?;
    let run = run.map_err(|error| failed(format!("cannot run {}: {error}", xauth.display())))?;
    if !run.status.success() {
        let said: String = String::from_utf8_lossy(&run.stderr).chars().take(500).collect();
        return Err(failed(format!("{} {}: {}", xauth.display(), run.status, said.trim())));
    }
    let found = super::authority::find(&file, &display.addresses().await?, display.number()).await?;
    found.ok_or_else(|| failed(format!("{} made none", xauth.display())))
}
