//! What runs on the channels of a daemon, by what the peer asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

mod listens;
mod make;
mod opens;

pub(super) use listens::Listens;
pub use make::Route;
pub(super) use make::{Made, Make, guarded};

use super::exec::ExecOutput;
use super::request::{DirectStreamlocal, DirectTcpip, NewSession, SessionKind, SessionRequest};
use crate::behaviour::ServerChannel;
use crate::config::WindowAdjust;
#[cfg(feature = "sftp")]
use crate::error::ConfigError;
use crate::session::{Served, ServerStream};
#[cfg(feature = "sftp")]
use crate::subsystem::Sftp;
use crate::wire::codes::OpenFailureReason;
use crate::wire::request::ExitStatus;

/// What runs on the channels of a daemon: for sessions one route for commands, one for shells, one per subsystem, and
/// one that decides about the rest; routes for other channel types.
///
/// What has no route is refused: a request by SSH_MSG_CHANNEL_FAILURE, an open by
/// SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, a channel type that nobody knows by SSH_OPEN_UNKNOWN_CHANNEL_TYPE. A route is a function that makes a behaviour; it runs
/// between two packets of its connection, so it must not block. Environment and terminal that the peer asked for
/// before are in the [`SessionRequest`]; what it sends before the behaviour runs waits for it. The behaviour gets
/// everything that comes after: data, eof, signals, new window sizes.
///
/// ```
/// use ractor_ssh::{ExecOutput, Router};
///
/// let router = Router::new().exec_fn(|request| async move {
///     match &*request.command() {
///         "uptime" => ExecOutput::ok("since this morning\n"),
///         other => ExecOutput::fail(127, format!("{other}: not found\n")),
///     }
/// });
/// ```
#[derive(Clone, Default)]
pub struct Router {
    exec: Option<Make<SessionRequest>>,
    shell: Option<Make<SessionRequest>>,
    subsystems: BTreeMap<String, Make<SessionRequest>>,
    #[cfg(feature = "sftp")]
    sftp: Option<Sftp>,
    decide: Option<Make<SessionRequest>>,
    pub(super) session: Option<Make<NewSession>>,
    pub(super) direct_tcpip: Option<Make<DirectTcpip>>,
    pub(super) direct_streamlocal: Option<Make<DirectStreamlocal>>,
    pub(super) listens: Listens,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("exec", &self.exec.is_some())
            .field("shell", &self.shell.is_some())
            .field("subsystems", &self.subsystems.keys())
            .field("decide", &self.decide.is_some())
            .field("session", &self.session.is_some())
            .field("direct_tcpip", &self.direct_tcpip.is_some())
            .field("direct_streamlocal", &self.direct_streamlocal.is_some())
            .field("listens", &self.listens)
            .finish()
    }
}

impl Router {
    /// No routes: everything is refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a behaviour for every command (`exec`, RFC 4254 section 6.5).
    #[must_use]
    pub fn exec<C: ServerChannel>(self, make: impl Fn(SessionRequest) -> C + Send + Sync + 'static) -> Self {
        self.exec_if(move |request| Some(make(request)))
    }

    /// Runs a behaviour for the commands that the function makes one for, and refuses the others.
    #[must_use]
    pub fn exec_if<C: ServerChannel>(
        mut self,
        make: impl Fn(SessionRequest) -> Option<C> + Send + Sync + 'static,
    ) -> Self {
        self.exec = Some(make::now(make));
        self
    }

