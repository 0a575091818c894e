//! A usable SSH client.
//!
//! ```sh
//! cargo run --example ssh -- -p 2222 user@127.0.0.1 -- uname -a
//! cargo run --example ssh -- -t user@127.0.0.1
//! cargo run --example ssh -- -J user@bastion.example.org,inner user@target
//! ```
//!
//! stdin, stdout and stderr are streamed and binary-safe. Exits with the remote status, 128 + n when the remote command
//! was ended by signal n, and 255 for SSH errors.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ractor_ssh::auth::{AgentMode, Auth, IdentityFile, KeyboardInteractive, Passphrase, PassphraseRequest};
use ractor_ssh::host_key::{HostKeyPin, HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::session::{Child, Command, Stdin, Stdio};
use ractor_ssh::wire::pty::{PtyRequest, WindowSize};
use ractor_ssh::{BoxError, Client, ClientConfig, ConnectionRef};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs a command, or a shell, on an SSH server.
#[derive(Parser)]
#[command(name = "ssh")]
struct Args {
    /// Port of the server.
    #[arg(short, default_value_t = 22)]
    port: u16,
    /// User to log in as; also `user@host`. Default: the local user.
    #[arg(short = 'l')]
    login: Option<String>,
    /// Private key file. Default: the agent of SSH_AUTH_SOCK, then the usual files.
    #[arg(short = 'i')]
    identity: Vec<PathBuf>,
    /// File with the password; a newline at its end is not part of it.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// known_hosts file. Default: OpenSSH's.
    #[arg(long)]
    known_hosts: Option<PathBuf>,
    /// Accept and write down the key of a host that is not known yet.
    #[arg(long, conflicts_with = "pin")]
    accept_new: bool,
    /// Accept exactly the host key with this fingerprint, `SHA256:...`.
    #[arg(long)]
    pin: Option<String>,
    /// Go over these hosts: `[user@]host[:port]`, several with commas between. Their keys must be in known_hosts.
    #[arg(short = 'J')]
    jump: Option<String>,
    /// Ask for a terminal.
    #[arg(short)]
    terminal: bool,
    /// `host` or `user@host`.
    destination: String,
    /// The command; its words are joined by spaces. Without one, a shell.
    #[arg(last = true)]
    command: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let code = match run(&args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ssh: {}: {error}", args.destination);
            255
        }
    };
    // A thread may still be waiting for standard input, and cannot be told to stop.
    std::process::exit(code.into());
}

async fn run(args: &Args) -> Result<u8, BoxError> {
    let conn = Client::new(config(args).await?).connect().await?;
    let command = if args.command.is_empty() { conn.shell() } else { conn.exec(args.command.join(" ")) };
    let command = command.stdin(Stdin::piped()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let status = if args.terminal { in_terminal(command).await? } else { plain(command.no_pty()).await? };
    close(conn).await;
    Ok(status)
}

async fn close(conn: ConnectionRef) {
    let _ = std::io::stdout().flush();
    conn.close().await;
}

async fn plain(command: Command) -> Result<u8, BoxError> {
    let mut child = command.spawn().await?;
    feed(&mut child);
    Ok(child.wait().await?.exit_code())
}

/// Copies our standard input to the command's, in the background.
fn feed(child: &mut Child) {
    if let Some(mut stdin) = child.stdin.take() {
        tokio::spawn(async move {
            // It fails when the command stops reading: that is the command's choice.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut stdin).await;
            let _ = stdin.shutdown().await;
        });
    }
}

/// With a remote terminal, and ours, if it is one, passed through: keys as they are, and its size.
async fn in_terminal(command: Command) -> Result<u8, BoxError> {
    let local = std::io::stdin().is_terminal();
    let mut pty = PtyRequest::from_env();
    if let Ok((columns, rows)) = crossterm::terminal::size() {
        pty = pty.size(columns.into(), rows.into());
    }
    let mut child = command.pty(pty).spawn().await?;
    let _raw = local.then(Raw::enter).transpose()?;
    feed(&mut child);
    let mut resized = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?.exit_code()),
            Some(()) = resized.recv() => {
                if let Ok((columns, rows)) = crossterm::terminal::size() {
                    let _ = child.window_change(WindowSize::new(columns.into(), rows.into()));
                }
            }
        }
    }
}

