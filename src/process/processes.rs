//! Which processes run, and how: the configuration, and the count of those there are.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OnceCell, watch};

use super::account::Account;
use super::channel::ProcessChannel;
use super::keeper::Patience;
use super::plan::{ProcessPlan, Refusal};
use crate::{Router, SessionRequest};

type Prepare = Arc<
    dyn Fn(SessionRequest, ProcessPlan) -> BoxFuture<'static, Result<ProcessPlan, Refusal>> + Send + Sync,
>;

/// Runs commands and shells as the daemon's own user. See the [module](super) for what that means.
///
/// Clones share the count of what runs ([`running`](Self::running)).
#[derive(Clone)]
pub struct Processes {
    shell: Option<PathBuf>,
    env_allow: Vec<String>,
    prepare: Option<Prepare>,
    max_processes: usize,
    patience: Patience,
    running: Arc<watch::Sender<usize>>,
    account: Arc<OnceCell<Account>>,
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processes")
            .field("shell", &self.shell)
            .field("env_allow", &self.env_allow)
            .field("max_processes", &self.max_processes)
            .field("patience", &self.patience)
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

/// # How they are run
impl Processes {
    /// With the defaults that each setter tells.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shell: None,
            env_allow: vec!["LANG".to_owned(), "LC_*".to_owned()],
            prepare: None,
            max_processes: 1024,
            patience: Patience {
                linger: Duration::from_secs(5),
                kill_grace: Duration::from_secs(5),
                end_background: false,
            },
            running: Arc::new(watch::Sender::new(0)),
            account: Arc::default(),
        }
    }

    /// Sets the shell that runs commands, and that is run as a login shell. Default: `SHELL` of the daemon's environment,
    /// else the user database's, else `/bin/sh`.
    #[must_use]
    pub fn shell(mut self, path: impl Into<PathBuf>) -> Self {
        self.shell = Some(path.into());
        self
    }

    /// Sets which environment variables a peer may set (`env`, RFC 4254 section 6.4), as patterns in which `*` stands for
    /// any characters and `?` for one. Others are passed over. `HOME`, `USER`, `LOGNAME`, `SHELL`, `PATH` and what
    /// begins with `SSH_` are the daemon's, whatever is allowed. Default: `LANG` and
    /// `LC_*`. `TERM` comes with the terminal.
    #[must_use]
    pub fn env_allow<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.env_allow = patterns.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a function that may change what is started, or refuse. It gets the request and a complete plan; it runs in the
    /// channel's own actor, so it may take its time. If it panics, the channel is closed.
    #[must_use]
    pub fn prepare<F>(
        mut self,
        prepare: impl Fn(SessionRequest, ProcessPlan) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<ProcessPlan, Refusal>> + Send + 'static,
    {
        self.prepare = Some(Arc::new(move |request, plan| prepare(request, plan).boxed()));
        self
    }

    /// Sets how long a process has to end after SIGHUP, when its channel is over, before it gets SIGKILL. Default 5 s.
    #[must_use]
    pub const fn kill_grace(mut self, grace: Duration) -> Self {
        self.patience.kill_grace = grace;
        self
    }

    /// Sets for how long, after a command has ended, output is waited for from those that have its pipes open still:
    /// what it left in the background. Only time in which nothing comes, and the peer could take something, counts.
    /// Default 5 s.
    #[must_use]
    pub const fn linger(mut self, limit: Duration) -> Self {
        self.patience.linger = limit;
        self
    }

    /// Sets whether what a command or shell left in the background of its process group ends with it, in the same way as
    /// at the end of the channel. Default: no, it lives on, as with OpenSSH.
    #[must_use]
    pub const fn end_background(mut self, end: bool) -> Self {
        self.patience.end_background = end;
        self
    }

    /// Sets how many processes may run at a time, with those that have not ended yet although their channel has;
    /// further ones are refused with a word about it. Default 1,024.
    #[must_use]
    pub const fn max_processes(mut self, limit: usize) -> Self {
        self.max_processes = limit;
        self
    }
}

/// # Running them
impl Processes {
    /// The behaviour that runs what a request asks for; for routes of one's own. For a subsystem, which names no
    /// program, [`prepare`](Self::prepare) must name one.
    #[must_use]
    pub fn channel(&self, request: SessionRequest) -> ProcessChannel {
        ProcessChannel::new(self.clone(), request)
    }

    /// How many processes run. One is counted until it is reaped, and what had to end with it is gone.
    #[must_use]
    pub fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Waits until no process runs. After the daemon has stopped, that is at most the
    /// [`kill_grace`](Self::kill_grace) away; a program that ends earlier ends the rest at once.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn ended(&self) {
        // The sender is ours: it does not go away meanwhile.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    pub(super) const fn patience(&self) -> Patience {
        self.patience
    }

    /// One more, if there may be.
    pub(super) fn count(&self) -> Result<Counted, Refusal> {
        let counted = self.running.send_if_modified(|running| {
            let room = *running < self.max_processes;
            *running += usize::from(room);
            room
        });
        if counted {
            return Ok(Counted(Arc::clone(&self.running)));
        }
        tracing::warn!(limit = self.max_processes, "too many processes");
        Err(Refusal::new("there are too many processes; try again later"))
    }

    pub(super) async fn plan(&self, request: SessionRequest) -> Result<ProcessPlan, Refusal> {
        let account = self.account.get_or_try_init(|| tokio::task::spawn_blocking(Account::look_up)).await;
        let mut account = account.cloned().map_err(|error| {
            tracing::error!(%error, "cannot find out who the daemon is");
            Refusal::new("cannot start a process")
        })?;
        if let Some(shell) = &self.shell {
            account.shell.clone_from(shell);
        }
        let plan = ProcessPlan::new(&request, &account, &self.env_allow);
        match &self.prepare {
            Some(prepare) => prepare(request, plan).await,
            None => Ok(plan),
        }
    }
}

/// One process, counted.
pub(super) struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running = running.saturating_sub(1));
    }
}

/// # Real processes (feature `pty`)
impl Router {
    /// Runs a process for every command and every shell, as the daemon's own user. Replaces earlier routes for both.
    #[must_use]
    pub fn processes(self, processes: Processes) -> Self {
        let shells = processes.clone();
        self.exec(move |request| processes.channel(request)).shell(move |request| shells.channel(request))
    }
}
