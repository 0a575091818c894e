//! From the server to here.

use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::join;
use super::local::{self, Shared, blocking};
use super::mover::{Course, Job, Mover};
use super::options::{Symlinks, Transfer};
use super::report::TransferReport;
use super::walk::{self, Direction, Found, Pair};
use crate::sftp::attributes::{Attributes, FileKind};
use crate::sftp::client::SftpClient;
use crate::sftp::error::{SftpError, SftpErrorKind};
use crate::sftp::file::RemoteFile;
use crate::sftp::handle::Handle;
use crate::sftp::listing::{DirEntry, ReadDir};
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
        walk::tree::<Down>(&mover, Pair { remote, local }, attributes).await?;
        Ok(mover.report())
    }
}

/// A remote tree is walked through.
struct Down;

impl Direction for Down {
    const VERB: &'static str = "download";
    type Names = ReadDir;
    type Entry = DirEntry;

    async fn list(mover: &Mover, pair: &Pair) -> Result<ReadDir, SftpError> {
        mover.sftp.read_dir(&pair.remote).await
    }

    async fn make(_: &Mover, pair: &Pair, attributes: &Attributes, top: bool) -> Result<(), SftpError> {
        let (path, mode) = (pair.local.clone(), attributes.permissions);
        blocking("make directory", &pair.local, move || local::make_directory(&path, mode, top)).await
    }

    async fn next(names: &mut ReadDir, _: &Pair) -> Result<Option<DirEntry>, SftpError> {
        names.next_entry().await
    }

    fn names(pair: &Pair, entry: &DirEntry) -> Result<Pair, SftpError> {
        let remote = join(&pair.remote, &entry.name);
        let name = local::name(&entry.name).map_err(|kind| kind.at(Self::VERB, &remote))?;
        Ok(Pair { remote, local: pair.local.join(name) })
    }

    async fn look(mover: &Mover, pair: Pair, entry: DirEntry) -> Result<Found, SftpError> {
        let Pair { remote, local } = pair;
        let mut attributes = entry.attributes;
        if attributes.kind() == FileKind::Unknown {
            attributes = mover.sftp.lstat(&remote).await?;
        }
        if attributes.kind() == FileKind::Symlink && mover.how.symlinks == Symlinks::Follow {
            attributes = mover.sftp.stat(&remote).await?;
        }
        Ok(match attributes.kind() {
            FileKind::File => Found::File(Job::Fetch { remote, local }),
            FileKind::Directory => Found::Directory(attributes),
            _ => Found::Other(remote),
        })
    }

    async fn preserve(_: &Mover, pair: Pair, attributes: Attributes) -> Result<(), SftpError> {
        let directory = pair.local.clone();
        let set = move || local::preserve(&local::open_directory(&directory)?, &attributes);
        if cfg!(unix) { blocking("set attributes of", &pair.local, set).await } else { Ok(()) }
    }
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
