//! The embedded daemon: listens, lets peers in, and runs a behaviour on every channel they open.
//!
//! The connection and channel actors are the client's. What is the daemon's own: who may enter ([`DaemonConfig`]),
//! what runs on a channel ([`Router`]), the acceptors and their supervisor, and the caps on connections.

mod caps;
mod config;
mod daemon;
mod door;
mod error;
mod exec;
mod forward;
mod gateway;
mod hooks;
mod house;
mod listen;
mod listeners;
pub mod login;
mod look;
mod peer;
mod permissions;
mod request;
mod router;
mod session;
mod session_limits;
mod source;
mod tally;
#[cfg(test)]
mod towards_tests;
mod tree;
mod turn_away;

pub use config::DaemonConfig;
pub use daemon::{Daemon, DaemonRef};
pub use error::{DaemonError, ServeError};
pub use exec::ExecOutput;
pub use gateway::GatewayPorts;
pub use login::{LoginAttempt, LoginDecision};
pub use permissions::Permissions;
pub use request::{
    DirectStreamlocal, DirectTcpip, NewSession, SessionKind, SessionRequest, StreamlocalForward, TcpipForward,
};
pub use router::{Route, Router};
pub use session::{SessionEnd, SessionId, SessionInfo};
pub use session_limits::SessionLimits;
pub use tally::{DaemonCounters, DaemonInfo};
