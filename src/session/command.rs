//! The builder: what to run, and in which surroundings.
//!
//! Owns the choices. What is made of them is in `run`.

use std::time::Duration;

use super::child::OnCancel;
use super::error::CommandError;
use super::process::Variable;
use super::quote::Arguments;
use super::stdio::{DEFAULT_UNREAD, Stdin, Stdio};
use super::stream::ChannelStream;
use crate::ConnectionRef;
use crate::auth::AgentForward;
use crate::config::ChannelOptions;
use crate::handle::route::Route;
use crate::wire::open::OpenRequest;
use crate::wire::pty::PtyRequest;
use crate::x11::X11Forward;

/// What happens when the server refuses an environment variable. OpenSSH refuses all that `AcceptEnv` does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EnvPolicy {
    /// The command is not started, and the error names the variable. Costs one round trip.
    #[default]
    Require,
    /// The command is started without it.
    BestEffort,
}

/// What to start.
#[derive(Debug)]
pub(super) enum Program {
    Line(Arguments),
    Shell,
    Subsystem(String),
    Nothing,
}

/// A command to be run on a channel of its own, as with `std::process::Command`.
///
/// From [`ConnectionRef::command`], [`exec`](ConnectionRef::exec), [`shell`](ConnectionRef::shell) or
/// [`subsystem`](ConnectionRef::subsystem). Nothing is sent before [`output`](Self::output), [`status`](Self::status),
/// [`spawn`](Self::spawn) or [`stream`](Self::stream) is called and awaited.
///
/// | | stdin | stdout, stderr |
/// |---|---|---|
/// | `output` | null | captured, 16 MiB each |
/// | `status` | null | null |
/// | `spawn` | piped | piped |
///
/// ```no_run
/// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), ractor_ssh::session::CommandError> {
/// use std::time::Duration;
///
/// use ractor_ssh::session::{EnvPolicy, OnCancel, Stdin};
///
/// let output = conn
///     .command("sort")
///     .args(["--key", "2", "it's quoted"])
///     .env_with("LC_ALL", "C", EnvPolicy::BestEffort)
///     .stdin(Stdin::bytes("b 2\na 1\n"))
///     .deadline(Duration::from_secs(10))
///     .on_cancel(OnCancel::term_then_kill(Duration::from_secs(1)))
///     .output()
///     .await?;
/// println!("{}: {}", output.status, output.stdout_text());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is run before `output`, `status`, `spawn` or `stream` is called and awaited"]
pub struct Command {
    pub(super) route: Route,
    pub(super) open: OpenRequest,
    pub(super) program: Program,
    pub(super) env: Vec<Variable>,
    pub(super) pty: Option<PtyRequest>,
    pub(super) agent: Option<AgentForward>,
    pub(super) display: Option<X11Forward>,
    pub(super) stdin: Option<Stdin>,
    pub(super) stdout: Option<Stdio>,
    pub(super) stderr: Option<Stdio>,
    pub(super) unread_cap: usize,
    pub(super) deadline: Option<Duration>,
    pub(super) on_cancel: Option<OnCancel>,
    pub(super) options: ChannelOptions,
}

/// # Commands and streams
impl ConnectionRef {
    /// A program with arguments, each quoted so that a POSIX shell hands it to the program byte for byte.
    ///
    /// The server gives the command line to the user's login shell (RFC 4254 section 6.5). For servers whose shell is
    /// none of POSIX (Windows, network devices) write the line yourself: [`exec`](Self::exec).
    pub fn command(&self, program: impl AsRef<[u8]>) -> Command {
        Route::from(self).command(program)
    }

    /// A command line for the user's login shell, sent as it is.
    pub fn exec(&self, line: impl AsRef<[u8]>) -> Command {
        Route::from(self).exec(line)
    }

    /// The user's login shell, with a terminal like the one this program runs in as far as the environment tells:
    /// see [`PtyRequest::from_env`].
    ///
    /// ```no_run
    /// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
    /// use ractor_ssh::wire::pty::{PtyRequest, WindowSize};
    /// use tokio::io::AsyncWriteExt as _;
    ///
    /// let mut shell = conn.shell().pty(PtyRequest::from_env().size(132, 43)).spawn().await?;
    /// if let Some(stdin) = &mut shell.stdin {
    ///     stdin.write_all(b"echo hello; exit\n").await?;
    /// }
    /// shell.window_change(WindowSize::new(80, 24))?;
    /// println!("{}", shell.wait_with_output().await?.stdout_text());
    /// # Ok(())
    /// # }
    /// ```
    pub fn shell(&self) -> Command {
        Route::from(self).shell()
    }

    /// A subsystem by name (RFC 4254 section 6.5), usually used as one stream: `conn.subsystem("sftp").stream()`.
    pub fn subsystem(&self, name: impl Into<String>) -> Command {
        Route::from(self).subsystem(name)
    }

    /// Opens a channel of any kind and makes it one stream of bytes, without asking for anything on it: for
    /// `direct-tcpip` and the like.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed.
    ///
    /// # Errors
    /// The channel could not be opened.
    pub async fn open_stream(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
    ) -> Result<ChannelStream, CommandError> {
        Route::from(self).open_stream(request, options).await
    }
}

/// The same for every kind of address.
impl Route {
    pub(crate) fn command(self, program: impl AsRef<[u8]>) -> Command {
        Command::on(self, Program::Line(Arguments::new(program)))
    }

    pub(crate) fn exec(self, line: impl AsRef<[u8]>) -> Command {
        Command::on(self, Program::Line(Arguments::raw(line)))
    }

    /// As [`ConnectionRef::open_stream`].
    pub(crate) async fn open_stream(
        self,
        request: OpenRequest,
        options: ChannelOptions,
    ) -> Result<ChannelStream, CommandError> {
        let mut command = Command::on(self, Program::Nothing).options(options);
        command.open = request;
        command.stream().await
    }

