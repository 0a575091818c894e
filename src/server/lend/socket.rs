//! The socket of an agent that a client lends (`auth-agent-req@openssh.com`).

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use super::{Directory, Lender, Listens, Place};
use crate::listen::Acceptor;
use crate::wire::open::OpenRequest;

/// Connections at a time; more wait.
const AT_A_TIME: usize = 16;

/// A socket that only the daemon's user can reach.
#[derive(Debug)]
pub(super) struct LentAgent {
    // Dropped in this order.
    _listens: Listens,
    directory: Directory,
}

impl LentAgent {
    /// A few system calls, which may block; must be called within a runtime.
    pub(super) fn start(lender: Lender, place: Place) -> io::Result<Self> {
        let directory = Directory::new("ssh-agent-", place)?;
        let path = directory.file("agent");
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        tracing::debug!(path = %path.display(), "a forwarded agent is reached here");
        let listens = directory.listens(listen(listener, lender));
        Ok(Self { _listens: listens, directory })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.file("agent")
    }
}

async fn listen(listener: UnixListener, lender: Lender) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    // It is never closed.
    let mut acceptor = Acceptor::new(listener);
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        lender.open(OpenRequest::AuthAgent, acceptor.next(|| ()).await, place);
    }
}
