//! From here to the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::OwnedSemaphorePermit;

use super::local::{self, Shared, blocking};
use super::mover::{Course, Job, Mover};
use super::options::{Symlinks, Transfer};
use super::report::TransferReport;
use super::walk::{self, Direction, Found, Pair};
use super::{TAIL, join};
use crate::sftp::attributes::{Attributes, FileKind};
use crate::sftp::client::SftpClient;
use crate::sftp::error::{SftpError, SftpStatus};
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
        walk::tree::<Up>(&mover, Pair { remote, local }, local::attributes(&metadata)).await?;
        Ok(mover.report())
    }
}

/// A local tree is walked through.
struct Up;

impl Direction for Up {
    const VERB: &'static str = "upload to";
    type Names = tokio::fs::ReadDir;
    type Entry = tokio::fs::DirEntry;

    async fn list(_: &Mover, pair: &Pair) -> Result<tokio::fs::ReadDir, SftpError> {
        let names = tokio::fs::read_dir(&pair.local).await;
        names.map_err(|error| SftpError::local("list", &pair.local, error))
    }

    async fn make(mover: &Mover, pair: &Pair, attributes: &Attributes, _: bool) -> Result<(), SftpError> {
        let mut new = Attributes::new();
        new.permissions = attributes.permissions.map(|mode| mode | 0o700);
        let Err(error) = mover.sftp.mkdir_with(&pair.remote, new).await else { return Ok(()) };
        let there = mover.sftp.stat(&pair.remote).await;
        if there.is_ok_and(|there| there.is_dir()) { Ok(()) } else { Err(error) }
    }

    async fn next(
        names: &mut tokio::fs::ReadDir,
        pair: &Pair,
    ) -> Result<Option<tokio::fs::DirEntry>, SftpError> {
        names.next_entry().await.map_err(|error| SftpError::local("list", &pair.local, error))
    }

    fn names(pair: &Pair, entry: &tokio::fs::DirEntry) -> Result<Pair, SftpError> {
        let (local, name) = (entry.path(), entry.file_name());
        let Some(name) = local::to_bytes(&name) else {
            let problem = std::io::Error::other("its name is no text");
            return Err(SftpError::local("upload", &local, problem));
        };
        Ok(Pair { remote: join(&pair.remote, name), local })
    }

    async fn look(mover: &Mover, pair: Pair, _: tokio::fs::DirEntry) -> Result<Found, SftpError> {
        let Pair { remote, local } = pair;
        let follow = mover.how.symlinks == Symlinks::Follow;
        let path = local.clone();
        let look = move || if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
        let metadata = blocking("stat", &local, look).await?;
        Ok(if metadata.is_file() {
            Found::File(Job::Push { local, remote, follow })
        } else if metadata.is_dir() {
            Found::Directory(local::attributes(&metadata))
        } else {
            Found::Other(Bytes::copy_from_slice(local.as_os_str().as_encoded_bytes()))
        })
    }

    async fn preserve(mover: &Mover, pair: Pair, attributes: Attributes) -> Result<(), SftpError> {
        mover.sftp.set_attributes(&pair.remote, attributes).await
    }
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
