//! A relay: what clients do on their channels happens on a target server.
//!
//! ```sh
//! cargo run --example bastion -- --listen 127.0.0.1:2222 --authorized-keys keys.pub user@target
//! ssh -p 2222 127.0.0.1 uname -a
//! ```
//!
//! Each channel that a client opens becomes a channel on a connection of its own to the target, so that no slow reader
//! holds another one up. Carried across, both ways: data, standard error, eof, exit status and signal, terminal and its
//! size, environment, signals, the answer to every request, and why an open fails. So is back-pressure: a side
//! keeps the receive credit of what it was given until the other side has room for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ractor_ssh::auth::{AgentMode, Auth, IdentityFile};
use ractor_ssh::bytes::Bytes;
use ractor_ssh::config::{ChannelOptions, Limits};
use ractor_ssh::error::{CloseReason, OpenError};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::wire::codes::{DataType, OpenFailureReason};
use ractor_ssh::wire::keys::{PrivateKey, PublicKey, generate_ed25519};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::wire::{ExitStatus, Signal, WindowSize};
use ractor_ssh::{
    Behaviour, BoxError, ChannelContext, ChannelMsg, ChannelRef, Client, ClientChannel, ClientConfig, Credit,
    Daemon, DaemonConfig, Next, Role, Router, ServerChannel, ServerSide,
};
use tokio::sync::oneshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a side may read nothing while the other has much for it. Each channel has a connection of its own to the
/// target, so nobody else waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How long the two sides of a relay have to meet.
const INTRODUCTION: Duration = Duration::from_secs(10);

/// Relays SSH channels to a target server.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 for any.
    #[arg(long, default_value = "127.0.0.1:2222")]
    listen: SocketAddr,
    /// File with the relay's own private key, without a passphrase. Default: a new one.
    #[arg(long)]
    host_key: Option<PathBuf>,
    /// File with the public keys that are let in, one a line, without options.
    #[arg(long)]
    authorized_keys: PathBuf,
    /// Port of the target.
    #[arg(short, long, default_value_t = 22)]
    port: u16,
    /// Private key file for the target. Default: the agent of SSH_AUTH_SOCK.
    #[arg(short, long)]
    identity: Option<PathBuf>,
    /// known_hosts file for the target. Default: OpenSSH's.
    #[arg(long)]
    known_hosts: Option<PathBuf>,
    /// Also relay `direct-tcpip` channels (`ssh -L`, `ssh -W`): the target connects.
    #[arg(long)]
    allow_forwarding: bool,
    /// Where everything happens, as `user@host`.
    target: String,
}

/// What one side tells the other, behind all it has told before.
enum Tell<T> {
    Data {
        data_type: DataType,
        data: Bytes,
        credit: Option<Credit>,
    },
    Eof,
    /// The teller's channel is over; `true` if its peer closed it in good order.
    Closed(bool),
    Own(T),
}

/// What only the client's side is told.
enum Outcome {
    Exit(ExitStatus),
}

/// What only the target's side is told.
enum Control {
    Resize(WindowSize),
    Signal(Signal),
}

/// Sends what the other side has received, and keeps its credit until there is room for more.
fn pass<C: Behaviour<R>, R: Role>(
    held: &mut Option<Credit>,
    ctx: &mut ChannelContext<C, R>,
    data_type: DataType,
    data: Bytes,
    credit: Option<Credit>,
) {
    // When it fails, this channel is over, and the other side hears of that.
    let _ = ctx.send_typed(data_type, data);
    if ctx.is_ready() {
        return;
    }
    match (held, credit) {
        (Some(held), Some(credit)) => held.merge(credit),
        (held, credit) => *held = credit,
    }
    ctx.notify_when_ready();
}

/// The client's side.
struct Front {
    back: ChannelRef<Back>,
    meeting: Option<oneshot::Sender<ChannelRef<Self, ServerSide>>>,
    held: Option<Credit>,
    in_order: bool,
}

