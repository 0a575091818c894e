//! The vocabulary of RFC 4250-4254: numbers, names and values as they stand on the wire.
//!
//! Owns no state and knows nothing of tokio, actors or sessions. [`keys`] is the only place
//! that re-exports key types of the SSH library underneath.

pub mod codes;
pub(crate) mod id;
pub(crate) mod invalid;
pub mod keys;
pub mod open;
pub mod pty;
pub mod request;
pub mod signal;

pub use pty::{PtyRequest, TerminalMode, TerminalModes, WindowSize};
pub use request::{ChannelRequest, ExitSignal, ExitStatus, X11Request};
pub use signal::Signal;
