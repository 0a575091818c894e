//! A walk through a tree, from either side: what is in it becomes directories at once, and files one by one.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream;

use super::MOST_DEPTH;
use super::mover::{Job, Mover};
use crate::sftp::attributes::Attributes;
use crate::sftp::error::{SftpError, SftpErrorKind};

/// The two names of what is copied.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) remote: Bytes,
    pub(super) local: PathBuf,
}

/// What something in a directory is.
pub(super) enum Found {
    File(Job),
    Directory(Attributes),
    /// Left out; told by this name.
    Other(Bytes),
}

/// What differs between the directions of a copy.
pub(super) trait Direction: Send + 'static {
    /// What is copied, in errors: `download`, then a remote name.
    const VERB: &'static str;
    /// A directory that is being read.
    type Names: Send;
    /// Something in it.
    type Entry: Send;

    /// Begins to read a directory.
    fn list(mover: &Mover, pair: &Pair) -> impl Future<Output = Result<Self::Names, SftpError>> + Send;

    /// Makes it on the other side, unless it is there; `top`: it is the whole tree's.
    fn make(
        mover: &Mover,
        pair: &Pair,
        attributes: &Attributes,
        top: bool,
    ) -> impl Future<Output = Result<(), SftpError>> + Send;

    /// The next entry of a directory, in no order that matters. After an error, there is none.
    fn next(
        names: &mut Self::Names,
        pair: &Pair,
    ) -> impl Future<Output = Result<Option<Self::Entry>, SftpError>> + Send;

    /// The names of an entry.
    fn names(pair: &Pair, entry: &Self::Entry) -> Result<Pair, SftpError>;

    /// What it is.
    fn look(
        mover: &Mover,
        pair: Pair,
        entry: Self::Entry,
    ) -> impl Future<Output = Result<Found, SftpError>> + Send;

    /// Gives a directory that is full its permissions and times.
    fn preserve(
        mover: &Mover,
        pair: Pair,
        attributes: Attributes,
    ) -> impl Future<Output = Result<(), SftpError>> + Send;
}

/// Directories, and what they were on the side they come from.
type Made = Arc<Mutex<Vec<(Pair, Attributes)>>>;

struct Walk<D: Direction> {
    mover: Arc<Mover>,
    /// The directory that is being read, behind those above it.
    open: Vec<(Pair, D::Names)>,
    /// What is given its permissions and times in the end, when nothing is written into it any more.
    made: Made,
    names: u64,
    direction: PhantomData<D>,
}

/// Copies a directory with all that is below it.
pub(super) async fn tree<D: Direction>(
    mover: &Arc<Mover>,
    top: Pair,
    attributes: Attributes,
) -> Result<(), SftpError> {
    let made = Made::default();
    let mut walk = Walk::<D> {
        mover: Arc::clone(mover),
        open: Vec::new(),
        made: Arc::clone(&made),
        names: 0,
        direction: PhantomData,
    };
    walk.enter(top, attributes).await?;
    let jobs = stream::unfold(walk, |mut walk| async move { walk.next().await.map(|job| (job, walk)) });
    mover.work(jobs).await?;
    let made = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
    // What is deeper was made later, and changes the times of what is above.
    for (pair, attributes) in made.into_iter().rev() {
        D::preserve(mover, pair, attributes).await.or_else(|error| mover.failed(error))?;
    }
    Ok(())
}

impl<D: Direction> Walk<D> {
    async fn enter(&mut self, pair: Pair, attributes: Attributes) -> Result<(), SftpError> {
        if self.open.len() >= MOST_DEPTH {
            let problem = format!("deeper than {MOST_DEPTH} directories");
            return Err(SftpErrorKind::refused(problem).at(D::VERB, &pair.remote));
        }
        let names = D::list(&self.mover, &pair).await?;
        D::make(&self.mover, &pair, &attributes, self.open.is_empty()).await?;
        self.mover.account().directories += 1;
        if self.mover.how.preserve {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push((pair.clone(), attributes));
        }
        self.open.push((pair, names));
        Ok(())
    }

    /// The next file.
    async fn next(&mut self) -> Option<Result<Job, SftpError>> {
        loop {
            let (directory, names) = self.open.last_mut()?;
            let entry = match D::next(names, directory).await {
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
            let pair = match D::names(directory, &entry) {
                Ok(pair) => pair,
                Err(error) => return Some(Err(error)),
            };
            if let Err(error) = self.mover.count(&mut self.names, &directory.remote) {
                self.open.clear();
                return Some(Err(error));
            }
            match self.found(pair, entry).await {
                Ok(None) => {}
                Ok(Some(job)) => return Some(Ok(job)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn found(&mut self, pair: Pair, entry: D::Entry) -> Result<Option<Job>, SftpError> {
        match D::look(&self.mover, pair.clone(), entry).await? {
            Found::File(job) => return Ok(Some(job)),
            Found::Directory(attributes) => self.enter(pair, attributes).await?,
            Found::Other(name) => self.mover.skip(&name),
        }
        Ok(None)
    }
}
