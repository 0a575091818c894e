//! Looks into a live system: the tree of connections and channels, their throughput, and why they stand still.
//!
//! ```sh
//! cargo run --example observer                                         a system in this process, to play with
//! cargo run --example observer -- user@host -- "vmstat 1" "top -b"     a host, each command a supervised channel
//! cargo run --example observer -- --once                               the tree as text, and the end
//! ```
//!
//! `x` kills the selected channel. If it is supervised, it comes back as its next incarnation.

mod app;
mod demo;
mod draw;
mod remote;
mod screen;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ractor_ssh::BoxError;
use ractor_ssh::observe::Group;
use tokio::signal::unix::{SignalKind, signal};

use app::{Action, App};
use demo::Demo;
use remote::{Remote, Target};
use screen::Screen;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Looks into a live system of connections and channels.
#[derive(Parser)]
#[command(name = "observer")]
struct Args {
    /// Port of the server.
    #[arg(short, default_value_t = 22)]
    port: u16,
    /// Private key file. Default: the agent of SSH_AUTH_SOCK, then the usual files.
    #[arg(short = 'i')]
    identity: Vec<PathBuf>,
    /// known_hosts file. Default: OpenSSH's.
    #[arg(long)]
    known_hosts: Option<PathBuf>,
    /// Accept and write down the key of a host that is not known yet.
    #[arg(long)]
    accept_new: bool,
    /// Milliseconds between two looks.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(20..=60_000))]
    every: u64,
    /// Print the tree as text after that time, and end.
    #[arg(long)]
    once: bool,
    /// `host` or `user@host`. Without one, a system in this process is looked at.
    destination: Option<String>,
    /// Commands, each a supervised channel.
    #[arg(last = true)]
    commands: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("observer: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), BoxError> {
    let every = Duration::from_millis(args.every);
    if !args.once && !std::io::stdout().is_terminal() {
        return Err("the output is no terminal: use one, or --once".into());
    }
    let Some(destination) = args.destination else {
        let demo = Demo::start().await?;
        let seen = look(&demo.house(), every, args.once).await;
        demo.stop().await;
        return seen;
    };
    let remote = Remote::start(Target {
        destination,
        port: args.port,
        identity: args.identity,
        known_hosts: args.known_hosts,
        accept_new: args.accept_new,
        commands: args.commands,
    })
    .await?;
    let seen = look(&remote.house(), every, args.once).await;
    remote.stop().await;
    seen
}

async fn look(house: &Group, every: Duration, once: bool) -> Result<(), BoxError> {
    if once {
        tokio::time::sleep(every).await;
        println!("{:#}", house.tree().await);
        return Ok(());
    }
    let mut app = App::new(house.tree().await);
    let mut last = Instant::now();
    let (mut hangup, mut term) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut clock = tokio::time::interval(every);
    let (mut screen, mut keys) = Screen::enter()?;
    loop {
        screen.terminal.draw(|frame| draw::draw(frame, &mut app))?;
        tokio::select! {
            _ = clock.tick() => {
                let tree = house.tree().await;
                app.update(tree, last.elapsed());
                last = Instant::now();
                if let Some(panic) = screen::last_panic() {
                    app.message = Some(panic.replace('\n', " "));
                }
            }
            key = keys.recv() => match key {
                Some(Some(key)) => match app.press(key) {
                    Some(Action::Quit) => return Ok(()),
                    Some(Action::Kill(actor)) => actor.kill(),
                    None => {}
                },
                Some(None) => {}
                None => return Err("the terminal is gone".into()),
            },
            _ = hangup.recv() => return Ok(()),
            _ = term.recv() => return Ok(()),
        }
    }
}
