//! A real OpenSSH server in a private directory, on an ephemeral loopback port, run as the current user.
//!
//! Owns the server's life: start, signals, log, end. Dropping an [`Sshd`] kills the listener, its sessions
//! and the commands they run, also those whose session has already ended.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::keys::{KeyKind, KeyPair};
use super::process::{Process, family, require_program};
use super::sshd_config::{Files, SshdBuilder};
use super::trial;

const START_LIMIT: Duration = Duration::from_secs(20);
const START_TRIES: usize = 10;
const POLL: Duration = Duration::from_millis(5);

/// A running OpenSSH server.
#[derive(Debug)]
pub(crate) struct Sshd {
    shared: Arc<Shared>,
    setup: Setup,
    port: u16,
}

/// What a start needs and a restart needs again.
#[derive(Debug)]
struct Setup {
    builder: SshdBuilder,
    program: PathBuf,
    user: String,
    host_keys: Vec<KeyPair>,
    host_ca: Option<KeyPair>,
    user_ca: Option<KeyPair>,
    identity: KeyPair,
    authorized_keys: PathBuf,
    has_penalties: bool,
}

/// The part that a timed-out trial can still reach.
#[derive(Debug)]
pub(super) struct Shared {
    directory: TempDir,
    listener: Mutex<Option<Child>>,
    tag: String,
}

impl Sshd {
    /// A builder with one Ed25519 host key, one Ed25519 user key and the kit's settings.
    pub(crate) fn builder() -> SshdBuilder {
        SshdBuilder::new()
    }

    pub(super) fn start(builder: &SshdBuilder) -> io::Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new().prefix("ssh-kit-").tempdir()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let tag = format!("SSH_KIT_SERVER={}-{number}", std::process::id());
        let setup = Setup::prepare(builder, directory.path())?;
        let shared = Arc::new(Shared { directory, listener: Mutex::new(None), tag });
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
        let mut command = Command::new(require_program("ssh")?);
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "ConnectTimeout=20",
        ]);
        command.args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"]);
        command.arg("-o").arg(format!("UserKnownHostsFile=\"{}\"", self.known_hosts().display()));
        command.arg("-i").arg(self.identity()).args([
            "-p",
            &self.port.to_string(),
            "-l",
            self.user(),
            "127.0.0.1",
        ]);
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
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

impl Setup {
    fn prepare(builder: &SshdBuilder, directory: &Path) -> io::Result<Self> {
        let program = require_program("sshd")?;
        let version = openssh_version(&program)?;
        let mut host_keys = Vec::new();
        for kind in &builder.host_keys {
            host_keys.push(KeyPair::generate(directory.join(format!("host_{}", kind.label())), *kind)?);
        }
        let authority = |name: &str| KeyPair::generate(directory.join(name), KeyKind::Ed25519);
        let host_ca = builder.host_certificates.then(|| authority("host_ca")).transpose()?;
        if let Some(authority) = &host_ca {
            for key in &host_keys {
                authority.certify_host(key, &["127.0.0.1", "localhost"], "-5m:+1d")?;
            }
        }
        let user_ca = builder.user_ca.then(|| authority("user_ca")).transpose()?;
        let identity = KeyPair::generate(directory.join("id"), builder.user_key)?;
        let authorized_keys = directory.join("authorized_keys");
        std::fs::write(&authorized_keys, format!("{}\n", identity.public_line()?))?;
        Ok(Self {
            builder: builder.clone(),
            program,
            user: current_user()?,
            host_keys,
            host_ca,
            user_ca,
            identity,
            authorized_keys,
            has_penalties: version >= (9, 8),
        })
    }
}

/// How a start went, if not wrong altogether.
enum Launch {
    Listening,
    PortTaken,
}

impl Shared {
    fn log_path(&self) -> PathBuf {
        self.directory.path().join("sshd.log")
    }

    pub(super) fn log(&self) -> String {
        std::fs::read(self.log_path()).map_or_else(
            |error| format!("(no log: {error})"),
            |text| String::from_utf8_lossy(&text).into_owned(),
        )
    }

    fn listener_pid(&self) -> Option<i32> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    fn members(&self) -> Vec<Process> {
        family(self.listener_pid(), &self.tag)
    }

