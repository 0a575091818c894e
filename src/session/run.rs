//! Starting what a [`Command`] describes, and the forms in which its result is had.
//!
//! Owns the defaults that differ by form, and the checks. What runs on the channel is in `process`.

use std::sync::Arc;

use super::child::{Child, Deadline, Farewell, Owner};
use super::command::{Command, Program};
use super::error::CommandError;
use super::lane::{Fate, Lane};
use super::lend::offer;
use super::outlet::{ChildStdin, Outlet};
use super::output::Output;
use super::pipe::{ChildStderr, ChildStdout, Inlet};
use super::process::{Plan, Process, Start};
use super::shared::{Shared, Which};
use super::stdio::{DEFAULT_CAPTURE, Input, Stdin, Stdio, Target};
use super::stream::ChannelStream;
use crate::ChannelHandle;
use crate::error::ConfigError;
use crate::handle::route::Whereabouts;
use crate::wire::request::ExitStatus;

/// # Running it
impl Command {
    /// Runs it to its end and captures its output.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command is treated as [`on_cancel`](Self::on_cancel) says; before the server
    /// confirmed its start, it is hung up.
    ///
    /// # Errors
    /// It could not be started, was cut off, or the deadline passed. Another exit status than 0 is no error.
    pub async fn output(self) -> Result<Output, CommandError> {
        let (target, farewell) = (Target::Captured { cap: DEFAULT_CAPTURE }, self.cancelling());
        let running = self.start(Input::Null, target, farewell).await?;
        running.owner.output().await
    }

    /// Runs it to its end and says how it ended; its output is dropped unless something else was asked for.
    ///
    /// # Cancel safety
    /// As [`output`](Self::output).
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub async fn status(self) -> Result<ExitStatus, CommandError> {
        let farewell = self.cancelling();
        let running = self.start(Input::Null, Target::Null, farewell).await?;
        running.owner.status().await
    }

    /// Starts it. Returns when the server has confirmed the start.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is hung up.
    ///
    /// # Errors
    /// It could not be started, or the deadline passed.
    pub async fn spawn(self) -> Result<Child, CommandError> {
        let farewell = self.cancelling();
        let mut running = self.start(Input::Piped, Target::Piped, farewell).await?;
        running.owner.watch();
        let Running { channel, owner, stdin, stdout, stderr } = running;
        let shared = Arc::clone(owner.shared());
        let mut child = Child::new(channel, owner);
        child.stdin = stdin.then(|| ChildStdin(Outlet::new(child.channel().clone())));
        child.stdout = stdout.then(|| ChildStdout(Inlet::new(Arc::clone(&shared), Which::Stdout)));
        child.stderr = stderr.then(|| ChildStderr(Inlet::new(shared, Which::Stderr)));
        Ok(child)
    }

    /// Starts it and makes its input and output one stream of bytes. Standard error is dropped unless something else
    /// was asked for; if it is piped, [`take_stderr`](ChannelStream::take_stderr) has it.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn). Stdin and stdout cannot be anything but piped, stderr cannot be captured.
    pub async fn stream(mut self) -> Result<ChannelStream, CommandError> {
        self.check_stream()?;
        self.stderr.get_or_insert(Stdio::null());
        let farewell = if self.on_cancel.is_some() { self.cancelling() } else { Farewell::Close };
        let mut running = self.start(Input::Piped, Target::Piped, farewell).await?;
        running.owner.watch();
        let Running { channel, owner, stderr, .. } = running;
        let stderr = stderr.then(|| ChildStderr(Inlet::new(Arc::clone(owner.shared()), Which::Stderr)));
        Ok(ChannelStream::new(channel, owner, stderr))
    }

