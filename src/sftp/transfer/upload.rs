//! From here to the server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::OwnedSemaphorePermit;

use super::local::{self, Shared, blocking};
use super::mover::{Course, Job, Mover};
use super::options::{Symlinks, Transfer};
use super::report::TransferReport;
use super::{MOST_DEPTH, TAIL, join};
use crate::sftp::attributes::{Attributes, FileKind};
use crate::sftp::client::SftpClient;
use crate::sftp::error::{SftpError, SftpErrorKind, SftpStatus};
use crate::sftp::handle::Handle;
use crate::sftp::open::OpenFlags;
use crate::sftp::wire::Request;

impl SftpClient {
    /// Copies a local file to the remote name `remote`; with [`recursive`](Transfer::recursive), a directory with all
    /// that is below it. Directories that are there are filled; files that are there are overwritten, or
    /// [resumed](Transfer::resume). The directory that is to hold `remote` must be there. A file is read to its end,
    /// wherever that is by then; what is neither a regular file nor a directory is an error, and left out of a tree.
    ///
    /// # Cancel safety
    /// If the future is dropped, remote files are closed behind what was sent; each is a beginning of the whole on a
    /// server that works in order, as OpenSSH's does, and [`resume`](Transfer::resume) goes on behind it.
    ///
    /// # Errors
    /// The first one, remote or local, unless it [keeps going](Transfer::keep_going); the end of the session in every
    /// case. A remote file that could not be written on is cut to what is known to be right.
    pub async fn upload(
        &self,
        local: impl AsRef<Path>,
        remote: impl AsRef<[u8]>,
        how: Transfer,
    ) -> Result<TransferReport, SftpError> {
        let (remote, local) = (Bytes::copy_from_slice(remote.as_ref()), local.as_ref().to_owned());
        let mover = Mover::new(self, how).map_err(|kind| kind.at("upload to", &remote))?;
        let metadata = tokio::fs::metadata(&local).await;
        let metadata = metadata.map_err(|error| SftpError::local("upload", &local, error))?;
        if !metadata.is_dir() {
            mover.work(stream::iter([Ok(Job::Push { local, remote, follow: true })])).await?;
            return Ok(mover.report());
        }
        if !mover.how.recursive {
            let problem = std::io::Error::other("it is a directory; ask for `recursive`");
            return Err(SftpError::local("upload", &local, problem));
        }
        let made = Arc::default();
        let mut walk =
            Walk { mover: Arc::clone(&mover), open: Vec::new(), made: Arc::clone(&made), names: 0 };
        walk.enter(local, remote, local::attributes(&metadata)).await?;
        let jobs = stream::unfold(walk, |mut walk| async move { walk.next().await.map(|job| (job, walk)) });
        mover.work(jobs).await?;
        let made = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
        finish(&mover, made).await?;
        Ok(mover.report())
    }
}

/// Directories, and what they were on the other side.
type Made = Vec<(Bytes, Attributes)>;

/// A walk through a local tree.
struct Walk {
    mover: Arc<Mover>,
    open: Vec<Level>,
    /// What is given its permissions and times in the end, when nothing is written into it any more.
    made: Arc<Mutex<Made>>,
    names: u64,
}

struct Level {
    local: PathBuf,
    remote: Bytes,
    names: tokio::fs::ReadDir,
}

