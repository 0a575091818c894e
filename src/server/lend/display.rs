//! A display that a client lends (`x11-req`, RFC 4254 section 6.3.1): TCP ports of loopback, and a file with the cookie.

use std::io::{self, ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Directory, Lender, Listens, Place};
use crate::listen::Acceptor;
use crate::server::request::X11Session;
use crate::wire::open::OpenRequest;
use crate::wire::request::X11Request;
use crate::x11::{Cookie, Entry, MIT_MAGIC_COOKIE};

/// As OpenSSH's `X11DisplayOffset` and `MAX_DISPLAYS`.
const FIRST: u16 = 10;
const LAST: u16 = 999;
const FIRST_PORT: u16 = 6000;

/// Connections at a time; more wait.
const AT_A_TIME: usize = 32;

/// A display that processes of this machine can connect to, and that lets in who knows the cookie: the client looks.
#[derive(Debug)]
pub(super) struct LentDisplay {
    // Dropped in this order.
    _listens: Vec<Listens>,
    directory: Directory,
    number: u16,
    screen: u32,
}

impl LentDisplay {
    /// Some system calls, which may block; must be called within a runtime.
    pub(super) fn start(lender: Lender, request: &X11Request, place: Place) -> io::Result<Self> {
        use secrecy::ExposeSecret as _;
        let cookie = Cookie::from_hex(request.auth_cookie.expose_secret())
            .filter(|_| request.auth_protocol == MIT_MAGIC_COOKIE)
            .ok_or_else(|| {
                io::Error::new(ErrorKind::InvalidInput, "the client gave no MIT-MAGIC-COOKIE-1")
            })?;
        let (number, listeners) = bind()?;
        let directory = Directory::new("ssh-x11-", place)?;
        write_private(&directory.file("Xauthority"), &Entry::file(number, &cookie))?;
        let places = Arc::new(Semaphore::new(if request.single_connection { 1 } else { AT_A_TIME }));
        let single = request.single_connection;
        let listens = listeners
            .into_iter()
            .map(|listener| directory.listens(listen(listener, lender.clone(), Arc::clone(&places), single)));
        let listens = listens.collect();
        tracing::debug!(display = number, "a forwarded display is reached here");
        Ok(Self { _listens: listens, directory, number, screen: request.screen })
    }

    pub(super) fn session(&self) -> X11Session {
        X11Session {
            display: format!("localhost:{}.{}", self.number, self.screen),
            authority: self.authority(),
        }
    }

    fn authority(&self) -> PathBuf {
        self.directory.file("Xauthority")
    }
}

/// Writes a new file that only its owner can read.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

/// The first display that is free on loopback, in every address family that this machine has.
fn bind() -> io::Result<(u16, Vec<TcpListener>)> {
    let mut last = io::Error::from(ErrorKind::AddrInUse);
    for number in FIRST..=LAST {
        match bind_one(FIRST_PORT + number) {
            Ok(listeners) => return Ok((number, listeners)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_one(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let mut missing = io::Error::from(ErrorKind::AddrNotAvailable);
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        match std::net::TcpListener::bind(SocketAddr::from((ip, port))) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                listeners.push(TcpListener::from_std(listener)?);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
            // There is no such family here.
            Err(error) => missing = error,
        }
    }
    if listeners.is_empty() { Err(missing) } else { Ok(listeners) }
}

async fn listen(listener: TcpListener, lender: Lender, places: Arc<Semaphore>, single: bool) {
    let mut acceptor = Acceptor::new(listener);
    loop {
        let (stream, from) = acceptor.next(|| ()).await;
        // Whichever listener has the only place, there is no other one.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        if single {
            places.close();
        }
        lend(&lender, stream, from, place);
    }
}

fn lend(lender: &Lender, stream: TcpStream, from: SocketAddr, place: tokio::sync::OwnedSemaphorePermit) {
    let request =
        OpenRequest::X11 { originator_address: from.ip().to_string(), originator_port: from.port() };
    lender.open(request, stream, place);
}
