//! Follows a file on a remote host for ever, and loses no line when the remote process, the server or the network goes
//! away for a while.
//!
//! ```sh
//! cargo run --example tail_supervised -- --accept-new -i ~/.ssh/id_ed25519 user@host /var/log/app.log
//! ```
//!
//! The lines of the file, from its first one on, go to stdout; what the remote side says on its stderr, and what happens
//! to the connection, goes to stderr. Ends with ctrl-c, or with status 255 when no further try makes sense: the host key
//! has changed, or nobody lets us in.
//!
//! # How it works
//! - A [managed connection](ractor_ssh::managed) reconnects, checks the host key and logs in again, with growing pauses.
//! - On it lives one [supervised channel](ractor_ssh::supervised). Each of its incarnations starts a small script on the
//!   remote host, which tells which file it has opened (its inode) and where it begins, and then runs `tail -f` on it.
//! - The position, kept outside of the incarnations, is the number of bytes of whole lines that were handed to the
//!   writer. It moves in the same step in which they are handed over, so that a crash comes before or after both. The
//!   next incarnation asks for the rest from there. The piece of a line that had arrived is forgotten and read again.
//! - The writer's queue is bounded. When stdout is slow, the behaviour waits, its receive window shuts, and the remote
//!   `tail` waits too: nothing is dropped, nothing piles up.
//! - Once a second the script looks whether the name still leads to the file that it has open, and whether that has
//!   become shorter. If so it ends, a second later so that the rest is read, and the next incarnation begins at the
//!   start of the new file and says so.
//! - When the connection is gone the script reads the end of its input, and ends: nothing is left on the remote host.
//!
//! # What it cannot promise
//! - The position is kept in memory: when this program itself is started anew, it begins at the first line.
//! - What is written to a file later than a second after it was replaced is not seen, nor is the rest of a file that was
//!   replaced while we were away, nor what was written between two replacements that followed each other fast.
//! - A file that was cut short (`copytruncate`) is read from its start. Lines that came between that and the next look
//!   may come twice; if it grew past the old position before anybody looked, nobody can tell.
//! - A last line without a newline is not shown before its newline is there.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use ractor_ssh::auth::{AgentMode, Auth, IdentityFile};
use ractor_ssh::bytes::{Buf as _, Bytes, BytesMut};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::managed::ManagedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::wire::codes::DataType;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, Client, ClientChannel, ClientConfig, ManagedRef,
    ManagedSpec, Next,
};
use tokio::sync::mpsc;

/// Follows a remote file for ever.
#[derive(Parser)]
#[command(name = "tail_supervised")]
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
    /// known_hosts file. Default: OpenSSH's.
    #[arg(long)]
    known_hosts: Option<PathBuf>,
    /// Accept and write down the key of a host that is not known yet.
    #[arg(long)]
    accept_new: bool,
    /// `host` or `user@host`.
    destination: String,
    /// The file, as the remote host names it.
    file: String,
}

/// What runs on the remote host, in any POSIX shell: `$1` is the file, `$2` the inode of the file that we know, `$3` the
/// position in it.
const SCRIPT: &str = r#"
inode() { ls -diL -- "$file" 2>/dev/null | sed 's/^ *//; s/ .*//'; }
size() { wc -c <"$file" 2>/dev/null | tr -d ' '; }
file=$1
before=$(inode)
exec 3<"$file" || exit 66
opened=$(inode)
# Replaced between two looks: try again.
[ -n "$opened" ] && [ "$before" = "$opened" ] || exit 75
length=$(size)
start=0
[ "$opened" = "$2" ] && [ "${length:-0}" -ge "$3" ] && start=$3
echo "$opened $start"
exec 4<&0 </dev/null
tail -c "+$((start + 1))" -f <&3 & tail=$!
(exec >/dev/null 2>&1; cat <&4; kill $$) & watch=$!
trap 'kill $tail $watch 2>/dev/null' EXIT
trap 'exit 0' HUP TERM PIPE
while sleep 1; do
  kill -0 $tail 2>/dev/null || exit 70
  now=$(size)
  [ "$(inode)" = "$opened" ] && [ "${now:-0}" -ge "$length" ] || break
  length=$now
done
sleep 1
"#;

/// Where we are; outlives the incarnations.
#[derive(Debug, Clone, Default)]
struct Position {
    /// The inode of the file, as the remote host gives it; empty before the first one.
    inode: String,
    /// The bytes of whole lines that the writer has.
    offset: u64,
}

/// What all incarnations share.
#[derive(Clone)]
struct Shared {
    file: String,
    position: Arc<Mutex<Position>>,
    lines: mpsc::Sender<Bytes>,
}

