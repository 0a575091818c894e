//! The same on many hosts: a command, or a supervised channel.
//!
//! [`FanOut`] takes labelled [targets](crate::target): connections, managed connections, hosts of a pool, clients that
//! connect for this one use, or a mixture. So many of them are at work at a time; what they say is one
//! [stream of events](FanOutRun), each with the label of its host; what became of them is one list, in the order in which
//! the hosts were given.
//!
//! ```text
//!  host 1 ─┐                              ┌─ Started, Stdout(line), Stderr(line), Finished ── as it happens
//!  host 2 ─┼─► `concurrency` at a time ──►│
//!  host n ─┘                              └─ reports ── in the order of the hosts
//! ```
//!
//! Events are bounded: who does not read them holds the hosts up, by the windows of their channels. Dropping the run
//! ends everything: the channels of what runs are closed, what is being connected is given up.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use futures::StreamExt as _;
//! use ractor_ssh::fan_out::{FanOut, HostEventKind};
//! use ractor_ssh::ClientConfig;
//!
//! # async fn example() {
//! let hosts = ["web1", "web2", "web3"].map(|name| (name, ClientConfig::new(name, "ops")));
//! let mut run = FanOut::new(hosts).concurrency(2).deadline(Duration::from_secs(60)).exec("uptime");
//! while let Some(event) = run.next().await {
//!     match event.kind {
//!         HostEventKind::Stdout(line) => println!("{}: {}", event.label, String::from_utf8_lossy(&line)),
//!         HostEventKind::Finished(outcome) => println!("{}: {outcome}", event.label),
//!         _ => {}
//!     }
//! }
//! let failed = run.reports().await.iter().filter(|report| !report.success()).count();
//! println!("{failed} failed");
//! # }
//! ```
//!
//! To have the outputs and nothing else: `FanOut::new(hosts).exec("uptime").outputs(1 << 20).await`.

mod event;
mod host;
mod plan;
mod run;
mod supervise;

pub use event::{HostEvent, HostEventKind, HostOutcome, HostOutput, HostReport};
pub use plan::FanOut;
pub use run::FanOutRun;
pub use supervise::{HostChannel, HostChannelError};