    /// Answers every command with what an async function returns: output first, then the status, eof and close.
    ///
    /// It runs beside its channel, and is dropped when that ends first. What the peer sends goes nowhere. If it
    /// panics, the channel is closed without a status.
    #[must_use]
    pub fn exec_fn<F>(self, run: impl Fn(SessionRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ExecOutput> + Send + 'static,
    {
        self.exec(move |request| {
            let output = run(request);
            Served::new(move |stream: ServerStream| async move {
                // What the peer sends goes nowhere, and holds nobody up.
                let (input, mut stdout) = stream.into_split();
                drop(input);
                let output = output.await;
                // They fail when the channel is closed, and then there is nobody to tell.
                let _ = stdout.send(output.stdout).await;
                let _ = stdout.stderr().send(output.stderr).await;
                output.status
            })
        })
    }

    /// Runs an async function for every command: it reads what the peer sends, writes to its standard output and
    /// standard error as it goes, and returns the exit status (a `u32`, an [`ExitSignal`](crate::wire::ExitSignal) or
    /// an [`ExitStatus`]). Everything that was written goes out first, then the status, eof and close.
    ///
    /// It runs beside its channel. When that ends first, it may read what has arrived, and is dropped as
    /// [`ServerStream`] says. If it panics, the channel is closed without a status. It does not see signals and new window sizes; who needs them writes a [`ServerChannel`].
    ///
    /// ```
    /// use ractor_ssh::Router;
    /// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    ///
    /// let router = Router::new().exec_stream_fn(|request, mut stream| async move {
    ///     let mut input = String::new();
    ///     let done = async {
    ///         stream.read_to_string(&mut input).await?;
    ///         stream.write_all(input.to_uppercase().as_bytes()).await?;
    ///         stream.stderr().write_all(request.command().as_bytes()).await
    ///     };
    ///     if done.await.is_ok() { 0 } else { 1 }
    /// });
    /// ```
    #[must_use]
    pub fn exec_stream_fn<F>(
        self,
        run: impl Fn(SessionRequest, ServerStream) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output: Into<ExitStatus>> + Send + 'static,
    {
        self.exec(served(run))
    }

    /// Runs a behaviour for every shell (`shell`, RFC 4254 section 6.5).
    #[must_use]
    pub fn shell<C: ServerChannel>(
        mut self,
        make: impl Fn(SessionRequest) -> C + Send + Sync + 'static,
    ) -> Self {
        self.shell = Some(make::now(move |request| Some(make(request))));
        self
    }

    /// Runs an async function for every shell, as [`exec_stream_fn`](Self::exec_stream_fn) does for commands.
    #[must_use]
    pub fn shell_fn<F>(
        self,
        run: impl Fn(SessionRequest, ServerStream) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output: Into<ExitStatus>> + Send + 'static,
    {
        self.shell(served(run))
    }

    /// Runs an async function for the subsystem of this name, as [`exec_stream_fn`](Self::exec_stream_fn) does for
    /// commands.
    #[must_use]
    pub fn subsystem_fn<F>(
        self,
        name: impl Into<String>,
        run: impl Fn(SessionRequest, ServerStream) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output: Into<ExitStatus>> + Send + 'static,
    {
        self.subsystem(name, served(run))
    }

    /// Asks an async function about every command, shell and subsystem that has no route of its own.
    ///
    /// The request is answered when the function has returned; after the request timeout (30 s by default) it is
    /// refused. Meanwhile nothing else waits: the function runs beside the connection, and data that the peer sends on
    /// this channel is kept for the behaviour, within the budgets.
    ///
    /// russh remembers one unanswered request a channel. A peer that asks for something else on the *same* channel
    /// before this one is answered, later than 50 ms after it, gets one answer for both. OpenSSH and clients that wait
    /// for their answers are not concerned.
    ///
    /// ```
    /// use ractor_ssh::{Route, Router};
    ///
    /// let router = Router::new().decide(|request| async move {
    ///     if request.user != "backup" {
    ///         return Route::refuse();
    ///     }
    ///     Route::run_fn(|mut stream| async move { if stream.send("ready\n").await.is_ok() { 0 } else { 1 } })
    /// });
    /// ```
    #[must_use]
    pub fn decide<F>(mut self, decide: impl Fn(SessionRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Route> + Send + 'static,
    {
        self.decide = Some(make::decided(decide));
        self
    }

    /// Runs a behaviour for the subsystem of this name (`subsystem`, RFC 4254 section 6.5).
    #[must_use]
    pub fn subsystem<C: ServerChannel>(
        mut self,
        name: impl Into<String>,
        make: impl Fn(SessionRequest) -> C + Send + Sync + 'static,
    ) -> Self {
        self.subsystems.insert(name.into(), make::now(move |request| Some(make(request))));
        self
    }

    /// Serves files: the subsystem `sftp`, the same directory for everybody.
    ///
    /// For a directory per user, see the example of [`Sftp`].
    #[cfg(feature = "sftp")]
    #[must_use]
    pub fn sftp(mut self, sftp: Sftp) -> Self {
        self.sftp = Some(sftp.clone());
        self.subsystem("sftp", move |_| sftp.channel())
    }

    /// Looks at what was given to it.
    #[cfg(feature = "sftp")]
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.sftp.as_ref().map_or(Ok(()), Sftp::check)
    }

    /// What runs for this request, if anything.
    pub(super) fn route(&self, request: SessionRequest, adjust: WindowAdjust) -> Made {
        let own = match &request.kind {
            SessionKind::Exec { .. } => self.exec.as_ref(),
            SessionKind::Shell => self.shell.as_ref(),
            SessionKind::Subsystem { name } => self.subsystems.get(name),
        };
        match own.or(self.decide.as_ref()) {
            Some(make) => guarded(make, request, adjust),
            None => Made::Now(Err(OpenFailureReason::AdministrativelyProhibited)),
        }
    }
}

/// A behaviour that runs this function on its channel.
fn served<W, F>(run: W) -> impl Fn(SessionRequest) -> Served<Box<dyn FnOnce(ServerStream) -> F + Send>>
where
    W: Fn(SessionRequest, ServerStream) -> F + Clone + Send + Sync + 'static,
    F: Future<Output: Into<ExitStatus>> + Send + 'static,
{
    move |request| {
        let run = run.clone();
        Served::new(Box::new(move |stream| run(request, stream)))
    }
}
