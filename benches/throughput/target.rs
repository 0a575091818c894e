//! The servers: this bench's own, in a child process, and OpenSSH's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use clap::ValueEnum as _;
use ractor_ssh::wire::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;

use crate::kit::{Peer, Sshd, Verdict, verdict};
use crate::server::Kind;

/// Whatever went wrong; it ends the bench.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The cipher of every row.
pub(crate) const CIPHER: &str = "aes256-gcm@openssh.com";

/// A server to measure against.
#[derive(Debug)]
pub(crate) struct Target {
    port: u16,
    user: String,
    key: PrivateKey,
    peer: Running,
}

#[derive(Debug)]
enum Running {
    Own(Server),
    Sshd(Box<Sshd>),
}

/// A child process; it ends with this value.
#[derive(Debug)]
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Target {
    /// One of the bench's own servers, on so many threads, in a process of its own.
    pub(crate) fn own_server(kind: Kind, threads: usize) -> Result<Self, Failure> {
        let word = kind.to_possible_value().ok_or("a server without a name")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", word.get_name(), "--server-threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("the server has no output")?;
        let server = Server(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        Ok(Self {
            port: line.trim().parse()?,
            user: "bench".into(),
            key: new_key(),
            peer: Running::Own(server),
        })
    }

    /// A private OpenSSH server; `None` when it is not installed or does not start.
    pub(crate) fn sshd() -> Option<Self> {
        let missing: Vec<String> = Peer::OpenSshServer.missing().into_iter().collect();
        if !matches!(verdict(&missing, false), Verdict::Run) {
            return None;
        }
        let sshd = Sshd::builder().max_sessions(200).log_level("QUIET").start().ok()?;
        let key = PrivateKey::read_openssh_file(sshd.identity()).ok()?;
        Some(Self {
            port: sshd.port(),
            user: sshd.user().to_owned(),
            key,
            peer: Running::Sshd(Box::new(sshd)),
        })
    }

    /// The server's process, if it is all in one.
    pub(crate) fn process(&self) -> Option<u32> {
        match &self.peer {
            Running::Own(server) => Some(server.0.id()),
            Running::Sshd(_) => None,
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) const fn key(&self) -> &PrivateKey {
        &self.key
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self.peer {
            Running::Own(_) => "russh server",
            Running::Sshd(_) => "sshd",
        }
    }

    /// The OpenSSH server's own client, with this command, if that is what this is.
    pub(crate) fn ssh(&self, command: &str) -> Option<tokio::process::Command> {
        let Running::Sshd(sshd) = &self.peer else { return None };
        let mut ssh = sshd.ssh_command().ok()?;
        ssh.args(["-c", CIPHER, command]).stdout(Stdio::null());
        let mut ssh = tokio::process::Command::from(ssh);
        ssh.kill_on_drop(true);
        Some(ssh)
    }
}

/// A new Ed25519 key, made here and thrown away.
pub(crate) fn new_key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()))
}
