//! Dropbear, the other server one meets: on routers, in boot images.
//!
//! Owns its process and directory. It knows users of the machine only, so it gets an account of its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::account::Account;
use super::daemon::POLL;
use super::keys::{KeyKind, KeyPair};
use super::process::require_program;

const START_LIMIT: Duration = Duration::from_secs(20);
const USER: &str = "alice";

/// A running Dropbear server.
#[derive(Debug)]
pub(crate) struct Dropbear {
    directory: TempDir,
    child: Child,
    port: u16,
    identity: KeyPair,
}

impl Dropbear {
    /// Starts one that lets in one key, and `password`. Needs [`Peer::Account`](super::Peer::Account).
    pub(crate) fn start(password: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ssh-kit-").tempdir()?;
        let path = directory.path();
        Account::new(USER, password).prepare(path)?;
        let identity = KeyPair::generate(path.join("id"), KeyKind::Ed25519)?;
        Account::authorize(path, &identity.public_line()?)?;
        let host_key = path.join("host_key");
        let made = Command::new(require_program("dropbearkey")?)
            .args(["-t", "ed25519", "-f"])
            .arg(&host_key)
            .output()?;
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        let public = text.lines().find(|line| line.starts_with("ssh-ed25519 "));
        let public = public.ok_or_else(|| io::Error::other(format!("dropbearkey: {made:?}")))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        std::fs::write(path.join("known_hosts"), format!("[127.0.0.1]:{port} {public}\n"))?;
        let child = Account::command(&require_program("dropbear")?, path)
            .args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-r"])
            .arg(&host_key)
            .arg("-P")
            .arg(path.join("pid"))
            .stdout(Stdio::null())
            .stderr(File::create(path.join("log"))?)
            .spawn()?;
        let server = Self { directory, child, port, identity };
        server.wait_until_listening()?;
        Ok(server)
    }

    fn wait_until_listening(&self) -> io::Result<()> {
        let end = Instant::now() + START_LIMIT;
        loop {
            if let Ok(mut probe) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                // It says something first, so it is not somebody else's port that was free a moment ago.
                let mut greeting = [0; 4];
                return probe.read_exact(&mut greeting);
            }
            if Instant::now() >= end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, self.log()));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The name to log in with.
    pub(crate) fn user(&self) -> &'static str {
        USER
    }

    /// The private key file it lets in.
    pub(crate) fn identity(&self) -> &Path {
        self.identity.path()
    }

    /// A `known_hosts` file with its key.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.directory.path().join("known_hosts")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
