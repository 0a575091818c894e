//! A channel of one's own: an actor that counts the lines of a remote command while it runs.
//!
//! ```sh
//! cargo run --example custom_channel -- user@127.0.0.1 -- journalctl --follow
//! ```
//!
//! It shows the callbacks of `ClientChannel`, a call from outside that the actor answers in between, and manual flow
//! control: credit for a line goes back when the line is complete, so what the actor holds counts as unread.
//! Exits with the remote status, 128 + n for a remote signal, 255 for SSH errors.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use ractor_ssh::auth::{AgentMode, Auth, IdentityFile};
use ractor_ssh::config::{ChannelOptions, WindowAdjust};
use ractor_ssh::error::{BoxError, StopReason};
use ractor_ssh::host_key::{HostKeyPin, HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::wire::{codes::DataType, open::OpenRequest};
use ractor_ssh::{
    ChannelContext, ChannelMsg, Client, ClientChannel, ClientConfig, Next, ractor::RpcReplyPort,
};
use tokio::sync::oneshot;

/// Longer lines end the channel: the actor keeps the line it is in.
const LONGEST: usize = 1 << 20;

/// Counts the lines a command prints on an SSH server.
#[derive(Parser)]
struct Args {
    /// Port of the server.
    #[arg(short, long, default_value_t = 22)]
    port: u16,
    /// Private key file without a passphrase. Default: the agent of SSH_AUTH_SOCK.
    #[arg(short, long)]
    identity: Option<PathBuf>,
    /// known_hosts file. Default: OpenSSH's.
    #[arg(long)]
    known_hosts: Option<PathBuf>,
    /// Accept and write down the key of a host that is not known yet.
    #[arg(long, conflicts_with = "pin")]
    accept_new: bool,
    /// Accept exactly the host key with this fingerprint, `SHA256:...`.
    #[arg(long)]
    pin: Option<HostKeyPin>,
    /// Where to log in, as `user@host`.
    destination: String,
    /// The command; its words are joined by spaces.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
struct Tally {
    lines: u64,
    last: String,
    exit: Option<u8>,
}

/// The behaviour. It lives in its channel's actor.
struct LineCounter {
    command: String,
    tally: Tally,
    partial: Vec<u8>,
    done: Option<oneshot::Sender<(Tally, StopReason)>>,
}

impl ClientChannel for LineCounter {
    /// One question can be asked: how far are you?
    type Msg = RpcReplyPort<Tally>;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec(self.command.clone()).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data_type: DataType::Normal, data } => {
                for piece in data.split_inclusive(|byte| *byte == b'\n') {
                    self.partial.extend_from_slice(piece);
                    if let Some(line) = self.partial.strip_suffix(b"\n") {
                        self.tally.lines += 1;
                        self.tally.last = String::from_utf8_lossy(line).into_owned();
                        ctx.adjust_window(self.partial.len());
                        self.partial.clear();
                    }
                }
                if self.partial.len() > LONGEST {
                    return Err(format!("a line is longer than {LONGEST} bytes").into());
                }
            }
            ChannelMsg::Data { data, .. } => {
                std::io::stderr().write_all(&data)?;
                ctx.adjust_window(data.len());
            }
            ChannelMsg::ExitStatus { status } => self.tally.exit = Some(u8::try_from(status).unwrap_or(255)),
            ChannelMsg::ExitSignal(end) => {
                self.tally.exit =
                    Some(end.signal.number().and_then(|n| u8::try_from(128 + n).ok()).unwrap_or(255));
            }
            _ => {}
        }
        Ok(Next::Continue)
    }

    async fn handle_msg(
        &mut self,
        port: Self::Msg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        let _ = port.send(self.tally.clone());
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, reason: StopReason, _ctx: &mut ChannelContext<Self>) {
        let _ = self.done.take().map(|done| done.send((self.tally.clone(), reason)));
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    run(&args).await.map_or_else(
        |error| {
            eprintln!("custom_channel: {}: {error}", args.destination);
            ExitCode::from(255)
        },
        ExitCode::from,
    )
}

async fn run(args: &Args) -> Result<u8, BoxError> {
    let (user, host) =
        args.destination.rsplit_once('@').ok_or("the destination has no user; give `user@host`")?;
    let files =
        args.known_hosts.as_ref().map_or_else(KnownHostsFiles::default, |file| KnownHostsFiles::new([file]));
    let trust = match &args.pin {
        Some(pin) => HostKeyPolicy::pinned([pin.clone()]),
        None if args.accept_new => HostKeyPolicy::accept_new(files),
        None => HostKeyPolicy::strict(files),
    };
    let auth = match &args.identity {
        Some(path) => Auth::new().identity_file(IdentityFile::new(path)),
        None => Auth::new().agent(AgentMode::Required),
    };
    let conn = Client::new(ClientConfig::new(host, user).port(args.port).auth(auth).host_key(trust))
        .connect()
        .await?;

    let (done, mut finished) = oneshot::channel();
    let command = args.command.join(" ");
    let counter = LineCounter { command, tally: Tally::default(), partial: Vec::new(), done: Some(done) };
    let options = ChannelOptions::new().window_adjust(WindowAdjust::Manual);
    let channel = conn.open_channel(OpenRequest::Session, options, counter).await?;
    let (tally, reason) = loop {
        match tokio::time::timeout(Duration::from_secs(1), &mut finished).await {
            Ok(end) => break end?,
            // The actor may have ended just now; then the end is what comes next.
            Err(_) => match channel.call(|port| port, Duration::from_secs(5)).await {
                Ok(tally) => println!("{} lines so far, the last: {}", tally.lines, tally.last),
                Err(error) => eprintln!("custom_channel: no answer: {error}"),
            },
        }
    };
    println!("{} lines in all, the last: {}", tally.lines, tally.last);
    conn.close().await;
    tally.exit.ok_or_else(|| reason.into())
}
