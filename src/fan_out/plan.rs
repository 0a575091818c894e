//! What is to be done on which hosts.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::host::Form;
use super::run::{FanOutRun, Terms};
use crate::session::Command;
use crate::target::Target;

/// Many hosts on which the same is to be done. See [`fan_out`](crate::fan_out).
///
/// | option | default |
/// |---|---|
/// | `concurrency` | 32 |
/// | `fail_fast` | no: all hosts have their turn |
/// | `deadline` | none |
/// | `pieces` | no: output comes in lines |
/// | `unread_events` | 64 |
#[must_use = "nothing is run before `exec`, `run` or `supervise`"]
pub struct FanOut {
    pub(super) hosts: Vec<(Arc<str>, Target)>,
    pub(super) concurrency: NonZeroUsize,
    pub(super) fail_fast: bool,
    pub(super) deadline: Option<Duration>,
    form: Form,
    unread: usize,
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("hosts", &self.hosts.len())
            .field("concurrency", &self.concurrency)
            .field("fail_fast", &self.fail_fast)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl FanOut {
    /// These hosts, each with a label, in this order.
    pub fn new<L, T>(hosts: impl IntoIterator<Item = (L, T)>) -> Self
    where
        L: Into<Arc<str>>,
        T: Into<Target>,
    {
        Self {
            hosts: hosts.into_iter().map(|(label, target)| (label.into(), target.into())).collect(),
            concurrency: NonZeroUsize::MIN.saturating_add(31),
            fail_fast: false,
            deadline: None,
            form: Form::Lines,
            unread: 64,
        }
    }

    /// Sets how many hosts are at work at a time; 0 counts as 1. Connecting is work, too.
    pub const fn concurrency(mut self, hosts: usize) -> Self {
        self.concurrency = match NonZeroUsize::new(hosts) {
            Some(hosts) => hosts,
            None => NonZeroUsize::MIN,
        };
        self
    }

    /// Sets whether the first failure ends everything: what runs is [cancelled](super::HostOutcome::Cancelled), its
    /// channels are closed, and no further host has its turn. A command that exits with another status than 0 has
    /// failed.
    pub const fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.fail_fast = fail_fast;
        self
    }

    /// Sets how long one host may take from its turn on, connecting included.
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Has output come in pieces as it arrives, instead of line by line. A line that is longer than 16 KiB is broken.
    pub const fn pieces(mut self) -> Self {
        self.form = Form::Pieces;
        self
    }

    /// Sets how many events may wait to be read before the hosts are held up; 0 counts as 1. Each holds at most 64 KiB
    /// of output.
    pub const fn unread_events(mut self, events: usize) -> Self {
        self.unread = events;
        self
    }

    /// Runs a command line on every host.
    ///
    /// Must be called within a tokio runtime: the hosts go to work at once.
    pub fn exec(self, line: impl AsRef<[u8]>) -> FanOutRun {
        self.run(|_, target| Command::exec(target, line.as_ref()))
    }

    /// Runs on every host the command that is made for it, with its label at hand. The commands are all made before the
    /// first one is started.
    ///
    /// Output that a command sends elsewhere ([`Command::stdout`]) brings no events. A deadline of the command's own is
    /// replaced, if there is one for all.
    ///
    /// Must be called within a tokio runtime: the hosts go to work at once.
    pub fn run(self, mut make: impl FnMut(&str, Target) -> Command) -> FanOutRun {
        let hosts = self.hosts.into_iter().map(|(label, target)| {
            let command = make(&label, target);
            let command = match self.deadline {
                Some(limit) => command.deadline(limit),
                None => command,
            };
            (label, command)
        });
        let terms = Terms {
            concurrency: self.concurrency.get(),
            fail_fast: self.fail_fast,
            form: self.form,
            unread: self.unread.max(1),
        };
        FanOutRun::start(hosts.collect(), terms)
    }
}
