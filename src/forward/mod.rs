//! Forwards: connections that are taken on one side of an SSH connection and made on the other.
//!
//! | wanted | forward | as |
//! |---|---|---|
//! | a local port leads to a port that the server reaches | [`Forward::local`] | `ssh -L 8080:host:80` |
//! | a local socket leads to a Unix socket on the server | [`Forward::local`] | `ssh -L 2375:/run/docker.sock` |
//! | a SOCKS proxy on this side | [`Forward::dynamic`] | `ssh -D 1080` |
//! | a port or socket of the server leads to one on this side | [`Forward::remote`] | `ssh -R 8080:host:80` |
//! | a port of the server leads to a function of this program | [`Forward::remote_fn`] | |
//! | a SOCKS proxy on the server | [`Forward::remote_dynamic`] | `ssh -R 1080` |
//! | one stream to a remote address, no listener | [`ConnectionRef::open_stream`](crate::ConnectionRef::open_stream) | `ssh -W host:80` |
//!
//! Given to [`ConnectionRef::forward`](crate::ConnectionRef::forward), a forward ends with the connection; given to
//! [`ManagedRef::forward`](crate::ManagedRef::forward), it stays over all the connections that follow each other: a local
//! listener stays bound, and who connects meanwhile [waits or is refused](Forward::while_down); the server is asked anew to
//! listen, with growing pauses while it refuses: its end of the lost connection may hold the port for a while.
//!
//! Each forward is an actor with a [handle](ForwardHandle), listed in the tree of its connection with its counters, its
//! channels below it.
//!
//! # What is passed on
//! Bytes, the end of each direction by itself (half-close), and failures: a reset becomes SSH_MSG_CHANNEL_CLOSE without
//! EOF, and a lost channel a reset, so that nobody takes a torn stream for a whole one. Unix sockets know no reset; they
//! are closed. OpenSSH's server tells of a reset destination by EOF and CLOSE, as of any other end. The reverse, that CLOSE
//! without EOF becomes a reset, holds between two ends of this crate (as their identification strings say) alone: from
//! others it is an end like EOF, since some, as programs in Go, end every stream so.
//!
//! A connection whose channel is refused, or whose destination cannot be reached, is reset; a SOCKS client is told why, as
//! far as the peer says (`connect failed`, RFC 4254 section 5.1, is all the protocol has; OpenSSH's text says more).
//!
//! # Slow connections
//! A client that reads slowly holds its own stream up, and nobody else's for long. Windows are granted by russh as bytes
//! arrive, so a server sends on while a client on this side does not read; what is not read waits here, up to the
//! connection's budget (64 MiB, [`Limits::inbound_budget`](crate::config::Limits::inbound_budget)). Only then reading stops
//! for all channels of the SSH connection. By default ([`SlowConsumer::Yield`](crate::config::SlowConsumer::Yield)), a
//! forwarded connection that has taken less than 4 KiB in 5 s by then, and is not alone, is reset; one that is slow but takes
//! more slows its siblings to its pace while it holds that much. What a client takes is seen in steps of the system's
//! buffers: on Linux one that reads 100 KB/s is not taken for a stalled one; elsewhere, and for slower ones, a longer
//! patience helps. A connection that must do neither has an SSH
//! connection of its own with [`SlowConsumer::Isolate`](crate::config::SlowConsumer::Isolate), or a forward on another one.
//! The other way round, the server's window holds up each connection by itself.
//!
//! # Who may connect
//! Everybody who can reach the listener: there is no login, SOCKS included. Listen on loopback, or on a Unix socket, which
//! is made for this user alone (mode 0600).

mod base;
mod endpoint;
mod error;
mod handle;
mod keeper;
mod listener;
mod look;
mod remote;
mod serve;
mod socks;
mod spec;
mod state;
mod work;

pub(crate) use base::Base;
pub use endpoint::Endpoint;
pub use error::{ForwardEnd, ForwardError};
pub use handle::ForwardHandle;
pub(crate) use handle::start;
pub use spec::{Forward, WhileDown};
pub use state::{ForwardCounters, ForwardInfo, ForwardState};
