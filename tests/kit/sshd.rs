//! A real OpenSSH server in a private directory, on an ephemeral loopback port, run as the current user.
//!
//! Owns the server's life: start, signals, log, end. Dropping an [`Sshd`] kills the listener, its sessions
//! and the commands they run, also those whose session has already ended.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::daemon::{Launch, POLL, Setup, Shared};
use super::keys::KeyPair;
use super::process::{Process, freeze};
use super::programs::openssh;
use super::sshd_config::SshdBuilder;
use super::trial;

/// A running OpenSSH server.
#[derive(Debug)]
pub(crate) struct Sshd {
    shared: Arc<Shared>,
    setup: Setup,
    port: u16,
}

impl Sshd {
    /// A builder with one Ed25519 host key, one Ed25519 user key and the kit's settings.
    pub(crate) fn builder() -> SshdBuilder {
        SshdBuilder::new()
    }

    pub(super) fn start(builder: &SshdBuilder) -> io::Result<Self> {
        let shared = Shared::new()?;
        let setup = Setup::prepare(builder, shared.directory.path())?;
        trial::register(&shared);
        let port = shared.launch_on_a_free_port(&setup)?;
        let server = Self { shared, setup, port };
        server.write_known_hosts()?;
        Ok(server)
    }

    /// Kills everything that is left and starts again on the same port with the same keys.
    pub(crate) fn restart(&self) -> io::Result<()> {
        self.kill();
        match self.shared.launch(&self.setup, self.port)? {
            Launch::Listening => Ok(()),
            Launch::PortTaken => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("port {} was taken while the server was down", self.port),
            )),
        }
    }

    /// Where the server listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The port alone.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The name to log in with: the current user's.
    pub(crate) fn user(&self) -> &str {
        &self.setup.user
    }

    /// The private key file the server lets in.
    pub(crate) fn identity(&self) -> &Path {
        self.setup.identity.path()
    }

    /// The user's key, with its public half.
    pub(crate) fn user_key(&self) -> &KeyPair {
        &self.setup.identity
    }

    /// A `known_hosts` file with this server's keys, or its authority if it has certificates.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.directory().join("known_hosts")
    }

    /// The host keys, in the order asked for.
    pub(crate) fn host_keys(&self) -> &[KeyPair] {
        &self.setup.host_keys
    }

    /// The authority that signed the host keys, if asked for.
    pub(crate) fn host_ca(&self) -> Option<&KeyPair> {
        self.setup.host_ca.as_ref()
    }

    /// The authority the server trusts to sign user keys, if asked for.
    pub(crate) fn user_ca(&self) -> Option<&KeyPair> {
        self.setup.user_ca.as_ref()
    }

    /// The private directory, for further files of the test.
    pub(crate) fn directory(&self) -> &Path {
        self.shared.directory.path()
    }

    /// Lets one more key in: a line of `authorized_keys`, options and all. Takes effect at once.
    pub(crate) fn authorize(&self, line: &str) -> io::Result<()> {
        let mut file = File::options().append(true).open(&self.setup.authorized_keys)?;
        writeln!(file, "{line}")
    }

    /// What the server has logged since it was first started.
    pub(crate) fn log(&self) -> String {
        self.shared.log()
    }

    /// Waits until `text` is in the log; an error with the whole log if it is not in time.
    pub(crate) async fn wait_for_log(&self, text: &str, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        while !self.log().contains(text) {
            if Instant::now() >= end {
                let log = self.log();
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no {text:?} in:\n{log}")));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The listener and everything below it: sessions, and what users run in them.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.shared.members().into_iter().map(Process::pid).collect()
    }

    /// SIGKILL to the listener, the sessions and what they run. The port then refuses connections.
    pub(crate) fn kill(&self) {
        self.shared.kill();
    }

    /// SIGKILL to the sessions and what they run; the listener goes on.
    pub(crate) fn kill_sessions(&self) {
        let listener = self.shared.listener_pid();
        freeze(|| {
            self.shared.members().into_iter().filter(|member| Some(member.pid()) != listener).collect()
        })
        .into_iter()
        .for_each(|member| member.signal(Signal::KILL));
    }

    /// SIGSTOP to all of it: connections stay open and nothing answers, until [`cont`](Self::cont).
    pub(crate) fn stop(&self) {
        freeze(|| self.shared.members());
    }

    /// SIGCONT to all of it.
    pub(crate) fn cont(&self) {
        self.shared.members().into_iter().for_each(|member| member.signal(Signal::CONT));
    }

    /// Stops everything until the returned guard is dropped.
    pub(crate) fn stop_cont(&self) -> Stopped<'_> {
        self.stop();
        Stopped(self)
    }

    /// The OpenSSH client, set up for this server (its key, its known host, no other configuration);
    /// the command to run is still to be added.
    pub(crate) fn ssh_command(&self) -> io::Result<Command> {
        let mut command = openssh("ssh", self.identity(), &self.known_hosts(), "yes")?;
        command.args(["-p", &self.port.to_string(), "-l", self.user(), "127.0.0.1"]);
        Ok(command)
    }

    fn write_known_hosts(&self) -> io::Result<()> {
        let names = format!("[127.0.0.1]:{0},[localhost]:{0}", self.port);
        let mut file = File::create(self.known_hosts())?;
        if let Some(authority) = self.host_ca() {
            return writeln!(file, "@cert-authority {names} {}", authority.public_fields()?);
        }
        for key in self.host_keys() {
            writeln!(file, "{names} {}", key.public_fields()?)?;
        }
        Ok(())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.shared.kill();
    }
}

/// A server whose processes are all stopped; dropping it continues them.
#[derive(Debug)]
pub(crate) struct Stopped<'a>(&'a Sshd);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.cont();
    }
}
