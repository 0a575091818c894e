//! A Unix socket to listen on: the file that stands for it, from its making to its end.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// Who may connect: our own user.
const MODE: u32 = 0o600;
/// How long whoever listens at the path already may take to show that it is alive. Connecting waits only when very
/// many wait before us; then somebody is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A listening Unix socket and its file.
pub(crate) struct UnixSocket {
    listener: UnixListener,
    _file: SocketFile,
}

impl UnixSocket {
    /// Listens at `path`. A socket there that nobody listens on is removed; anything else there is left alone.
    pub(crate) async fn listen(path: &Path) -> io::Result<Self> {
        make_room(path).await?;
        Self::listen_anew(path)
    }

    /// As [`listen`](Self::listen); whatever is there already is left alone.
    pub(crate) fn listen_anew(path: &Path) -> io::Result<Self> {
        let socket = tokio::net::UnixSocket::new_stream()?;
        socket.bind(path)?;
        let file = SocketFile::new(path)?;
        // Nobody can connect before `listen`.
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        Ok(Self { listener: socket.listen(BACKLOG)?, _file: file })
    }

    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

/// Removes a socket without an owner.
async fn make_room(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "something that is no socket is there; remove it, or give another path",
        ));
    }
    match tokio::time::timeout(SIGN_OF_LIFE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => {
            Err(io::Error::new(ErrorKind::AddrInUse, "somebody listens there; stop it, or give another path"))
        }
    }
}

/// The file, removed with this if it is still the same.
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let id = identity(path)?;
        // This process may work from another directory when it ends.
        Ok(Self { path: std::path::absolute(path)?, id })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}
