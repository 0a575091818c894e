//! What all files of a transfer share: the budget, the account, and the turns they take.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::options::Transfer;
use super::report::{Progress, TransferReport};
use crate::sftp::client::{SftpClient, at_once};
use crate::sftp::error::{SftpError, SftpErrorKind, printable};
use crate::sftp::line::ended;

/// One transfer.
pub(super) struct Mover {
    pub(super) sftp: SftpClient,
    pub(super) how: Transfer,
    budget: Arc<Semaphore>,
    most: u32,
    account: Mutex<TransferReport>,
}

/// One file.
#[derive(Debug)]
pub(super) enum Job {
    Fetch {
        remote: Bytes,
        local: PathBuf,
    },
    /// `follow`: what is copied may be what a link leads to.
    Push {
        local: PathBuf,
        remote: Bytes,
        follow: bool,
    },
}

impl Mover {
    pub(super) fn new(sftp: &SftpClient, how: Transfer) -> Result<Arc<Self>, SftpErrorKind> {
        how.check()?;
        let most = u32::try_from(how.in_flight).unwrap_or(u32::MAX).max(1);
        let budget = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX)));
        let account = Mutex::new(TransferReport::default());
        Ok(Arc::new(Self { sftp: sftp.clone(), how, budget, most, account }))
    }

    pub(super) fn account(&self) -> MutexGuard<'_, TransferReport> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> TransferReport {
        self.account().clone()
    }

    /// Waits for its share of the budget. Requests of a file ask in the order of their bytes: so the first always has
    /// it before the others, and goes on.
    pub(super) async fn share(&self, bytes: usize) -> Result<OwnedSemaphorePermit, SftpErrorKind> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.most);
        let share = Arc::clone(&self.budget).acquire_many_owned(bytes).await;
        share.map_err(|_| ended("the transfer is over"))
    }

    /// How many requests of one file are made at a time, when each has so many bytes.
    pub(super) fn requests(&self, bytes: usize) -> usize {
        at_once(self.how.in_flight, bytes)
    }

    /// Gives files their turns until all are done.
    pub(super) async fn work(
        self: &Arc<Self>,
        jobs: impl Stream<Item = Result<Job, SftpError>> + Send + 'static,
    ) -> Result<(), SftpError> {
        let mover = Arc::clone(self);
        let turns = jobs.map(move |job| Arc::clone(&mover).turn(job));
        let mut done = turns.buffer_unordered(self.how.files_at_once).boxed();
        while let Some(result) = done.next().await {
            result.or_else(|error| self.failed(error))?;
        }
        Ok(())
    }

    // Boxed, with all it needs: the compiler loses track of the lifetimes of futures in streams otherwise.
    fn turn(self: Arc<Self>, job: Result<Job, SftpError>) -> BoxFuture<'static, Result<(), SftpError>> {
        async move {
            match job? {
                Job::Fetch { remote, local } => self.fetch(&remote, local).await,
                Job::Push { local, remote, follow } => self.push(local, &remote, follow).await,
            }
        }
        .boxed()
    }

    /// Notes an error, if the others are to go on, and can.
    pub(super) fn failed(&self, error: SftpError) -> Result<(), SftpError> {
        if !self.how.keep_going || self.sftp.ended().is_some() {
            return Err(error);
        }
        self.account().fail(error);
        Ok(())
    }

    pub(super) fn skip(&self, name: &[u8]) {
        self.account().skip(printable(name));
    }

    /// One more name of a tree.
    pub(super) fn count(&self, names: &mut u64, directory: &[u8]) -> Result<(), SftpError> {
        *names += 1;
        if *names <= self.how.most_entries {
            return Ok(());
        }
        let problem = format!("more than {} names; raise `most_entries` to take them", self.how.most_entries);
        Err(SftpErrorKind::refused(problem).at("list", directory))
    }
}

/// How far one file has come.
pub(super) struct Course {
    mover: Arc<Mover>,
    progress: Progress,
}

impl Course {
    pub(super) fn begin(mover: &Arc<Mover>, path: &[u8], at: u64, size: u64) -> Self {
        mover.account().resumed += at;
        let path = printable(path).into();
        let progress = Progress { path, at, size, finished: false, all_bytes: 0, all_files: 0 };
        let mut course = Self { mover: Arc::clone(mover), progress };
        course.tell(0);
        course
    }

    /// How many bytes are where they belong, with those that were there before.
    pub(super) const fn at(&self) -> u64 {
        self.progress.at
    }

    /// So many bytes more are where they belong.
    pub(super) fn moved(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.progress.at = self.progress.at.saturating_add(bytes);
        self.tell(bytes);
    }

    pub(super) fn done(mut self) {
        self.mover.account().files += 1;
        self.progress.finished = true;
        self.tell(0);
    }

    fn tell(&mut self, bytes: u64) {
        {
            let mut account = self.mover.account();
            account.bytes = account.bytes.saturating_add(bytes);
            (self.progress.all_bytes, self.progress.all_files) = (account.bytes, account.files);
        }
        if let Some(watcher) = &self.mover.how.watcher {
            watcher(&self.progress);
        }
    }
}
