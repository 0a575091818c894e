//! The processes and files behind an [`Sshd`](super::Sshd): making keys, starting on a free port, ending.
//!
//! Owns the child process and its directory; knows nothing of what tests ask of a server.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::account::Account;
use super::keys::{KeyKind, KeyPair};
use super::process::{Process, family, freeze, require_program};
use super::sshd_config::{Files, SshdBuilder};

const START_LIMIT: Duration = Duration::from_secs(20);
const START_TRIES: usize = 10;
pub(super) const POLL: Duration = Duration::from_millis(5);

/// What a start needs and a restart needs again.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) builder: SshdBuilder,
    pub(super) program: PathBuf,
    pub(super) user: String,
    pub(super) host_keys: Vec<KeyPair>,
    pub(super) host_ca: Option<KeyPair>,
    pub(super) user_ca: Option<KeyPair>,
    pub(super) identity: KeyPair,
    pub(super) authorized_keys: PathBuf,
    pub(super) has_penalties: bool,
}

/// The part that a timed-out trial can still reach.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: TempDir,
    listener: Mutex<Option<Child>>,
    tag: String,
}

impl Setup {
    pub(super) fn prepare(builder: &SshdBuilder, directory: &Path) -> io::Result<Self> {
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
        if let Some(account) = &builder.account {
            account.prepare(directory)?;
        }
        let user = builder.account.as_ref().map_or_else(current_user, |account| Ok(account.name.clone()))?;
        let identity = KeyPair::generate(directory.join("id"), builder.user_key)?;
        let authorized_keys = directory.join("authorized_keys");
        std::fs::write(&authorized_keys, format!("{}\n", identity.public_line()?))?;
        Ok(Self {
            builder: builder.clone(),
            program,
            user,
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
pub(super) enum Launch {
    Listening,
    PortTaken,
}

impl Shared {
    /// A private directory and a tag, no process yet.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new().prefix("ssh-kit-").tempdir()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let tag = format!("SSH_KIT_SERVER={}-{number}", std::process::id());
        Ok(Arc::new(Self { directory, listener: Mutex::new(None), tag }))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("sshd.log")
    }

    pub(super) fn log(&self) -> String {
        std::fs::read(self.log_path()).map_or_else(
            |error| format!("(no log: {error})"),
            |text| String::from_utf8_lossy(&text).into_owned(),
        )
    }

    pub(super) fn listener_pid(&self) -> Option<i32> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    pub(super) fn members(&self) -> Vec<Process> {
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

    pub(super) fn launch_on_a_free_port(&self, setup: &Setup) -> io::Result<u16> {
        for _ in 0..START_TRIES {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if let Launch::Listening = self.launch(setup, port)? {
                return Ok(port);
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no free port in {START_TRIES} tries")))
    }

    pub(super) fn launch(&self, setup: &Setup, port: u16) -> io::Result<Launch> {
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
            self.spawn(setup, &config)?;
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

    fn spawn(&self, setup: &Setup, config: &Path) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = match setup.builder.account {
            Some(_) => Account::command(&setup.program, self.directory.path()),
            None => Command::new(&setup.program),
        };
        let child = command
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