/// Our terminal in raw mode, until dropped.
struct Raw;

impl Raw {
    fn enter() -> std::io::Result<Self> {
        crossterm::terminal::enable_raw_mode().map(|()| Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

async fn config(args: &Args) -> Result<ClientConfig, BoxError> {
    let (user, host) = match args.destination.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, args.destination.as_str()),
    };
    let local = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
    let user = args.login.clone().or(user).or_else(local).ok_or("no user: give user@host")?;
    let banner = |banner: &str| eprint!("{banner}");
    let mut config = ClientConfig::new(host, &user)
        .port(args.port)
        .auth(auth(args).await?)
        .host_key(host_key(args, args.pin.as_deref())?)
        .on_banner(banner);
    for hop in args.jump.iter().flat_map(|list| list.split(',')) {
        let (name, place) = hop.rsplit_once('@').unwrap_or((&user, hop));
        let (host, port) = host_and_port(place).ok_or_else(|| format!("-J {hop}: not [user@]host[:port]"))?;
        let hop = ClientConfig::new(host, name).port(port).auth(auth(args).await?);
        config = config.jump(hop.host_key(host_key(args, None)?).on_banner(banner));
    }
    Ok(config)
}

/// `host`, `host:port`, an IPv6 address, or `[address]:port`.
fn host_and_port(place: &str) -> Option<(&str, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
        None if place.matches(':').count() == 1 => {
            place.split_once(':').map(|(host, port)| (host, Some(port)))?
        }
        None => (place, None),
    };
    Some((host, port.map_or(Some(22), |port| port.parse().ok())?))
}

async fn auth(args: &Args) -> Result<Auth, BoxError> {
    let mut auth = if args.identity.is_empty() { Auth::usual() } else { Auth::new().agent(AgentMode::Off) };
    for path in &args.identity {
        // Looked at now: a file that was asked for by name and cannot be read is an error, not something to pass over.
        tokio::fs::metadata(path).await.map_err(|e| format!("{}: {e}", path.display()))?;
        auth = auth.identity_file(IdentityFile::new(path).passphrase(Passphrase::ask(ask_passphrase)));
    }
    if let Some(path) = &args.password_file {
        let password = password(path).await?;
        auth = auth.password(password.clone());
        auth = auth.keyboard_interactive(KeyboardInteractive::new().answer("*assword*", password));
    }
    Ok(auth)
}

async fn password(path: &Path) -> Result<SecretString, BoxError> {
    let text = tokio::fs::read_to_string(path).await.map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text).into())
}

/// Asks SSH_ASKPASS, or at the terminal, as OpenSSH does.
async fn ask_passphrase(request: PassphraseRequest) -> Option<SecretString> {
    let question = format!("Enter passphrase for key '{}': ", request.key);
    if let Some(program) = std::env::var_os("SSH_ASKPASS") {
        let output = tokio::process::Command::new(program).arg(question).output().await.ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        return output.status.success().then(|| text.trim_end_matches(['\r', '\n']).into());
    }
    tokio::task::spawn_blocking(move || rpassword::prompt_password(question).ok().map(Into::into))
        .await
        .ok()?
}

fn host_key(args: &Args, pin: Option<&str>) -> Result<HostKeyPolicy, BoxError> {
    if let Some(pin) = pin {
        return Ok(HostKeyPolicy::pinned([pin.parse::<HostKeyPin>()?]));
    }
    let files =
        args.known_hosts.as_ref().map_or_else(KnownHostsFiles::default, |file| KnownHostsFiles::new([file]));
    Ok(if args.accept_new { HostKeyPolicy::accept_new(files) } else { HostKeyPolicy::strict(files) })
}