    pub(crate) fn shell(self) -> Command {
        Command::on(self, Program::Shell).pty(PtyRequest::from_env())
    }

    pub(crate) fn subsystem(self, name: impl Into<String>) -> Command {
        Command::on(self, Program::Subsystem(name.into()))
    }
}

/// # What to run, and how
impl Command {
    fn on(route: Route, program: Program) -> Self {
        Self {
            route,
            open: OpenRequest::Session,
            program,
            env: Vec::new(),
            pty: None,
            agent: None,
            display: None,
            stdin: None,
            stdout: None,
            stderr: None,
            unread_cap: DEFAULT_UNREAD,
            deadline: None,
            on_cancel: None,
            options: ChannelOptions::default(),
        }
    }

    /// Adds an argument, quoted. Does nothing for shells and subsystems, which have none.
    pub fn arg(mut self, word: impl AsRef<[u8]>) -> Self {
        if let Program::Line(line) = &mut self.program {
            line.arg(word);
        }
        self
    }

    /// Adds arguments, each quoted.
    pub fn args<W: AsRef<[u8]>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        if let Program::Line(line) = &mut self.program {
            line.args(words);
        }
        self
    }

    /// Adds text for the shell as it is, after a space: pipes, redirections, wildcards.
    pub fn raw_arg(mut self, text: impl AsRef<[u8]>) -> Self {
        if let Program::Line(line) = &mut self.program {
            line.raw_arg(text);
        }
        self
    }

    /// Sets an environment variable, which the server must accept ([`EnvPolicy::Require`]).
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env_with(name, value, EnvPolicy::Require)
    }

    /// Sets an environment variable, and what happens if the server refuses it.
    pub fn env_with(mut self, name: impl Into<String>, value: impl Into<String>, policy: EnvPolicy) -> Self {
        self.env.push(Variable { name: name.into(), value: value.into(), policy });
        self
    }

    /// Runs the command in a pseudo-terminal, which must be granted. Its error output then comes in stdout.
    pub fn pty(mut self, pty: PtyRequest) -> Self {
        self.pty = Some(pty);
        self
    }

    /// Runs a shell without a terminal: a script on its stdin, say.
    pub fn no_pty(mut self) -> Self {
        self.pty = None;
        self
    }

    /// Lends an agent to the command (`auth-agent-req@openssh.com`, `ssh -A`), as long as its channel is open: then
    /// connections to the agent are cut off, too. What it means to trust the server with it is told at [`AgentForward`].
    ///
    /// A connection lends one agent at a time: an `auth-agent@openssh.com` channel does not say which command it is for.
    /// So, with OpenSSH's server, the other commands of the connection can use it, too. That server agrees only once a
    /// connection; what it refuses later is taken for granted.
    ///
    /// The connection is the one that the command runs on: a managed connection's at that time, one of a pool's, or that of
    /// an isolated channel, which nobody else can use. A pool's connections are shared, and so is then the agent, as above:
    /// if another command's agent is lent on the one that is found, this command is not started
    /// ([`CommandError::Config`]). Where commands have different agents, isolate them
    /// ([`SlowConsumer::Isolate`](crate::config::SlowConsumer::Isolate) by [`options`](Self::options)), or give each agent a
    /// pool of its own.
    /// If the server refuses, the command is not started, unless
    /// [`best_effort`](AgentForward::best_effort) is set. Default: no agent.
    ///
    /// ```no_run
    /// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
    /// use ractor_ssh::auth::AgentForward;
    ///
    /// let pulled = conn.exec("git pull").forward_agent(AgentForward::from_env()?).output().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn forward_agent(mut self, agent: AgentForward) -> Self {
        self.agent = Some(agent);
        self
    }

    /// Lets the command use a display of this machine (`x11-req`, RFC 4254 section 6.3.1; `ssh -X`, `ssh -Y`), as long as
    /// its channel is open; connections that were made go on. See [`X11Forward`].
    ///
    /// Commands of one connection may use different displays, on a pool, too: cookies tell them apart.
    ///
    /// Before the channel is opened, and before a place in a pool is waited for, the display's cookie is read, or `xauth` is
    /// run for one.
    ///
    /// If there is no cookie, or the server refuses, the command is not started, unless
    /// [`best_effort`](X11Forward::best_effort) is set. Default: no display.
    pub fn forward_x11(mut self, display: X11Forward) -> Self {
        self.display = Some(display);
        self
    }

    /// Sets where standard input comes from.
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = Some(stdin);
        self
    }

    /// Sets where standard output goes.
    pub const fn stdout(mut self, stdout: Stdio) -> Self {
        self.stdout = Some(stdout);
        self
    }

    /// Sets where standard error goes.
    pub const fn stderr(mut self, stderr: Stdio) -> Self {
        self.stderr = Some(stderr);
        self
    }

    /// Sets how many bytes a piped stream keeps that nobody reads while the other one is read. Default 1 MiB.
    pub const fn unread_cap(mut self, bytes: usize) -> Self {
        self.unread_cap = bytes;
        self
    }

    /// Sets how long all of it may take, opening the channel included. Default: no limit to the command itself; every
    /// step before has its own.
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Sets what happens to the remote command when nobody waits for it any more. Default: [`OnCancel::Hangup`]; for
    /// [`stream`](Self::stream) a close behind what was written.
    pub fn on_cancel(mut self, policy: OnCancel) -> Self {
        self.on_cancel = Some(policy);
        self
    }

    /// Sets how the channel is run: budgets, slow-consumer policy, timeouts.
    pub fn options(mut self, options: ChannelOptions) -> Self {
        self.options = options;
        self
    }
}
