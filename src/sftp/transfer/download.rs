//! From the server to here.

use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::local::{self, Shared, blocking};
use super::mover::{Course, Job, Mover};
use super::options::{Symlinks, Transfer};
use super::report::TransferReport;
use super::{MOST_DEPTH, join};
use crate::sftp::attributes::{Attributes, FileKind};
use crate::sftp::client::SftpClient;
use crate::sftp::error::{SftpError, SftpErrorKind};
use crate::sftp::file::RemoteFile;
use crate::sftp::handle::Handle;
use crate::sftp::listing::ReadDir;
use crate::sftp::piece::Piece;

impl SftpClient {
    /// Copies a remote file to the local name `local`; with [`recursive`](Transfer::recursive), a directory with all
    /// that is below it. Directories that are there are filled; files that are there are overwritten, or
    /// [resumed](Transfer::resume). The directory that is to hold `local` must be there.
    ///
    /// What the server tells never leads out of `local`: a name that would is an error, and a local symbolic link below
    /// it is not followed. `local` itself may be a link to a directory; to a file it must not be, nor anything else that
    /// is no regular file. A file that grows meanwhile is taken up to the size it began with; one that ends before is an
    /// [error](SftpErrorKind::Short). One whose size the server tells as 0 or not at all is taken to its end.
    ///
    /// # Cancel safety
    /// If the future is dropped, remote files are closed, and what has been written stays: each file is a beginning of
    /// the whole, without gaps, and [`resume`](Transfer::resume) goes on behind it.
    ///
    /// # Errors
    /// The first one, remote or local, unless it [keeps going](Transfer::keep_going); the end of the session in every
    /// case.
    pub async fn download(
        &self,
        remote: impl AsRef<[u8]>,
        local: impl AsRef<Path>,
        how: Transfer,
    ) -> Result<TransferReport, SftpError> {
        let (remote, local) = (Bytes::copy_from_slice(remote.as_ref()), local.as_ref().to_owned());
        let mover = Mover::new(self, how).map_err(|kind| kind.at("download", &remote))?;
        let attributes = self.stat(&remote).await?;
        if !attributes.is_dir() {
            mover.work(stream::iter([Ok(Job::Fetch { remote, local })])).await?;
            return Ok(mover.report());
        }
        if !mover.how.recursive {
            let problem = "it is a directory; ask for `recursive`";
            return Err(SftpErrorKind::refused(problem).at("download", &remote));
        }
        let made = Arc::default();
        let mut walk =
            Walk { mover: Arc::clone(&mover), open: Vec::new(), made: Arc::clone(&made), names: 0 };
        walk.enter(remote, local, attributes).await?;
        let jobs = stream::unfold(walk, |mut walk| async move { walk.next().await.map(|job| (job, walk)) });
        mover.work(jobs).await?;
        let made = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
        finish(&mover, made).await?;
        Ok(mover.report())
    }
}

/// Directories, and what they were on the other side.
type Made = Vec<(PathBuf, Attributes)>;

/// A walk through a remote tree.
struct Walk {
    mover: Arc<Mover>,
    open: Vec<Level>,
    /// What is given its permissions and times in the end, when nothing is written into it any more.
    made: Arc<Mutex<Made>>,
    names: u64,
}

struct Level {
    remote: Bytes,
    local: PathBuf,
    names: ReadDir,
}

impl Walk {
    async fn enter(
        &mut self,
        remote: Bytes,
        local: PathBuf,
        attributes: Attributes,
    ) -> Result<(), SftpError> {
        if self.open.len() >= MOST_DEPTH {
            let problem = format!("deeper than {MOST_DEPTH} directories");
            return Err(SftpErrorKind::refused(problem).at("download", &remote));
        }
        let names = self.mover.sftp.read_dir(&remote).await?;
        let (path, mode, top) = (local.clone(), attributes.permissions, self.open.is_empty());
        blocking("make directory", &local, move || local::make_directory(&path, mode, top)).await?;
        self.mover.account().directories += 1;
        if self.mover.how.preserve {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push((local.clone(), attributes));
        }
        self.open.push(Level { remote, local, names });
        Ok(())
    }