impl ServerChannel for Front {
    type Msg = Tell<Outcome>;

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        // What is sent has another source than what is received.
        ctx.withhold_data(false);
        // Fails when the target's side has ended in the meantime, and then this one ends, too.
        let meeting = self.meeting.take().ok_or("met before")?;
        meeting.send(ctx.myself()).map_err(|_| "the target's side has ended")?;
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        // A request is answered as the target answers it.
        let answer = match msg {
            ChannelMsg::Pty { request, .. } => self.back.ptty_alloc(request).await,
            ChannelMsg::Env { name, value, .. } => self.back.setenv(name, value).await,
            ChannelMsg::Shell { .. } => self.back.shell().await,
            ChannelMsg::Exec { command, .. } => self.back.exec(command).await,
            ChannelMsg::Subsystem { name, .. } => self.back.subsystem(name).await,
            event => {
                self.tell_back(event, ctx);
                return Ok(Next::Continue);
            }
        };
        // Fails when the client has closed the channel; what it has said before that is still to come here.
        let _ = ctx.reply_request(answer.is_ok());
        Ok(Next::Continue)
    }

    async fn handle_msg(
        &mut self,
        msg: Tell<Outcome>,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        // What fails here fails because the client has closed the channel.
        match msg {
            Tell::Data { data_type, data, credit } => pass(&mut self.held, ctx, data_type, data, credit),
            Tell::Eof => drop(ctx.send_eof()),
            Tell::Own(Outcome::Exit(ExitStatus::Code(code))) => drop(ctx.exit_status(code)),
            Tell::Own(Outcome::Exit(ExitStatus::Signal(signal))) => drop(ctx.exit_signal(signal)),
            Tell::Own(Outcome::Exit(ExitStatus::Missing)) => {}
            // However slowly the client reads: it gets all of it.
            Tell::Closed(true) => drop(ctx.exit_with(ExitStatus::Missing)),
            Tell::Closed(false) => ctx.close(),
        }
        Ok(Next::Continue)
    }
}

impl Front {
    fn tell_back(&mut self, event: ChannelMsg, ctx: &mut ChannelContext<Self, ServerSide>) {
        // What fails here fails because the target's side has ended. All it has said before, its end included, is in the
        // mailbox, and the client is to get it.
        let _ = match event {
            ChannelMsg::Data { data_type, data } => {
                self.back.cast(Tell::Data { data_type, data, credit: ctx.hold_credit() })
            }
            ChannelMsg::Eof => self.back.cast(Tell::Eof),
            ChannelMsg::WindowChange { size } => self.back.cast(Tell::Own(Control::Resize(size))),
            ChannelMsg::Signal { signal } => self.back.cast(Tell::Own(Control::Signal(signal))),
            ChannelMsg::ReadyToSend => {
                self.held = None;
                Ok(())
            }
            ChannelMsg::Closed { reason } => {
                self.in_order = matches!(reason, CloseReason::Peer);
                Ok(())
            }
            _ => Ok(()),
        };
    }
}

impl Drop for Front {
    /// However it ended.
    fn drop(&mut self) {
        let _ = self.back.cast(Tell::Closed(self.in_order));
    }
}

/// The target's side. It is there first.
struct Back {
    front: Option<ChannelRef<Front, ServerSide>>,
    meeting: oneshot::Receiver<ChannelRef<Front, ServerSide>>,
    held: Option<Credit>,
    in_order: bool,
}

impl Back {
    /// The client's side. What the target says before it is there waits, in order.
    async fn front(&mut self) -> Option<&ChannelRef<Front, ServerSide>> {
        if self.front.is_none() {
            self.front = tokio::time::timeout(INTRODUCTION, &mut self.meeting).await.ok()?.ok();
        }
        self.front.as_ref()
    }
}

