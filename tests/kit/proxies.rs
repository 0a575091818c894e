//! Real proxies: Dante and `ssh -D` for SOCKS, tinyproxy for HTTP CONNECT.
//!
//! Owns their processes and directories; each listens on an ephemeral loopback port, and connects to loopback.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::account::Account;
use super::daemon::POLL;
use super::process::{family, freeze, require_program};
use super::sshd::Sshd;

const START_LIMIT: Duration = Duration::from_secs(20);

/// A running proxy; dropping it kills it and what it has started.
#[derive(Debug)]
pub(crate) struct RealProxy {
    directory: TempDir,
    child: Child,
    port: u16,
    tag: String,
}

impl RealProxy {
    /// Dante. With a name and a password it asks for a login; that needs [`Peer::Account`](super::Peer::Account).
    pub(crate) fn dante(login: Option<(&str, &str)>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ssh-kit-").tempdir()?;
        let path = directory.path();
        let port = free_port()?;
        let method = if login.is_some() { "username" } else { "none" };
        let config = format!(
            "logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\nclientmethod: none\n\
             socksmethod: {method}\n\
             client pass {{\n from: 127.0.0.0/8 to: 0.0.0.0/0\n}}\n\
             socks block {{\n from: 127.0.0.0/8 to: 127.0.0.66/32\n}}\n\
             socks pass {{\n from: 127.0.0.0/8 to: 0.0.0.0/0\n command: connect\n log: connect error\n}}\n"
        );
        let file = path.join("danted.conf");
        std::fs::write(&file, config)?;
        let program = require_program("danted")?;
        let mut command = match login {
            Some((name, password)) => {
                Account::new(name, password).prepare(path)?;
                Account::command(&program, path)
            }
            None => Command::new(program),
        };
        command.arg("-f").arg(file).arg("-p").arg(path.join("pid")).args(["-N", "1"]);
        Self::start(directory, command, port)
    }

    /// tinyproxy. With a name and a password it asks for a login.
    pub(crate) fn tinyproxy(login: Option<(&str, &str)>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ssh-kit-").tempdir()?;
        let port = free_port()?;
        let mut config =
            format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nLogLevel Connect\nMaxClients 50\n");
        if let Some((name, password)) = login {
            config.push_str(&format!("BasicAuth {name} {password}\n"));
        }
        let file = directory.path().join("tinyproxy.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new(require_program("tinyproxy")?);
        command.arg("-d").arg("-c").arg(file);
        Self::start(directory, command, port)
    }

    /// `ssh -D` on a server: the only one here that knows SOCKS4a.
    pub(crate) fn ssh_d(sshd: &Sshd) -> io::Result<Self> {
        let port = free_port()?;
        let mut command = sshd.ssh_command()?;
        command.args(["-N", "-o", "ExitOnForwardFailure=yes", "-D", &format!("127.0.0.1:{port}")]);
        Self::start(tempfile::Builder::new().prefix("ssh-kit-").tempdir()?, command, port)
    }

    fn start(directory: TempDir, mut command: Command, port: u16) -> io::Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let tag = format!("SSH_KIT_PROXY={}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        if let Some((name, value)) = tag.split_once('=') {
            command.env(name, value);
        }
        let log = File::create(directory.path().join("log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut proxy = Self { directory, child, port, tag };
        let end = Instant::now() + START_LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if proxy.child.try_wait()?.is_some() || Instant::now() >= end {
                return Err(io::Error::other(format!("the proxy does not listen:\n{}", proxy.log())));
            }
            std::thread::sleep(POLL);
        }
        Ok(proxy)
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// SIGKILL to all of it, in the middle of whatever it does.
    pub(crate) fn kill(&self) {
        let root = i32::try_from(self.child.id()).ok();
        freeze(|| family(root, &self.tag)).into_iter().for_each(|member| member.signal(Signal::KILL));
    }

    /// Where it keeps its files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for RealProxy {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
