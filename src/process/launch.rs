//! Starting a process, with everything that belongs to it.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, PoisonError, RwLock};

use process_wrap::tokio::{CommandWrap, ProcessSession};
use rustix::process::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::group::{Group, Leash};
use super::plan::{ProcessPlan, Refusal};
use super::terminal::{self, Keyboard, Opened, Screen, Terminal};
use crate::wire::PtyRequest;

/// A new terminal is, for a moment, one that a process started meanwhile would inherit, and so keep from ever being hung
/// up. Starting reads, opening a terminal writes.
static OPENING: RwLock<()> = RwLock::new(());

/// A process that runs. Dropped, it is killed, and the runtime reaps it.
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) group: Arc<Group>,
    pub(super) leash: Leash,
    pub(super) streams: Streams,
}

/// What a process reads from and writes to.
pub(super) enum Streams {
    Pipes { stdin: ChildStdin, stdout: ChildStdout, stderr: ChildStderr },
    Terminal { terminal: Arc<Terminal>, keyboard: Keyboard, screen: Screen },
}

impl Streams {
    pub(super) fn terminal(&self) -> Option<Arc<Terminal>> {
        match self {
            Self::Terminal { terminal, .. } => Some(Arc::clone(terminal)),
            Self::Pipes { .. } => None,
        }
    }
}

/// Starts it. May block for as long as the operating system takes to make a process. Within a runtime.
pub(super) fn launch(plan: &ProcessPlan, pty: Option<&PtyRequest>) -> Result<Launched, Refusal> {
    let mut command = command(plan)?;
    let started = match pty {
        Some(pty) => {
            let Opened { terminal, keyboard, screen, process } = {
                let _alone = OPENING.write().unwrap_or_else(PoisonError::into_inner);
                terminal::open(pty).map_err(|error| Refusal::new(format!("no terminal: {error}")))?
            };
            command.env("SSH_TTY", &terminal.name);
            let _starting = OPENING.read().unwrap_or_else(PoisonError::into_inner);
            let child = pty_process::Command::from(command).spawn(process).map_err(|error| match error {
                pty_process::Error::Io(error) => error,
                other => io::Error::other(other),
            });
            child.map(|child| (child, Streams::Terminal { terminal, keyboard, screen }))
        }
        None => {
            let _starting = OPENING.read().unwrap_or_else(PoisonError::into_inner);
            with_pipes(command)
        }
    };
    let (child, streams) = started
        .map_err(|error| Refusal::new(format!("cannot start {}: {error}", plan.program.to_string_lossy())))?;
    let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // A process that was just started, and that nobody has waited for, has a number.
    let group = Arc::new(Group::of(id.ok_or_else(|| Refusal::new("the process has no number"))?));
    Ok(Launched { child, leash: Leash::new(Arc::clone(&group)), group, streams })
}

fn command(plan: &ProcessPlan) -> Result<Command, Refusal> {
    if plan.program.is_empty() {
        return Err(Refusal::new("there is no program for this"));
    }
    let mut command = Command::new(&plan.program);
    if let Some(name) = &plan.arg0 {
        command.arg0(name);
    }
    command.args(&plan.args).env_clear().envs(&plan.env).current_dir(directory(plan)?);
    Ok(command)
}

fn directory(plan: &ProcessPlan) -> Result<&Path, Refusal> {
    match &plan.current_dir {
        Some(chosen) if chosen.is_dir() => Ok(chosen),
        Some(chosen) => Err(Refusal::new(format!("there is no directory {}", chosen.display()))),
        None if plan.home.is_dir() => Ok(&plan.home),
        None => Ok(Path::new("/")),
    }
}

/// In a session of its own: without one it would find the daemon's terminal, if that has one.
fn with_pipes(mut command: Command) -> io::Result<(Child, Streams)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child: Box<dyn std::any::Any> = CommandWrap::from(command).wrap(ProcessSession).spawn()?.into_inner();
    let mut child =
        *child.downcast::<Child>().map_err(|_| io::Error::other("the child is not the runtime's"))?;
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => Ok((child, Streams::Pipes { stdin, stdout, stderr })),
        _ => Err(io::Error::other("a pipe is missing")),
    }
}