impl ClientChannel for Back {
    type Msg = Tell<Control>;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.withhold_data(false);
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        let tell = match msg {
            ChannelMsg::Data { data_type, data } => Tell::Data { data_type, data, credit: ctx.hold_credit() },
            ChannelMsg::Eof => Tell::Eof,
            ChannelMsg::ExitStatus { status } => Tell::Own(Outcome::Exit(ExitStatus::Code(status))),
            ChannelMsg::ExitSignal(signal) => Tell::Own(Outcome::Exit(ExitStatus::Signal(signal))),
            ChannelMsg::ReadyToSend => {
                self.held = None;
                return Ok(Next::Continue);
            }
            ChannelMsg::Closed { reason } => {
                self.in_order = matches!(reason, CloseReason::Peer);
                let _ = self.front().await;
                return Ok(Next::Continue);
            }
            _ => return Ok(Next::Continue),
        };
        match self.front().await.map(|front| front.cast(tell)) {
            // If it has ended, all it has said before is in the mailbox, and the target is to get it.
            Some(_) => Ok(Next::Continue),
            None => Ok(Next::Stop),
        }
    }

    async fn handle_msg(
        &mut self,
        msg: Tell<Control>,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            Tell::Data { data_type, data, credit } => pass(&mut self.held, ctx, data_type, data, credit),
            Tell::Eof => drop(ctx.send_eof()),
            Tell::Closed(true) => ctx.close(),
            Tell::Closed(false) => ctx.abort(),
            Tell::Own(Control::Resize(size)) => drop(ctx.window_change(size)),
            Tell::Own(Control::Signal(signal)) => drop(ctx.signal(signal)),
        }
        Ok(Next::Continue)
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        // It may have come without anybody looking; after this it cannot.
        self.meeting.close();
        if let Some(front) = self.front.take().or_else(|| self.meeting.try_recv().ok()) {
            let _ = front.cast(Tell::Closed(self.in_order));
        }
    }
}

/// Opens the same kind of channel on the target. The connection ends with it.
async fn open(target: ClientConfig, request: OpenRequest) -> Result<Front, OpenFailureReason> {
    let conn = Client::new(target).connect().await.map_err(|error| {
        eprintln!("bastion: no connection to the target: {error}");
        OpenFailureReason::ConnectFailed
    })?;
    let (front, meeting) = oneshot::channel();
    let back = Back { front: None, meeting, held: None, in_order: false };
    match conn.open_channel(request, ChannelOptions::new(), back).await {
        Ok(back) => Ok(Front { back, meeting: Some(front), held: None, in_order: false }),
        Err(OpenError::Refused { reason, .. }) => Err(reason),
        Err(error) => {
            eprintln!("bastion: no channel on the target: {error}");
            Err(OpenFailureReason::ConnectFailed)
        }
    }
}

fn routes(target: &ClientConfig, forward: bool) -> Router {
    let to = target.clone();
    let routes = Router::new().session_async(move |_| open(to.clone(), OpenRequest::Session));
    if !forward {
        return routes;
    }
    let to = target.clone();
    routes.direct_tcpip_async(move |asked| {
        let request = OpenRequest::DirectTcpip {
            host: asked.host,
            port: asked.port,
            originator_host: asked.originator_host,
            originator_port: asked.originator_port,
        };
        open(to.clone(), request)
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bastion: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), BoxError> {
    let host_key = match &args.host_key {
        Some(path) => PrivateKey::from_openssh(read(path).await?)?,
        None => generate_ed25519(),
    };
    let known: Vec<PublicKey> = read(&args.authorized_keys)
        .await?
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(PublicKey::from_openssh)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", args.authorized_keys.display()))?;
    let mut limits = Limits::server();
    limits.stall_timeout = PATIENCE;
    let config = DaemonConfig::new(args.listen)
        .host_key(host_key)
        .limits(limits)
        .router(routes(&target(&args)?, args.allow_forwarding))
        .public_key(move |_, key| {
            let yes = known.iter().any(|known| known.key_data() == key.key_data());
            async move { yes }
        });
    let daemon = Daemon::start(config).await?;
    println!("listening on {}", daemon.local_addr());
    tokio::signal::ctrl_c().await?;
    daemon.stop().await;
    Ok(())
}

fn target(args: &Args) -> Result<ClientConfig, BoxError> {
    let (user, host) = args.target.rsplit_once('@').ok_or("the target needs a user: give user@host")?;
    let auth = match &args.identity {
        Some(path) => Auth::new().agent(AgentMode::Off).identity_file(IdentityFile::new(path)),
        None => Auth::usual(),
    };
    let files =
        args.known_hosts.as_ref().map_or_else(KnownHostsFiles::default, |file| KnownHostsFiles::new([file]));
    let mut limits = Limits::default();
    limits.stall_timeout = PATIENCE;
    Ok(ClientConfig::new(host, user)
        .port(args.port)
        .auth(auth)
        .host_key(HostKeyPolicy::strict(files))
        .limits(limits))
}

async fn read(path: &Path) -> Result<String, BoxError> {
    Ok(tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))?)
}
