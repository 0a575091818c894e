//! Runs one command on many hosts, so many at a time, and shows how far it has come.
//!
//! ```sh
//! cargo run --example fan_out -- --concurrency 8 --deadline 60 -l ops web1 web2 db1:2222 -- uptime
//! ```
//!
//! The output of all hosts goes to stdout and stderr as it comes, line by line, each line behind the name of its host.
//! In a terminal there is a bar for the whole, and a line for each host at work; otherwise there are the lines alone. What
//! failed is listed in the end, in the order of the hosts. Exits with 0 only if the command has succeeded on all of them,
//! with 1 if not, and with 2 if something is wrong with the arguments. Ctrl-c gives up what runs and starts nothing more.
//!
//! # How it works
//! Each host is a [target](ractor_ssh::target) that connects for this one use. [`FanOut`] gives them their turns and
//! merges what they say; this program only shows it.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ractor_ssh::auth::{AgentMode, Auth, IdentityFile};
use ractor_ssh::fan_out::{FanOutRun, HostEvent, HostEventKind, HostOutcome, HostReport};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::{BoxError, ClientConfig, FanOut};

/// Runs one command on many hosts.
#[derive(Parser)]
#[command(name = "fan_out")]
struct Args {
    /// How many hosts are at work at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// End everything at the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// How many seconds one host may take, connecting included.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    deadline: Option<u64>,
    /// User to log in as, where a host does not name one. Default: the local user.
    #[arg(short = 'l')]
    login: Option<String>,
    /// Private key file. Default: the agent of SSH_AUTH_SOCK, then the usual files.
    #[arg(short = 'i')]
    identity: Vec<PathBuf>,
    /// known_hosts file. Default: OpenSSH's.
    #[arg(long)]
    known_hosts: Option<PathBuf>,
    /// Accept and write down the keys of hosts that are not known yet.
    #[arg(long)]
    accept_new: bool,
    /// `[user@]host[:port]`; an IPv6 address with a port is written `[address]:port`.
    #[arg(required = true)]
    hosts: Vec<String>,
    /// The command; its words are joined by spaces.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let fan_out = match fan_out(&args).await {
        Ok(fan_out) => fan_out,
        Err(error) => {
            eprintln!("fan_out: {error}");
            return ExitCode::from(2);
        }
    };
    let reports = show(fan_out.exec(args.command.join(" "))).await;
    let failed: Vec<_> = reports.iter().filter(|report| !report.success()).collect();
    for HostReport { label, outcome, .. } in &failed {
        eprintln!("fan_out: {label}: {}", words(outcome));
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn fan_out(args: &Args) -> Result<FanOut, BoxError> {
    let local = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
    let login = args.login.clone().or_else(local);
    let (auth, host_key) = (auth(args).await?, host_key(args));
    let mut hosts = Vec::new();
    for name in &args.hosts {
        let (user, host, port) = parse(name)?;
        let user = user.or_else(|| login.clone()).ok_or("no user: give user@host, or -l")?;
        let config = ClientConfig::new(host, user).port(port).auth(auth.clone()).host_key(host_key.clone());
        config.check().map_err(|error| format!("{name}: {error}"))?;
        hosts.push((name.as_str(), config));
    }
    let fan_out = FanOut::new(hosts).concurrency(args.concurrency.into()).fail_fast(args.fail_fast);
    Ok(match args.deadline {
        Some(seconds) => fan_out.deadline(Duration::from_secs(seconds)),
        None => fan_out,
    })
}

/// User, host and port of `[user@]host[:port]`.
fn parse(name: &str) -> Result<(Option<String>, &str, u16), BoxError> {
    let (user, rest) = match name.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, name),
    };
    let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
        let (host, port) = inner.split_once(']').ok_or_else(|| format!("{name}: `[` without `]`"))?;
        let port = port.strip_prefix(':').or(port.is_empty().then_some("22"));
        (host, port.ok_or_else(|| format!("{name}: give a port as [address]:port"))?)
    } else if rest.matches(':').count() == 1 {
        rest.split_once(':').unwrap_or((rest, "22"))
    } else {
        (rest, "22")
    };
    let port = port.parse().map_err(|_| format!("{name}: {port:?} is no port; give 1 to 65535"))?;
    Ok((user, host, port))
}

