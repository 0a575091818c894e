//! Connections that come back: one address, one connection after the other behind it.
//!
//! [`Client::manage`](crate::Client::manage) takes a [`ManagedSpec`] and gives a [`ManagedRef`]: an address that stays
//! the same while the connection behind it is lost and made again.
//!
//! ```text
//!            ┌───────────── due ◄────────────┐
//!            ▼                               │
//!       Connecting ──logged in──► Up ──┬──► Backoff
//!            │                         │
//!            ├──no answer, ...─────────┤
//!            │                         ├──► Ended    the restart type wants no more
//!            │                         └──► GaveUp   too many restarts in the window
//!            └──host key, credentials ────► Failed
//!
//!       from anywhere:  stop ──► Stopping ──► Stopped
//! ```
//!
//! # What happens at each attempt
//! All of it anew: the name is looked up, the host key is checked against the files as they are now, and who we are is
//! asked of the [provider](crate::ClientConfig::auth_with), if there is one. A host key that is not accepted and
//! credentials that are refused are the end, unless the specification says otherwise. Everything that may pass is
//! tried again, with growing pauses.
//!
//! # What comes back, and what does not
//! [Supervised channels](ManagedRef::supervise) come back, in the order in which they were declared, each as its next
//! incarnation. The end of a connection is no failure of theirs and does not count for their intensity.
//!
//! A channel that cannot be kept up may be told to end the connection ([`Escalation`](crate::Escalation)). What follows,
//! another connection or none, is decided when that one is gone.
//!
//! Commands do not come back. One that was under way when its connection was lost ends with an error which
//! [tells](crate::session::CommandError::may_have_run) that it may have run. One that is started while there is no
//! connection waits for one, up to [`ManagedSpec::patience`].
//!
//! # Who stops it
//! [`ManagedRef::stop`] and [`ManagedRef::shutdown`], which win over everything; and the loss of the last
//! [`ManagedRef`] and of the last supervised channel.
//!
//! ```no_run
//! use std::time::Duration;
//! use ractor_ssh::supervision::{Backoff, RestartPolicy};
//! use ractor_ssh::{Client, ClientConfig, ManagedSpec};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pauses = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
//! let policy = RestartPolicy::permanent().never_give_up().backoff(pauses);
//! let build = Client::new(ClientConfig::new("build.example.org", "ci"))
//!     .manage(ManagedSpec::new().restart(policy))
//!     .await?;
//! println!("{}", build.exec("uptime").output().await?.stdout_text());
//! build.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod address;
mod berth;
mod course;
mod error;
mod ground;
mod grounds;
mod keeper;
mod look;
mod managed_ref;
mod spec;
mod state;
mod tasks;

pub use error::NotConnected;
pub use managed_ref::ManagedRef;
pub use spec::ManagedSpec;
pub use state::{Failures, ManagedEnd, ManagedInfo, ManagedState};