impl Shared {
    fn position<T>(&self, work: impl FnOnce(&mut Position) -> T) -> T {
        work(&mut self.position.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn command(&self) -> Result<String, BoxError> {
        let Position { inode, offset } = self.position(|position| position.clone());
        let words = ["sh", "-c", SCRIPT, "tail_supervised", &self.file, &inode, &offset.to_string()];
        Ok(shlex::try_join(words)?)
    }
}

/// One incarnation.
struct Tail {
    shared: Shared,
    /// The first line, which says what was opened, is here.
    knows_file: bool,
    /// The beginning of a line.
    partial: BytesMut,
}

impl Tail {
    fn new(shared: Shared) -> Self {
        Self { shared, knows_file: false, partial: BytesMut::new() }
    }

    async fn take(&mut self, data: &[u8]) -> Result<(), BoxError> {
        self.partial.extend_from_slice(data);
        if !self.knows_file {
            let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') else { return Ok(()) };
            let header = self.partial.split_to(end);
            self.partial.advance(1);
            self.opened(std::str::from_utf8(&header)?)?;
        }
        let Some(last) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        // Whoever is stopped or killed while waiting for room has not moved on.
        let room = self.shared.lines.reserve().await?;
        let lines = self.partial.split_to(last + 1).freeze();
        let bytes = u64::try_from(lines.len())?;
        room.send(lines);
        self.shared.position(|position| position.offset += bytes);
        Ok(())
    }

    fn opened(&mut self, header: &str) -> Result<(), BoxError> {
        let (inode, start) = header.split_once(' ').ok_or("the remote script did not say what it opened")?;
        let start: u64 = start.parse()?;
        self.knows_file = true;
        self.shared.position(|position| {
            if !position.inode.is_empty() && position.inode != inode {
                note(&format!("{} was replaced: beginning with the new one", self.shared.file));
            } else if start < position.offset {
                note(&format!("{} was cut short: beginning at its start", self.shared.file));
            }
            *position = Position { inode: inode.to_owned(), offset: start };
        });
        Ok(())
    }
}

impl ClientChannel for Tail {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec(self.shared.command()?).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data_type: DataType::Normal, data } => self.take(&data).await?,
            ChannelMsg::Data { data, .. } => {
                note(&format!("remote: {}", String::from_utf8_lossy(&data).trim_end()))
            }
            _ => {}
        }
        Ok(Next::Continue)
    }
}

fn note(text: &str) {
    eprintln!("tail_supervised: {text}");
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("{}: {error}", args.destination));
            ExitCode::from(255)
        }
    }
}

async fn run(args: &Args) -> Result<(), BoxError> {
    // A connection, or a script, that has held for a second was no failure in a row.
    let pauses = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let policy =
        RestartPolicy::permanent().never_give_up().backoff(pauses).reset_after(Duration::from_secs(1));
    let managed = Client::new(config(args)?).manage(ManagedSpec::new().restart(policy.clone())).await?;
    tokio::spawn(tell(managed.clone()));

    let (lines, waiting) = mpsc::channel(16);
    let mut writer = tokio::task::spawn_blocking(move || write(waiting));
    let shared = Shared { file: args.file.clone(), position: Arc::default(), lines };
    let tail =
        managed.supervise(ChannelSpec::new(move |_| Tail::new(shared.clone())).restart(policy)).await?;

    // In this order: with the end of the others comes that of the writer.
    let outcome = tokio::select! {
        biased;
        state = managed.wait() => return Err(state.to_string().into()),
        state = tail.wait() => return Err(state.to_string().into()),
        written = &mut writer => return Ok(written??),
        pressed = tokio::signal::ctrl_c() => pressed,
    };
    managed.shutdown(Duration::ZERO).await;
    // With the channel goes the last sender: what the writer has been given is written.
    drop(tail);
    writer.await??;
    Ok(outcome?)
}

/// Writes lines to stdout, on a thread that may wait for it.
fn write(mut lines: mpsc::Receiver<Bytes>) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    while let Some(lines) = lines.blocking_recv() {
        stdout.write_all(&lines)?;
        stdout.flush()?;
    }
    Ok(())
}

/// Tells what happens to the connection.
async fn tell(managed: ManagedRef) {
    let mut states = managed.states();
    drop(managed);
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        if !matches!(state, ManagedState::Connecting { .. }) {
            note(&state.to_string());
        }
    }
}

fn config(args: &Args) -> Result<ClientConfig, BoxError> {
    let (user, host) = match args.destination.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, args.destination.as_str()),
    };
    let local = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
    let user = args.login.clone().or(user).or_else(local).ok_or("no user: give user@host")?;
    let mut auth = if args.identity.is_empty() { Auth::usual() } else { Auth::new().agent(AgentMode::Off) };
    for path in &args.identity {
        auth = auth.identity_file(IdentityFile::new(path));
    }
    let files =
        args.known_hosts.as_ref().map_or_else(KnownHostsFiles::default, |file| KnownHostsFiles::new([file]));
    let host_key =
        if args.accept_new { HostKeyPolicy::accept_new(files) } else { HostKeyPolicy::strict(files) };
    Ok(ClientConfig::new(host, user).port(args.port).auth(auth).host_key(host_key))
}
