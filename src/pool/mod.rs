//! Pools: many hosts, many callers, few connections.
//!
//! [`Pool::get`] gives a [`Host`]: it takes the calls of a connection, and each of them waits for a place on one of the
//! host's connections. Those are [managed](crate::managed): made when somebody comes, made again when they are lost,
//! closed when nobody has needed them for a while.
//!
//! ```text
//!  host.exec(..) ──► queue ──► a place ──► a channel ──► over at both ends ──► the place is free
//!                      │          ▲
//!                      │          └── one of `sessions_per_connection` on up to `max_connections`
//!                      └── full, too late, or the pool is closed: an error, and nothing was sent
//! ```
//!
//! # Who shares a connection
//! Calls with the same host, port, user, way of dialling *and* identity. An identity is a [`Client`](crate::Client) and
//! its clones, or a name that you give: [`Pool::get_as`]. Credentials are never compared.
//!
//! # How many sessions a server takes
//! OpenSSH's `MaxSessions` is 10 unless it is configured, and that is assumed. A server that refuses earlier is found out:
//! the channel it refused waits for another place, and the host's connections get so many from then on. A place is free
//! again when the server has had the time to notice that: where places are short, it is asked.
//!
//! # In what order
//! First come, first served, per host. Who goes away gives its turn to the next. Supervised channels that come back go
//! first, in the order of their declaration. Channels that are no sessions need a connection and no place: they do not
//! wait for those that do.
//!
//! # What is never done
//! No command is started twice. A channel is asked for again elsewhere only if its behaviour has not run: nothing was
//! requested on it then.
//!
//! ```no_run
//! use std::time::Duration;
//! use ractor_ssh::{Client, ClientConfig, Pool, PoolConfig};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::new(PoolConfig::new().max_connections(2))?;
//! let build = pool.get(Client::new(ClientConfig::new("build.example.org", "ci")));
//! let (kernel, load) = tokio::try_join!(build.exec("uname -r").output(), build.exec("uptime").output())?;
//! println!("{}{}", kernel.stdout_text(), load.stdout_text());
//! println!("{:?}", pool.info().counters);
//! pool.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod accounts;
mod config;
mod desk;
mod host;
mod info;
mod isolated;
mod key;
mod lease;
mod look;
mod meter;
mod place;
mod pool_ref;
mod queue;
mod warden;

pub use config::PoolConfig;
pub use host::{Host, PooledConnection};
pub use info::{Duty, Eviction, HostInfo, PoolCounters, PoolInfo, PooledInfo};
pub use pool_ref::Pool;