    /// Ends everything that belongs to this server; may be called again.
    pub(super) fn kill(&self) {
        freeze(|| self.members()).into_iter().for_each(|member| member.signal(Signal::KILL));
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = listener.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn launch_on_a_free_port(&self, setup: &Setup) -> io::Result<u16> {
        for _ in 0..START_TRIES {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if let Launch::Listening = self.launch(setup, port)? {
                return Ok(port);
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no free port in {START_TRIES} tries")))
    }

    fn launch(&self, setup: &Setup, port: u16) -> io::Result<Launch> {
        let config = self.directory.path().join("sshd_config");
        let files = Files {
            authorized_keys: &setup.authorized_keys,
            host_keys: &setup.host_keys,
            user_ca: setup.user_ca.as_ref(),
            has_penalties: setup.has_penalties,
        };
        std::fs::write(&config, setup.builder.text(port, self.directory.path(), &files, &self.tag))?;
        let mut directory_made = false;
        loop {
            let before = self.log_length();
            self.spawn(&setup.program, &config)?;
            let Some(said) = self.wait_until_listening(port, before, setup.builder.is_verbose())? else {
                return Ok(Launch::Listening);
            };
            if said.contains("Address already in use") {
                return Ok(Launch::PortTaken);
            }
            let missing = missing_separation_directory(&said).filter(|_| !directory_made);
            let Some(missing) = missing else {
                return Err(io::Error::other(format!("sshd did not start:\n{said}")));
            };
            std::fs::create_dir_all(missing)?;
            directory_made = true;
        }
    }

    fn log_length(&self) -> usize {
        std::fs::metadata(self.log_path()).map_or(0, |data| usize::try_from(data.len()).unwrap_or(usize::MAX))
    }

    fn spawn(&self, program: &Path, config: &Path) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let child = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }

    /// None once it listens; what it said if it ended instead. sshd writes its "listening" line after
    /// `listen`, so no probing connection disturbs limits or logs; a quiet server is probed.
    fn wait_until_listening(&self, port: u16, before: usize, verbose: bool) -> io::Result<Option<String>> {
        let end = Instant::now() + START_LIMIT;
        loop {
            let ended = {
                let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
                let ended = listener.as_mut().map(Child::try_wait).transpose()?.flatten().is_some();
                if ended {
                    *listener = None;
                }
                ended
            };
            let log = self.log();
            let said = log.get(before.min(log.len())..).unwrap_or(&log);
            if ended {
                return Ok(Some(said.to_owned()));
            }
            let announced = said.contains(&format!("Server listening on 127.0.0.1 port {port}"));
            if announced || (!verbose && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()) {
                return Ok(None);
            }
            if Instant::now() >= end {
                self.kill();
                let message = format!("sshd does not listen after {START_LIMIT:?}:\n{said}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Stops processes until a look finds no new one: what is stopped starts nothing more.
fn freeze(look: impl Fn() -> Vec<Process>) -> Vec<Process> {
    let mut stopped: Vec<Process> = Vec::new();
    for _ in 0..100 {
        let found = look();
        let new: Vec<Process> =
            found.into_iter().filter(|one| !stopped.iter().any(|known| known.pid() == one.pid())).collect();
        if new.is_empty() {
            break;
        }
        new.iter().for_each(|process| process.signal(Signal::STOP));
        stopped.extend(new);
    }
    stopped
}

/// The directory a server run by root wants for its unprivileged part, if it complains that there is none.
fn missing_separation_directory(log: &str) -> Option<PathBuf> {
    let (_, rest) = log.split_once("Missing privilege separation directory: ")?;
    rest.lines().next().map(|path| PathBuf::from(path.trim()))
}

fn current_user() -> io::Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if name.is_empty() { Err(io::Error::other("`id -un` printed no name")) } else { Ok(name) }
}

/// Major and minor version. Old releases know no `-V`, but their complaint carries the version too.
fn openssh_version(program: &Path) -> io::Result<(u32, u32)> {
    let output = Command::new(program).arg("-V").stdin(Stdio::null()).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let version = text.split_once("OpenSSH_").map(|(_, rest)| rest).unwrap_or_default();
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(io::Error::other(format!("{} -V tells no OpenSSH version: {text}", program.display()))),
    }
}
