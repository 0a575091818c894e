//! Which behaviour runs on a session channel, by what the peer asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::exec::{ExecOutput, FnChannel};
use super::request::{NewSession, SessionKind, SessionRequest};
use crate::behaviour::{ServerChannel, ServerSide};
use crate::channel::start::Starter;
use crate::config::WindowAdjust;
#[cfg(feature = "sftp")]
use crate::error::ConfigError;
use crate::handle::msg::StartChannel;
#[cfg(feature = "sftp")]
use crate::subsystem::Sftp;

/// Makes what runs on a channel; `None` refuses.
type Make<T> = Arc<dyn Fn(T, WindowAdjust) -> Option<Box<dyn StartChannel>> + Send + Sync>;

/// What runs on the session channels of a daemon: one route for commands, one for shells, one per subsystem.
///
/// What has no route is refused (SSH_MSG_CHANNEL_FAILURE). A route is a function that makes a behaviour; it runs
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
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("exec", &self.exec.is_some())
            .field("shell", &self.shell.is_some())
            .field("subsystems", &self.subsystems.keys())
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
        self.exec = Some(maker(make));
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
        self.exec(move |request| FnChannel::new(run(request)))
    }

    /// Runs a behaviour for every shell (`shell`, RFC 4254 section 6.5).
    #[must_use]
    pub fn shell<C: ServerChannel>(
        mut self,
        make: impl Fn(SessionRequest) -> C + Send + Sync + 'static,
    ) -> Self {
        self.shell = Some(maker(move |request| Some(make(request))));
        self
    }

    /// Runs a behaviour for the subsystem of this name (`subsystem`, RFC 4254 section 6.5).
    #[must_use]
    pub fn subsystem<C: ServerChannel>(
        mut self,
        name: impl Into<String>,
        make: impl Fn(SessionRequest) -> C + Send + Sync + 'static,
    ) -> Self {
        self.subsystems.insert(name.into(), maker(move |request| Some(make(request))));
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
    pub(super) fn route(
        &self,
        request: SessionRequest,
        adjust: WindowAdjust,
    ) -> Option<Box<dyn StartChannel>> {
        let make = match &request.kind {
            SessionKind::Exec { .. } => self.exec.as_ref(),
            SessionKind::Shell => self.shell.as_ref(),
            SessionKind::Subsystem { name } => self.subsystems.get(name),
        };
        make.and_then(|make| guarded(make, request, adjust))
    }
}

/// Who decides what runs on a session channel.
#[derive(Clone)]
pub(super) enum Sessions {
    /// Routes, by the first request that says what it is for.
    Routed(Arc<Router>),
    /// A behaviour per channel, which gets every request and answers it.
    Whole(Make<NewSession>),
}

impl Sessions {
    pub(super) fn whole<C: ServerChannel>(make: impl Fn(NewSession) -> C + Send + Sync + 'static) -> Self {
        Self::Whole(maker(move |session| Some(make(session))))
    }
}

/// Forgets the type of a behaviour.
fn maker<T, C: ServerChannel>(make: impl Fn(T) -> Option<C> + Send + Sync + 'static) -> Make<T> {
    Arc::new(move |asked, adjust| {
        let start = Starter::<C, ServerSide> { behaviour: make(asked)?, adjust, opened: None };
        Some(Box::new(start))
    })
}

/// A function of the user's that panics refuses, and takes nothing down with it.
pub(super) fn guarded<T>(make: &Make<T>, asked: T, adjust: WindowAdjust) -> Option<Box<dyn StartChannel>> {
    catch_unwind(AssertUnwindSafe(|| make(asked, adjust))).unwrap_or_else(|_| {
        tracing::error!("the function that makes a channel's behaviour panicked");
        None
    })
}
