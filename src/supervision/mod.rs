//! When a child that ended is started again, after what pause, and when to give up.
//!
//! The rules of OTP's `supervisor`, with a growing pause between restarts: [`Restart`] says which ends
//! call for a restart, [`Intensity`] how many restarts are too many, [`Backoff`] how long to wait, and
//! [`RestartPolicy`] holds the three together. A [`RestartBook`] applies a policy to one child.
//!
//! Nothing in here starts, waits or reads a clock: who supervises says what happened and when, and is told
//! what to do. Nothing in here knows of SSH or of actors.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use ractor_ssh::supervision::{Decision, RestartBook, RestartPolicy};
//!
//! let policy = RestartPolicy::transient().intensity(1, Duration::from_secs(60));
//! let mut book = RestartBook::new(policy)?;
//! let start = Instant::now();
//!
//! book.on_up(start);
//! let first = book.on_exit(start, false, 0.0);
//! assert_eq!(first, Decision::Restart { after: Duration::from_millis(100), attempt: 1 });
//!
//! let second = book.on_exit(start + Duration::from_secs(1), false, 0.0);
//! assert_eq!(second, Decision::GiveUp { restarts: 1, within: Duration::from_secs(60) });
//! # Ok::<(), ractor_ssh::error::ConfigError>(())
//! ```

mod backoff;
mod book;
mod policy;

pub use backoff::Backoff;
pub use book::{Decision, RestartBook};
pub use policy::{Intensity, Restart, RestartPolicy};
