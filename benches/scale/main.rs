//! Many supervised channels over many managed connections, against this crate's daemon in a process of its own: how long
//! they take to come up, the memory of each, and the time of a tree of them all.
//!
//! ```text
//! cargo bench --bench scale                                      10,000 channels over 100 connections
//! cargo bench --bench scale -- --connections 10 --channels 1000
//! ```
//!
//! Each takes one socket in either process and none for a channel; both together had 0.8 GiB where this was written.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::future::try_join_all;
use ractor_ssh::auth::Auth;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::observe::Group;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, Client, ClientChannel, ClientConfig, Daemon,
    DaemonConfig, ManagedRef, ManagedSpec, Next, Rate, Router, ServerChannel, ServerSide, SessionLimits,
    SupervisedRef,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Many supervised channels, and a tree of them all.
#[derive(Debug, Parser)]
struct Options {
    /// Managed connections.
    #[arg(long)]
    connections: Option<usize>,
    /// Supervised channels on all of them together.
    #[arg(long)]
    channels: Option<usize>,
    /// How often the tree is asked for.
    #[arg(long, default_value_t = 20)]
    reps: usize,
    /// Internal: be the daemon.
    #[arg(long, hide = true)]
    serve: bool,
    /// Given by `cargo bench`; without it (`cargo test --benches`) the run is a quick one.
    #[arg(long, hide = true)]
    bench: bool,
    /// Given by test runners that ask what there is: nothing.
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    match options {
        Options { list: true, .. } => Ok(()),
        Options { serve: true, .. } => serve().await,
        _ => measure(&options).await,
    }
}

/// A remote command that says nothing.
struct Idle;

impl ServerChannel for Idle {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn serve() -> Result<(), BoxError> {
    let mut limits = SessionLimits::default();
    limits.opens = Rate::unlimited();
    limits.requests = Rate::unlimited();
    let config = DaemonConfig::new(([127, 0, 0, 1], 0))
        .host_key(generate_ed25519())
        .danger_let_anyone_in()
        .max_channels(100_000)
        .max_connections(usize::MAX)
        .max_connections_per_source(usize::MAX)
        .max_unauthenticated(usize::MAX)
        .max_per_source(usize::MAX)
        .session_limits(limits)
        .router(Router::new().exec(|_| Idle));
    let daemon = Daemon::start(config).await?;
    println!("{}", daemon.local_addr().port());
    std::io::stdout().flush()?;
    // Until the bench is gone.
    let _ = std::io::stdin().lines().next();
    daemon.stop().await;
    Ok(())
}

/// The daemon's process; it ends with this value.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Result<Self, BoxError> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self { child, port: line.trim().parse()? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs a command, and takes what it says.
struct Tail(usize);

impl ClientChannel for Tail {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec(format!("tail -F /var/log/service-{}.log", self.0)).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn measure(options: &Options) -> Result<(), BoxError> {
    let quick = !options.bench;
    let connections = options.connections.unwrap_or(if quick { 5 } else { 100 }).max(1);
    let channels = options.channels.unwrap_or(if quick { 100 } else { 10_000 });
    let server = Server::start()?;
    let client = Client::new(
        ClientConfig::new("127.0.0.1", "scale")
            .port(server.port)
            .auth(Auth::new().none())
            .host_key(HostKeyPolicy::danger_accept_anything()),
    );
    let (began, before) = (Instant::now(), quiet().await?);
    let managed = connect(&client, connections).await?;
    println!("{connections} managed connections up in {:.2?}", began.elapsed() - QUIET);
    let connected = quiet().await?;
    per("managed connection", connections, before, connected);

    let began = Instant::now();
    let supervised = supervise(&managed, channels).await?;
    println!("{channels} supervised channels up in {:.2?}", began.elapsed());
    per("supervised channel", channels, connected, quiet().await?);

    let house = managed.iter().fold(Group::new("house"), |house, managed| house.with(managed.clone()));
    let mut times = Vec::new();
    for _ in 0..options.reps.max(1) {
        let began = Instant::now();
        let tree = house.tree().await;
        times.push(began.elapsed());
        let expected = 1 + 2 * connections + 2 * channels;
        if tree.len() != expected {
            return Err(format!("the tree has {} nodes, and should have {expected}", tree.len()).into());
        }
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let (least, most) =
        (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
    println!("tree of all: {median:.1?}, from {least:.1?} to {most:.1?}; {} times", times.len());

    let began = Instant::now();
    let text = house.tree().await.to_string();
    println!("tree as text, {} bytes: {:.1?}", text.len(), began.elapsed());

    kill_all(&managed, &supervised).await
}

async fn connect(client: &Client, number: usize) -> Result<Vec<ManagedRef>, BoxError> {
    let mut managed = Vec::new();
    for _ in 0..number {
        let one = client.manage(ManagedSpec::new()).await?;
        one.connection().await?;
        managed.push(one);
    }
    Ok(managed)
}

async fn supervise(managed: &[ManagedRef], number: usize) -> Result<Vec<SupervisedRef<Tail>>, BoxError> {
    let policy = RestartPolicy::permanent().backoff(Backoff::fixed(Duration::from_millis(100)));
    let mut supervised = Vec::with_capacity(number);
    for (n, managed) in (0..number).zip(managed.iter().cycle()) {
        let spec = ChannelSpec::new(move |_| Tail(n)).restart(policy.clone());
        supervised.push(managed.supervise(spec).await?);
    }
    try_join_all(supervised.iter().map(SupervisedRef::up)).await?;
    Ok(supervised)
}

/// Kills every channel by its actor in the tree, and waits until all are back.
async fn kill_all(managed: &[ManagedRef], supervised: &[SupervisedRef<Tail>]) -> Result<(), BoxError> {
    let began = Instant::now();
    for managed in managed {
        let tree = managed.tree().await;
        for channel in tree.children.iter().flat_map(|node| &node.children) {
            if let Some(actor) = &channel.actor {
                actor.kill();
            }
        }
    }
    for channel in supervised {
        let mut states = channel.states();
        states.wait_for(|state| matches!(state, ractor_ssh::supervised::SupervisedState::Up { incarnation } if *incarnation > 1)).await?;
    }
    println!(
        "{} channels killed and back in {:.2?}, 100 ms of it their pause",
        supervised.len(),
        began.elapsed()
    );
    Ok(())
}

const QUIET: Duration = Duration::from_secs(2);

/// VmRSS in bytes, once nothing happens any more.
async fn quiet() -> Result<usize, BoxError> {
    tokio::time::sleep(QUIET).await;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: usize = line.split_whitespace().next().ok_or("no number")?.parse()?;
    Ok(kib * 1024)
}

fn per(what: &str, number: usize, before: usize, after: usize) {
    let each = after.saturating_sub(before).checked_div(number).unwrap_or_default();
    println!("memory of a {what}: {each} bytes, mean of {number}");
}