async fn auth(args: &Args) -> Result<Auth, BoxError> {
    if args.identity.is_empty() {
        return Ok(Auth::usual());
    }
    let mut auth = Auth::new().agent(AgentMode::Off);
    for path in &args.identity {
        // Looked at now: a file that was asked for by name and cannot be read is an error, not something to pass over.
        tokio::fs::metadata(path).await.map_err(|e| format!("{}: {e}", path.display()))?;
        auth = auth.identity_file(IdentityFile::new(path));
    }
    Ok(auth)
}

fn host_key(args: &Args) -> HostKeyPolicy {
    let files =
        args.known_hosts.as_ref().map_or_else(KnownHostsFiles::default, |file| KnownHostsFiles::new([file]));
    if args.accept_new { HostKeyPolicy::accept_new(files) } else { HostKeyPolicy::strict(files) }
}

/// Shows what happens until all is over.
async fn show(mut run: FanOutRun) -> Vec<HostReport> {
    let mut screen = Screen::new(run.hosts());
    let mut interrupted = false;
    loop {
        tokio::select! {
            event = run.next() => match event {
                Some(event) => screen.show(event),
                None => break,
            },
            Ok(()) = tokio::signal::ctrl_c(), if !interrupted => {
                interrupted = true;
                run.cancel();
            }
        }
    }
    screen.all.finish_and_clear();
    run.reports().await
}

/// Draws on stderr if that is a terminal, and nowhere if not.
struct Screen {
    bars: MultiProgress,
    all: ProgressBar,
    failed: usize,
    at_work: HashMap<usize, ProgressBar>,
}

impl Screen {
    fn new(hosts: usize) -> Self {
        let bars = MultiProgress::new();
        let all = bars.add(ProgressBar::new(hosts as u64));
        all.set_style(style("[{elapsed_precise}] {bar:40} {pos}/{len} {msg}").progress_chars("=> "));
        all.enable_steady_tick(Duration::from_millis(200));
        Self { bars, all, failed: 0, at_work: HashMap::new() }
    }

    fn show(&mut self, HostEvent { host, label, kind, .. }: HostEvent) {
        match kind {
            HostEventKind::Started => {
                let bar = self.bars.insert_before(&self.all, ProgressBar::new_spinner());
                bar.set_style(style("{spinner} {prefix}: {wide_msg}"));
                bar.set_prefix(label.to_string());
                self.at_work.insert(host, bar);
            }
            HostEventKind::Stdout(line) => {
                self.note(host, &line);
                // It fails when nobody reads it any more, as with `head`: the commands run on.
                self.bars.suspend(|| {
                    let mut out = std::io::stdout().lock();
                    let _ = write!(out, "{label}: ").and_then(|()| out.write_all(&line));
                    let _ = writeln!(out);
                });
            }
            HostEventKind::Stderr(line) => {
                self.note(host, &line);
                self.bars.suspend(|| {
                    let mut out = std::io::stderr().lock();
                    let _ = write!(out, "{label}: ").and_then(|()| out.write_all(&line));
                    let _ = writeln!(out);
                });
            }
            HostEventKind::Finished(outcome) => {
                if let Some(bar) = self.at_work.remove(&host) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                self.failed += usize::from(!outcome.success());
                if self.failed > 0 {
                    self.all.set_message(format!("{} failed", self.failed));
                }
                self.all.inc(1);
            }
            _ => {}
        }
    }

    fn note(&self, host: usize, line: &[u8]) {
        if let Some(bar) = self.at_work.get(&host) {
            bar.set_message(String::from_utf8_lossy(line).into_owned());
            bar.tick();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn words(outcome: &HostOutcome) -> String {
    match outcome {
        HostOutcome::Finished(status) => format!("the command has failed: {status}"),
        other => other.to_string(),
    }
}
