//! A usable SSH server: commands and shells on real terminals, as the user that started it.
//!
//! ```sh
//! ssh-keygen -t ed25519 -N '' -f host_key
//! cargo run --example sshd --features pty,sftp -- --listen 127.0.0.1:2222 --host-key host_key \
//!     --authorized-keys ~/.ssh/id_ed25519.pub
//! ssh -p 2222 127.0.0.1
//! ```
//!
//! The first line on stdout is `listening on ADDR`. SIGTERM or SIGINT ends it: no new connections, the channels are
//! closed, what runs gets SIGHUP and a moment to end. `RUST_LOG` sets what is logged on stderr.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ractor_ssh::config::Limits;
use ractor_ssh::login::{AuthorizedKeys, KeyLineProblem};
use ractor_ssh::process::Processes;
use ractor_ssh::wire::keys::PrivateKey;
use ractor_ssh::{BoxError, Daemon, DaemonConfig, Router, SessionLimits, Sftp};
use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a command may leave its input alone while much of it waits, and so hold up its connection.
const STALL_TIMEOUT: Duration = Duration::from_secs(600);
/// How long processes have to end when the server ends.
const KILL_GRACE: Duration = Duration::from_secs(3);

/// Serves commands and shells over SSH, as the user that started it.
#[derive(Parser)]
#[command(name = "sshd")]
struct Args {
    /// Address to listen on. With port 0 the system chooses one; the first line of output tells.
    #[arg(long, default_value = "127.0.0.1:2222")]
    listen: SocketAddr,
    /// Private key file of this server, without a passphrase; may be given several times.
    #[arg(long, value_name = "FILE")]
    host_key: Vec<PathBuf>,
    /// File with the public keys that let in, under any user name, in the format of OpenSSH's authorized_keys. It is
    /// read once.
    #[arg(long, value_name = "FILE")]
    authorized_keys: Option<PathBuf>,
    /// User that the password lets in.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// File with that user's password; a newline at its end is not part of it.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Text that clients show before the login.
    #[arg(long, value_name = "TEXT")]
    banner: Option<String>,
    /// How many sessions a connection may have at a time; forwarded ports do not count.
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_sessions: usize,
    /// Directory to serve by SFTP, for reading and writing.
    #[arg(long, value_name = "DIR")]
    sftp_root: Option<PathBuf>,
    /// Let clients reach TCP ports and Unix sockets from here and listen here (`ssh -L`, `-R`, `-D`, `-J`), and lend their
    /// agent and display (`-A`, `-X`).
    #[arg(long)]
    allow_forwarding: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sshd: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), BoxError> {
    // Before anything runs: what a daemon handles, its processes find as it was.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let processes = Processes::new().kill_grace(KILL_GRACE);
    let daemon = Daemon::start(config(&args, processes.clone())?).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", daemon.local_addr())?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    daemon.stop().await;
    // The rest ends with us.
    let _ = tokio::time::timeout(KILL_GRACE * 2, processes.ended()).await;
    Ok(())
}

fn config(args: &Args, processes: Processes) -> Result<DaemonConfig, BoxError> {
    let mut sessions = SessionLimits::default();
    sessions.max_sessions = args.max_sessions;
    let mut limits = Limits::server();
    // A command may leave its input alone for a while.
    limits.stall_timeout = STALL_TIMEOUT;
    limits.max_channels = limits.max_channels.max(args.max_sessions);
    let mut config = DaemonConfig::new(args.listen)
        .router(router(args, processes))
        .session_limits(sessions)
        .limits(limits);
    for file in &args.host_key {
        config = config.host_key(host_key(file)?);
    }
    if args.host_key.is_empty() {
        return Err(
            "no host key: give --host-key FILE; `ssh-keygen -t ed25519 -N '' -f FILE` makes one".into()
        );
    }
    if let Some(banner) = &args.banner {
        config = config.banner(format!("{}\n", banner.trim_end_matches('\n')));
    }
    logins(args, config)
}

fn router(args: &Args, processes: Processes) -> Router {
    let mut router = Router::new().processes(processes);
    if let Some(root) = &args.sftp_root {
        router = router.sftp(Sftp::new(root).read_only(false));
    }
    if args.allow_forwarding {
        router = router
            .forward_tcpip(|_| true)
            .forward_streamlocal(|_| true)
            .listen_tcpip(|_| true)
            .listen_streamlocal(|_| true)
            .agent_forwarding(|_| true)
            .x11_forwarding(|_| true);
    }
    router
}

fn host_key(file: &Path) -> Result<PrivateKey, BoxError> {
    let text = std::fs::read_to_string(file).map_err(|error| of_file(file, error))?;
    let key = PrivateKey::from_openssh(&text)
        .map_err(|error| of_file(file, format!("no private key in OpenSSH's format: {error}")))?;
    if key.is_encrypted() {
        let way_out = "a server cannot ask for one; `ssh-keygen -p -N '' -f FILE` takes it off";
        return Err(of_file(file, format!("the key has a passphrase: {way_out}")));
    }
    Ok(key)
}

fn logins(args: &Args, mut config: DaemonConfig) -> Result<DaemonConfig, BoxError> {
    if args.authorized_keys.is_none() && args.user.is_none() {
        return Err(
            "nobody could log in: give --authorized-keys FILE, or --user NAME and --password-file FILE"
                .into(),
        );
    }
    if let Some(file) = &args.authorized_keys {
        config = config.authorized_keys(authorized_keys(file)?);
    }
    if let (Some(user), Some(file)) = (args.user.clone(), &args.password_file) {
        let password = password(file)?;
        config = config.password(move |attempt, given| {
            let yes = same(given.expose_secret(), password.expose_secret()) & (attempt.user == user);
            async move { yes }
        });
    }
    Ok(config)
}

/// A line that lets nobody in is a mistake, and better found now than at the login.
fn authorized_keys(file: &Path) -> Result<AuthorizedKeys, BoxError> {
    let text = std::fs::read_to_string(file).map_err(|error| of_file(file, error))?;
    let keys = AuthorizedKeys::parse(&text);
    match keys.problems().first() {
        Some(KeyLineProblem { place, problem, .. }) => {
            let line = place.rsplit(':').next().unwrap_or_default();
            Err(of_file(file, format!("line {line} {problem}")))
        }
        None => Ok(keys),
    }
}

fn password(file: &Path) -> Result<SecretString, BoxError> {
    let text = std::fs::read_to_string(file).map_err(|error| of_file(file, error))?;
    let password = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() {
        return Err(of_file(file, "the password is empty"));
    }
    Ok(password.into())
}

/// Takes as long for a wrong password as for the right one.
fn same(given: &str, right: &str) -> bool {
    let differences = given.bytes().zip(right.bytes()).fold(0, |differences, (a, b)| differences | (a ^ b));
    given.len() == right.len() && differences == 0
}

fn of_file(file: &Path, error: impl std::fmt::Display) -> BoxError {
    format!("{}: {error}", file.display()).into()
}
