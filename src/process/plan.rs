//! What exactly is to be started.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::environment::{Environment, environment};
use crate::{SessionKind, SessionRequest};

/// What a request is about to start: program, arguments, environment, working directory.
///
/// [`Processes::prepare`](super::Processes::prepare) gets one that is complete, and may change any of it.
///
/// The environment holds `HOME`, `USER`, `LOGNAME`, `SHELL` and `PATH`; `SSH_CLIENT` and `SSH_CONNECTION` if the
/// addresses are known; `TERM` with a terminal; what the peer asked for and is allowed to set
/// ([`Processes::env_allow`](super::Processes::env_allow)); over these, what came with the login; and, over all of them,
/// `SSH_AUTH_SOCK`, `DISPLAY` and `XAUTHORITY` of what the peer lends. `SSH_TTY`
/// is added when the terminal is there. Nothing of the daemon's own environment is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPlan {
    pub(super) program: OsString,
    pub(super) arg0: Option<OsString>,
    pub(super) args: Vec<OsString>,
    pub(super) env: Environment,
    /// The user's home, or `/` if there is no such directory.
    pub(super) home: PathBuf,
    pub(super) current_dir: Option<PathBuf>,
}

impl ProcessPlan {
    pub(super) fn new(request: &SessionRequest, account: &Account, allowed: &[String]) -> Self {
        let shell = account.shell.as_os_str();
        let (program, arg0, args) = match &request.kind {
            SessionKind::Exec { command } => {
                let command = OsString::from_vec(command.to_vec());
                (shell.to_owned(), None, vec!["-c".into(), command])
            }
            SessionKind::Shell => (shell.to_owned(), Some(login_name(&account.shell)), Vec::new()),
            // Nothing is known to run.
            SessionKind::Subsystem { .. } => (OsString::new(), None, Vec::new()),
        };
        Self {
            program,
            arg0,
            args,
            env: environment(request, account, allowed),
            home: account.home.clone(),
            current_dir: None,
        }
    }

    /// Starts this program instead, without arguments. A name without `/` is searched in the plan's `PATH`.
    #[must_use]
    pub fn program(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self.arg0 = None;
        self.args.clear();
        self
    }

    /// Sets what the program finds as its own name (`argv[0]`).
    #[must_use]
    pub fn arg0(mut self, name: impl Into<OsString>) -> Self {
        self.arg0 = Some(name.into());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Removes a variable of the environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.remove(name.as_ref());
        self
    }

    /// Empties the environment.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env.clear();
        self
    }

    /// Sets the working directory. If it does not exist, nothing is started. Default: the user's home, or `/` if there is
    /// none.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(directory.into());
        self
    }
}

/// How a login shell is called.
fn login_name(shell: &Path) -> OsString {
    let mut name = OsString::from("-");
    name.push(shell.file_name().unwrap_or(shell.as_os_str()));
    name
}

/// Why nothing is started, in words for the peer: it gets the text on standard error, then the exit status.
///
/// ```
/// use ractor_ssh::process::{Processes, Refusal};
///
/// let processes = Processes::new().prepare(|request, plan| async move {
///     if request.user == "backup" {
///         return Err(Refusal::new("backup runs no commands here"));
///     }
///     Ok(plan.current_dir(format!("/srv/{}", request.user)))
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub(super) text: String,
    pub(super) status: u32,
}

impl Refusal {
    /// With this text, and exit status 1.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), status: 1 }
    }

    /// Sets the exit status.
    #[must_use]
    pub const fn status(mut self, status: u32) -> Self {
        self.status = status;
        self
    }
}
