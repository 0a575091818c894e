//! The socket of an agent that a client lends (`auth-agent-req@openssh.com`).

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use super::{Lender, Listens};
use crate::listen::Acceptor;
use crate::wire::open::OpenRequest;
use crate::x11::private_directory;

/// Connections at a time; more wait.
const AT_A_TIME: usize = 16;

/// A socket that only the daemon's user can reach.
#[derive(Debug)]
pub(super) struct LentAgent {
    // Dropped in this order.
    _listens: Listens,
    directory: TempDir,
}

impl LentAgent {
    pub(super) fn start(lender: Lender) -> io::Result<Self> {
        let directory = private_directory("ssh-agent-")?;
        let path = directory.path().join("agent");
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        tracing::debug!(path = %path.display(), "a forwarded agent is reached here");
        Ok(Self { _listens: Listens(tokio::spawn(listen(listener, lender))), directory })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
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
