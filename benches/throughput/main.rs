//! This crate and plain russh side by side: throughput, exec rate, echo latency, logins and memory.
//!
//! Both clients run in this program, an ordinary multi-thread tokio one, with the same allocator and the same
//! cipher, against the same server in a process of its own. Repetitions of the two are interleaved, so that what
//! else the machine does hits both. Every figure is the median with its range; compare inside one run only. The rows
//! `as the server` are the other way round: russh's client against this crate's daemon and against russh's server.
//! `kept` is this crate with supervision: a managed connection; channels that stream and echo, and the
//! `supervised commands`, are supervised ones. Its ratio is to `ours`, which has none.
//!
//! ```text
//! cargo bench                         everything
//! cargo bench -- download echo        rows whose name contains one of the words
//! cargo bench -- --quick              a smoke test: small loads, one repetition
//! cargo bench -- --server-threads 2   the server on two threads instead of one
//! ```

mod daemon;
mod kept;
#[path = "../../tests/kit/mod.rs"]
mod kit;
mod load;
mod memory;
mod ours;
mod plain;
mod report;
mod server;
mod target;

use clap::Parser;

use load::{Measured, Plan, Who, Workload};
use report::Row;
use target::{Failure, Target};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// This crate and plain russh side by side.
#[derive(Debug, Parser)]
struct Options {
    /// Rows whose name contains one of these words; all without one.
    words: Vec<String>,
    /// Small loads, one repetition.
    #[arg(long)]
    quick: bool,
    /// Repetitions of every row.
    #[arg(long)]
    reps: Option<usize>,
    /// Threads of the bench's own server.
    #[arg(long, default_value_t = 1)]
    server_threads: usize,
    /// Only this client: `ours` or `plain`. For profilers.
    #[arg(long)]
    only: Option<String>,
    /// Multiplies every load.
    #[arg(long, default_value_t = 1)]
    scale: usize,
    /// Internal: be the server.
    #[arg(long, hide = true)]
    serve: Option<server::Kind>,
    /// Internal: measure this process's memory against the server on the port.
    #[arg(long, hide = true, num_args = 3, value_names = ["CASE", "PORT", "COUNT"])]
    memory: Option<Vec<String>>,
    /// Given by `cargo bench`; without it (`cargo test --benches`) the run is a quick one.
    #[arg(long, hide = true)]
    bench: bool,
    /// Given by test runners that ask what there is: nothing.
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
}

impl Options {
    fn wants(&self, row: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| row.contains(word.as_str()))
    }

    fn wants_client(&self, client: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == client)
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    if options.list {
        return Ok(());
    }
    if let Some(kind) = options.serve {
        return server::serve(kind, options.server_threads);
    }
    clients(options)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn clients(options: Options) -> Result<(), Failure> {
    if let Some(case) = &options.memory {
        return memory::child(case).await;
    }
    let quick = options.quick || !options.bench;
    let plan = if quick { Plan::quick() } else { Plan::full() };
    let plan = plan.scaled(options.scale).reps(options.reps);

    report::heading();
    let server = Target::own_server(server::Kind::Plain, options.server_threads)?;
    let clients = |target| load::clients(target).into_iter().map(|who| Contestant::client(who, target));
    measure(&options, &plan, server.name(), &clients(&server).collect::<Vec<_>>()).await?;
    let daemon = Target::own_server(server::Kind::Ours, options.server_threads)?;
    let servers = [Contestant::server("ours", &daemon), Contestant::server("plain", &server)];
    measure(&options, &plan, "as the server", &servers).await?;
    if let Some(sshd) = Target::sshd() {
        measure(&options, &plan.for_sshd(), sshd.name(), &clients(&sshd).collect::<Vec<_>>()).await?;
    } else {
        println!("no OpenSSH server here: its rows are left out");
    }
    memory::measure(&options, quick).await
}

/// What is compared: a client and a server, one of the two the same for all.
#[derive(Debug, Clone, Copy)]
struct Contestant<'a> {
    name: &'static str,
    client: Who,
    target: &'a Target,
    /// Whose CPU seconds are told.
    process: Option<u32>,
}

impl<'a> Contestant<'a> {
    fn client(client: Who, target: &'a Target) -> Self {
        Self { name: client.name(), client, target, process: None }
    }

    fn server(name: &'static str, target: &'a Target) -> Self {
        Self { name, client: Who::Plain, target, process: target.process() }
    }
}

/// All rows of one comparison.
async fn measure(
    options: &Options,
    plan: &Plan,
    what: &str,
    contestants: &[Contestant<'_>],
) -> Result<(), Failure> {
    for workload in Workload::ALL {
        if !options.wants(&format!("{} {what}", workload.name())) {
            continue;
        }
        let contestants: Vec<_> = contestants.iter().filter(|c| options.wants_client(c.name)).collect();
        let mut rows: Vec<Row> = contestants.iter().map(|contestant| Row::new(contestant.name)).collect();
        for repetition in 0..plan.repetitions() {
            for turn in 0..contestants.len() {
                let at = (turn + repetition) % contestants.len();
                let (Some(contestant), Some(row)) = (contestants.get(at), rows.get_mut(at)) else { continue };
                let cpu = report::cpu_seconds(contestant.process);
                let measured: Option<Measured> =
                    contestant.client.measure(workload, plan, contestant.target).await?;
                if let Some(measured) = measured {
                    row.add(measured, report::cpu_seconds(contestant.process) - cpu);
                }
            }
        }
        report::rows(workload, what, &rows);
    }
    Ok(())
}
