//! The embedded daemon: listens, lets peers in, and runs a behaviour on every channel they open.
//!
//! The connection and channel actors are the client's. What is the daemon's own: who may enter ([`DaemonConfig`]),
//! what runs on a channel ([`Router`]), and the accept loop with its caps.

mod accept;
mod config;
mod daemon;
mod door;
mod error;
mod exec;
pub mod login;
mod peer;
mod permissions;
mod request;
mod router;

pub use config::DaemonConfig;
pub use daemon::{Daemon, DaemonRef};
pub use error::DaemonError;
pub use exec::ExecOutput;
pub use login::{LoginAttempt, LoginDecision};
pub use permissions::Permissions;
pub use request::{NewSession, SessionKind, SessionRequest};
pub use router::Router;