    /// Who leads a dialogue needs both of these.
    #[cfg(feature = "expect")]
    pub(crate) fn check_dialog(&self) -> Result<(), ConfigError> {
        let no = |field: &str, whose: &str| {
            Err(ConfigError::new(
                field,
                format!("a dialogue is its own {whose}"),
                "leave it out, or use `spawn`",
            ))
        };
        if self.stdin.as_ref().is_some_and(|stdin| !matches!(stdin.0, Input::Piped)) {
            return no("stdin", "input");
        }
        if self.stdout.is_some_and(|stdout| stdout.0 != Target::Piped) {
            return no("stdout", "output");
        }
        Ok(())
    }

    fn cancelling(&self) -> Farewell {
        Farewell::Cancel(self.on_cancel.clone().unwrap_or_default())
    }

    fn check_stream(&self) -> Result<(), ConfigError> {
        let no = |field: &str, problem: &str, fix: &str| Err(ConfigError::new(field, problem, fix));
        if self.stdin.as_ref().is_some_and(|stdin| !matches!(stdin.0, Input::Piped)) {
            return no("stdin", "a stream is its own input", "leave it out, or use `spawn`");
        }
        if self.stdout.is_some_and(|stdout| stdout.0 != Target::Piped) {
            return no("stdout", "a stream is its own output", "leave it out, or use `spawn`");
        }
        if self.stderr.is_some_and(|stderr| matches!(stderr.0, Target::Captured { .. })) {
            return no("stderr", "a stream has no place for captured output", "pipe it, and read it");
        }
        Ok(())
    }

    /// Opens the channel and starts the command. `input` and `target` stand where nothing was asked for, and where a
    /// pipe was asked for whose other end nobody gets.
    async fn start(self, input: Input, target: Target, farewell: Farewell) -> Result<Running, CommandError> {
        let choose = |given: Option<Stdio>| match given {
            Some(Stdio(Target::Piped)) | None => target,
            Some(Stdio(given)) => given,
        };
        let (stdout, stderr) = (choose(self.stdout), choose(self.stderr));
        let input = match self.stdin {
            Some(Stdin(Input::Piped)) | None => input,
            Some(Stdin(given)) => given,
        };
        let stdin_piped = matches!(input, Input::Piped);
        let start = self.program.start()?;
        let shared = Shared::new(lane(stdout, self.unread_cap), lane(stderr, self.unread_cap));
        let owner = Owner::new(Arc::clone(&shared), farewell, self.deadline.and_then(Deadline::from_now));
        let whereabouts = Whereabouts::default();
        let lends = owner.within(offer(self.agent, self.display, &whereabouts)).await??;
        let told = lends.is_some();
        let plan = Plan { pty: self.pty, env: self.env, lends, start, input };
        let [inherit_stdout, inherit_stderr] = [stdout, stderr].map(|target| target == Target::Inherit);
        let process = Process::new(Arc::clone(&shared), plan, inherit_stdout, inherit_stderr);
        let opening = async move {
            let told = told.then_some(&whereabouts);
            self.route.open_channel_telling(self.open, self.options, process, told).await
        };
        let channel = owner.within(opening).await?.map_err(CommandError::Open)?;
        if let Some(error) = shared.failure() {
            return Err(error);
        }
        let [stdout, stderr] = [stdout, stderr].map(|target| target == Target::Piped);
        Ok(Running { channel: ChannelHandle::clone(&channel), owner, stdin: stdin_piped, stdout, stderr })
    }
}

/// A command that was started, and which of its streams are piped.
struct Running {
    channel: ChannelHandle,
    owner: Owner,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Program {
    fn start(self) -> Result<Start, ConfigError> {
        Ok(match self {
            Self::Line(line) => Start::Exec(line.build()?),
            Self::Shell => Start::Shell,
            Self::Subsystem(name) => Start::Subsystem(name),
            Self::Nothing => Start::Nothing,
        })
    }
}

const fn lane(target: Target, unread_cap: usize) -> Lane {
    match target {
        Target::Piped => Lane::new(Fate::Pipe, unread_cap),
        Target::Captured { cap } => Lane::new(Fate::Capture, cap),
        Target::Null | Target::Inherit => Lane::new(Fate::Discard, 0),
    }
}