impl Walk {
    async fn enter(
        &mut self,
        local: PathBuf,
        remote: Bytes,
        attributes: Attributes,
    ) -> Result<(), SftpError> {
        if self.open.len() >= MOST_DEPTH {
            let problem = format!("deeper than {MOST_DEPTH} directories");
            return Err(SftpErrorKind::refused(problem).at("upload to", &remote));
        }
        let names = tokio::fs::read_dir(&local).await;
        let names = names.map_err(|error| SftpError::local("list", &local, error))?;
        let sftp = &self.mover.sftp;
        let mut new = Attributes::new();
        new.permissions = attributes.permissions.map(|mode| mode | 0o700);
        if let Err(error) = sftp.mkdir_with(&remote, new).await {
            let there = sftp.stat(&remote).await;
            if !there.is_ok_and(|there| there.is_dir()) {
                return Err(error);
            }
        }
        self.mover.account().directories += 1;
        if self.mover.how.preserve {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push((remote.clone(), attributes));
        }
        self.open.push(Level { local, remote, names });
        Ok(())
    }

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
                    let error = SftpError::local("list", &level.local, error);
                    self.open.pop();
                    return Some(Err(error));
                }
            };
            let local = entry.path();
            let name = entry.file_name();
            let Some(name) = local::to_bytes(&name) else {
                let problem = std::io::Error::other("its name is no text");
                return Some(Err(SftpError::local("upload", &local, problem)));
            };
            let remote = join(&level.remote, name);
            if let Err(error) = self.mover.count(&mut self.names, &level.remote) {
                self.open.clear();
                return Some(Err(error));
            }
            match self.found(local, remote).await {
                Ok(None) => {}
                Ok(Some(job)) => return Some(Ok(job)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn found(&mut self, local: PathBuf, remote: Bytes) -> Result<Option<Job>, SftpError> {
        let follow = self.mover.how.symlinks == Symlinks::Follow;
        let path = local.clone();
        let look = move || if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
        let metadata = blocking("stat", &local, look).await?;
        if metadata.is_file() {
            return Ok(Some(Job::Push { local, remote, follow }));
        }
        if metadata.is_dir() {
            self.enter(local, remote, local::attributes(&metadata)).await?;
        } else {
            self.mover.skip(local.as_os_str().as_encoded_bytes());
        }
        Ok(None)
    }
}

async fn finish(mover: &Mover, made: Made) -> Result<(), SftpError> {
    // What is deeper was made later, and changes the times of what is above.
    for (remote, attributes) in made.into_iter().rev() {
        let done = mover.sftp.set_attributes(&remote, attributes).await;
        done.or_else(|error| mover.failed(error))?;
    }
    Ok(())
}

impl Mover {
    /// Copies one file to the server.
    pub(super) async fn push(
        self: &Arc<Self>,
        path: PathBuf,
        remote: &[u8],
        follow: bool,
    ) -> Result<(), SftpError> {
        let name = path.clone();
        let (local, metadata) = blocking("open", &path, move || {
            let (file, metadata) = local::open_to_read(&name, follow)?;
            Ok((Arc::new(file), metadata))
        })
        .await?;
        let (size, attributes) = (metadata.len(), local::attributes(&metadata));
        let from = if self.how.resume { self.same_beginning(&local, &path, remote, size).await? } else { 0 };
        let cut = if from == 0 { OpenFlags::TRUNCATE } else { OpenFlags::WRITE };
        let mut new = Attributes::new();
        new.permissions = attributes.permissions;
        let file = self.sftp.open_with(remote, OpenFlags::WRITE | OpenFlags::CREATE | cut, new).await?;
        let mut course = Course::begin(self, remote, from, size);
        let source = Source {
            local,
            path,
            handle: Arc::clone(file.handle()),
            remote: Bytes::copy_from_slice(remote),
            from,
        };
        if let Err((error, known)) = self.send(source, &mut course).await {
            if error.status().is_some() {
                // Requests behind the one that failed may have gone well: no gap is left.
                let _ = file.set_attributes(Attributes::new().size(known)).await;
            }
            return Err(error);
        }
        if self.how.preserve {
            file.set_attributes(attributes).await?;
        }
        let mut file = file;
        if self.how.sync {
            file.sync().await?;
        }
        file.close().await?;
        course.done();
        Ok(())
    }

    /// How much of what is there can stay: all, or nothing.
    async fn same_beginning(
        &self,
        local: &Shared,
        path: &Path,
        remote: &[u8],
        size: u64,
    ) -> Result<u64, SftpError> {
        let there = match self.sftp.stat(remote).await {
            Ok(there) => there,
            Err(error) if error.status() == Some(SftpStatus::NoSuchFile) => return Ok(0),
            Err(error) => return Err(error),
        };
        let have = there.size.unwrap_or(0);
        if have == 0 || have > size || there.kind() != FileKind::File {
            return Ok(0);
        }
        let shared = Arc::clone(local);
        let (from, ours) = blocking("read", path, move || local::tail(&shared, have)).await?;
        debug_assert!(ours.len() <= TAIL);
        let file = self.sftp.open(remote).await?;
        let theirs = file.read_at(from, ours.len()).await?;
        file.close().await?;
        Ok(if ours == theirs { have } else { 0 })
    }

    /// Reads and sends, several requests at a time. In trouble: how much is known to be right.
    async fn send(self: &Arc<Self>, source: Source, course: &mut Course) -> Result<(), (SftpError, u64)> {
        let most = self.sftp.reach().write;
        let mut known = source.from;
        let (handle, remote) = (Arc::clone(&source.handle), source.remote.clone());
        let state = (Arc::clone(self), Some(source));
        let requests = stream::unfold(state, move |(mover, source)| async move {
            let mut source = source?;
            match source.next(&mover, most).await {
                Ok(None) => None,
                Ok(Some(request)) => Some((Ok(request), (mover, Some(source)))),
                Err(error) => Some((Err(error), (mover, None))),
            }
        });
        let sent = requests.map(move |request| confirm(Arc::clone(&handle), remote.clone(), request));
        let mut sent = sent.buffered(self.requests(most)).boxed();
        while let Some(confirmed) = sent.next().await {
            let len = confirmed.map_err(|error| (error, known))?;
            known = known.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
            course.moved(len);
        }
        Ok(())
    }
}

/// A local file on its way.
struct Source {
    local: Shared,
    path: PathBuf,
    handle: Arc<Handle>,
    remote: Bytes,
    /// Where the next request begins, here and there.
    from: u64,
}

/// A write, its share of the budget, and how much it writes.
type Filled = (Request, OwnedSemaphorePermit, usize);

impl Source {
    /// The next bytes, read to where they are sent from.
    async fn next(&mut self, mover: &Mover, most: usize) -> Result<Option<Filled>, SftpError> {
        let share = mover.share(most).await.map_err(|kind| kind.at("write", &self.remote))?;
        let mut space = self.handle.space(most);
        let local = Arc::clone(&self.local);
        let at = self.from;
        let (space, len) = blocking("read", &self.path, move || {
            let len = local::read_at(&local, at, most, space.data())?;
            Ok((space, len))
        })
        .await?;
        if len == 0 {
            return Ok(None);
        }
        self.from = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        Ok(Some((space.finish(at), share, len)))
    }
}

fn confirm(
    handle: Arc<Handle>,
    remote: Bytes,
    request: Result<Filled, SftpError>,
) -> BoxFuture<'static, Result<usize, SftpError>> {
    async move {
        let (request, share, len) = request?;
        handle.write(request).await.map_err(|kind| kind.at("write", &remote))?;
        drop(share);
        Ok(len)
    }
    .boxed()
}
