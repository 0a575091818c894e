//! This crate and plain russh side by side: throughput, exec rate, echo latency, logins and memory.
//!
//! Both clients run in this program, an ordinary multi-thread tokio one, with the same allocator and the same
//! cipher, against the same server in a process of its own. Repetitions of the two are interleaved, so that what
//! else the machine does hits both. Every figure is the median with its range; compare inside one run only.
//!
//! ```text
//! cargo bench                         everything
//! cargo bench -- download echo        rows whose name contains one of the words
//! cargo bench -- --quick              a smoke test: small loads, one repetition
//! cargo bench -- --server-threads 2   the server on two threads instead of one
//! ```

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

use load::{Measured, Plan, Workload};
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
    serve: bool,
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
    if options.serve {
        return server::serve(options.server_threads);
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
    let server = Target::own_server(options.server_threads)?;
    measure(&options, &plan, &server).await?;
    if let Some(sshd) = Target::sshd() {
        let plan = plan.for_sshd();
        measure(&options, &plan, &sshd).await?;
    } else {
        println!("no OpenSSH server here: its rows are left out");
    }
    memory::measure(&options, quick).await
}

/// All rows against one server.
async fn measure(options: &Options, plan: &Plan, target: &Target) -> Result<(), Failure> {
    for workload in Workload::ALL {
        if !options.wants(&format!("{} {}", workload.name(), target.name())) {
            continue;
        }
        let clients: Vec<_> =
            load::clients(target).into_iter().filter(|c| options.wants_client(c.name())).collect();
        let mut rows: Vec<Row> = clients.iter().map(|client| Row::new(client.name())).collect();
        for repetition in 0..plan.repetitions() {
            for turn in 0..clients.len() {
                let at = (turn + repetition) % clients.len();
                let (Some(client), Some(row)) = (clients.get(at), rows.get_mut(at)) else { continue };
                let cpu = report::cpu_seconds();
                let measured: Option<Measured> = client.measure(workload, plan, target).await?;
                if let Some(measured) = measured {
                    row.add(measured, report::cpu_seconds() - cpu);
                }
            }
        }
        report::rows(workload, target.name(), &rows);
    }
    Ok(())
}