    /// The next file, in no order that matters.
    async fn next(&mut self) -> Option<Result<Job, SftpError>> {
        loop {
            let level = self.open.last_mut()?;
            let entry = match level.names.next_entry().await {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    self.open.pop();
                    continue;
                }
                Err(error) => {
                    self.open.pop();
                    return Some(Err(error));
                }
            };
            let remote = join(&level.remote, &entry.name);
            let local = match local::name(&entry.name) {
                Ok(name) => level.local.join(name),
                Err(kind) => return Some(Err(kind.at("download", &remote))),
            };
            if let Err(error) = self.mover.count(&mut self.names, &level.remote) {
                self.open.clear();
                return Some(Err(error));
            }
            match self.found(remote, local, entry.attributes).await {
                Ok(None) => {}
                Ok(Some(job)) => return Some(Ok(job)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn found(
        &mut self,
        remote: Bytes,
        local: PathBuf,
        mut attributes: Attributes,
    ) -> Result<Option<Job>, SftpError> {
        let sftp = &self.mover.sftp;
        if attributes.kind() == FileKind::Unknown {
            attributes = sftp.lstat(&remote).await?;
        }
        if attributes.kind() == FileKind::Symlink && self.mover.how.symlinks == Symlinks::Follow {
            attributes = sftp.stat(&remote).await?;
        }
        match attributes.kind() {
            FileKind::File => return Ok(Some(Job::Fetch { remote, local })),
            FileKind::Directory => self.enter(remote, local, attributes).await?,
            _ => self.mover.skip(&remote),
        }
        Ok(None)
    }
}

async fn finish(mover: &Mover, made: Made) -> Result<(), SftpError> {
    // What is deeper was made later, and changes the times of what is above.
    for (path, attributes) in made.into_iter().rev() {
        let directory = path.clone();
        let set = move || local::preserve(&local::open_directory(&directory)?, &attributes);
        let done = if cfg!(unix) { blocking("set attributes of", &path, set).await } else { Ok(()) };
        done.or_else(|error| mover.failed(error))?;
    }
    Ok(())
}

impl Mover {
    /// Copies one file to here.
    pub(super) async fn fetch(self: &Arc<Self>, remote: &[u8], path: PathBuf) -> Result<(), SftpError> {
        let file = self.sftp.open(remote).await?;
        let attributes = file.stat().await?;
        if attributes.is_dir() {
            return Err(SftpErrorKind::refused("it has become a directory").at("download", remote));
        }
        let (name, mode) = (path.clone(), attributes.permissions);
        let (local, there) = blocking("open", &path, move || {
            let file = local::open_to_write(&name, mode)?;
            let there = file.metadata()?.len();
            Ok((Arc::new(file), there))
        })
        .await?;
        let size = attributes.size.unwrap_or(0);
        let from = if self.how.resume && there <= size {
            self.same_tail(&file, &local, &path, there).await?
        } else {
            0
        };
        let shared = Arc::clone(&local);
        blocking("write", &path, move || {
            shared.set_len(from)?;
            (&*shared).seek(SeekFrom::Start(from))
        })
        .await?;
        let mut course = Course::begin(self, remote, from, size);
        self.receive(&file, &local, (remote, &path), (from, size), &mut course).await?;
        let (preserve, sync) = (self.how.preserve, self.how.sync);
        blocking("write", &path, move || {
            if preserve {
                local::preserve(&local, &attributes)?;
            }
            if sync { local.sync_all() } else { Ok(()) }
        })
        .await?;
        file.close().await?;
        course.done();
        Ok(())
    }

    /// How much of what is there can stay: all, or nothing.
    async fn same_tail(
        &self,
        file: &RemoteFile,
        local: &Shared,
        path: &Path,
        there: u64,
    ) -> Result<u64, SftpError> {
        let shared = Arc::clone(local);
        let (from, ours) = blocking("read", path, move || local::tail(&shared, there)).await?;
        let theirs = file.read_at(from, ours.len()).await?;
        Ok(if ours == theirs { there } else { 0 })
    }

    fn ask(self: Arc<Self>, handle: Arc<Handle>, at: u64, len: usize) -> BoxFuture<'static, Answer> {
        async move {
            let share = self.share(len).await?;
            Ok((handle.read(at, len).await?, share, len))
        }
        .boxed()
    }

    /// Reads what is left, several requests at a time, and writes it in order: what is there is always a beginning.
    async fn receive(
        self: &Arc<Self>,
        file: &RemoteFile,
        local: &Shared,
        (remote, path): (&[u8], &Path),
        (from, size): (u64, u64),
        course: &mut Course,
    ) -> Result<(), SftpError> {
        let most = self.sftp.reach().read;
        let step = u64::try_from(most).unwrap_or(u64::MAX);
        // Without a size, there is one request at a time: nobody knows how many more there will be.
        let (end, at_once) = if size == 0 { (u64::MAX, 1) } else { (size, self.requests(most)) };
        let mut next = from;
        let offsets = std::iter::from_fn(move || {
            let at = next;
            next = at.saturating_add(step);
            (at < end).then(|| (at, usize::try_from((end - at).min(step)).unwrap_or(most)))
        });
        let (mover, handle) = (Arc::clone(self), Arc::clone(file.handle()));
        let asked = stream::iter(offsets)
            .map(move |(at, len)| Arc::clone(&mover).ask(Arc::clone(&handle), at, len))
            .buffered(at_once);
        let mut asked = asked.boxed();
        let mut writing = Writing::new(Arc::clone(local));
        let (mut outcome, mut more) = (Ok(()), true);
        // What came in order is written before anything else is said: what is there is a beginning, as long as can be.
        while more || !writing.idle() {
            tokio::select! {
                done = writing.over(), if writing.busy() => {
                    course.moved(done.map_err(|error| SftpError::local("write", path, error))?);
                }
                answer = asked.next(), if more => match answer {
                    Some(Ok((piece, share, len))) => {
                        more = piece.len() == len;
                        writing.push(piece, share);
                    }
                    Some(Err(kind)) => (outcome, more) = (Err(kind.at("read", remote)), false),
                    None => more = false,
                },
            }
            writing.begin();
        }
        outcome?;
        if course.at() < size {
            return Err(SftpErrorKind::Short { size, got: course.at() }.at("download", remote));
        }
        Ok(())
    }
}

/// What came, its share of the budget, and how much was asked for.
type Answer = Result<(Piece, OwnedSemaphorePermit, usize), SftpErrorKind>;

/// Writes to one file, one at a time; what comes meanwhile is the next.
struct Writing {
    file: Shared,
    next: Vec<(Piece, OwnedSemaphorePermit)>,
    now: Option<JoinHandle<std::io::Result<usize>>>,
}

impl Writing {
    const fn new(file: Shared) -> Self {
        Self { file, next: Vec::new(), now: None }
    }

    const fn busy(&self) -> bool {
        self.now.is_some()
    }

    fn idle(&self) -> bool {
        self.now.is_none() && self.next.is_empty()
    }

    fn push(&mut self, piece: Piece, share: OwnedSemaphorePermit) {
        self.next.push((piece, share));
    }

    /// Begins with what is there, unless a write is at work.
    fn begin(&mut self) {
        if self.now.is_some() || self.next.is_empty() {
            return;
        }
        let (file, next) = (Arc::clone(&self.file), std::mem::take(&mut self.next));
        self.now = Some(tokio::task::spawn_blocking(move || {
            let mut len = 0;
            for (piece, share) in next {
                len += piece.len();
                local::write_all(&file, &piece.into_chunks())?;
                // The bytes are gone before their share is.
                drop(share);
            }
            Ok(len)
        }));
    }

    /// Waits for the end of the write at work: how many bytes it was.
    async fn over(&mut self) -> std::io::Result<usize> {
        let Some(task) = &mut self.now else { return Ok(0) };
        let done = task.await;
        self.now = None;
        done.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }
}
