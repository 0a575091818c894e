//! SSH channels as supervised actors: what Erlang/OTP's `ssh_connection`, `ssh_client_channel` and
//! `ssh_server_channel` are to Erlang, on [tokio](https://docs.rs/tokio), [russh](https://docs.rs/russh) and [`ractor`].
//!
//! A [`Client`] makes a connection; a connection actor owns it, and spawns one supervised actor per channel. A channel
//! actor runs a behaviour: your implementation of [`ClientChannel`]. It gets every SSH event of its channel in wire order
//! as a [`ChannelMsg`], and the messages other actors send it. Windows, replies, eof and close are taken care of.
//!
//! # Ways to use it
//!
//! **A behaviour**, for channels that live: log tails, agents, tunnels, NETCONF. See [`ClientChannel`] for the contract.
//! The channel is an ordinary ractor actor: it can be linked, monitored, registered and grouped. Its [`ChannelRef`] is
//! its address.
//!
//! **A command**, for one-off work, as with `std::process`: `conn.command("ls").arg("-l").output().await`.
//!
//! **Supervision**, for what has to go on: [`ConnectionRef::supervise`] keeps a channel behind one address and starts it
//! again by a policy; [`Client::manage`] does the same for the connection ([`managed`]). [`Pool`] shares such connections
//! among many callers, [`FanOut`] runs the same on many hosts. All of these take the same calls: see [`target`].
//!
//! **Looking in**: `tree()` of any of them shows all below it, with what is stuck and why: see [`observe`].
//!
//! # What is promised
//!
//! - Events of a channel arrive in wire order; [`ChannelMsg::Closed`] arrives exactly once, last, always. Output that
//!   arrived before is never lost.
//! - A behaviour that fails, panics or is killed ends its own channel only, unless its specification escalates.
//! - No command is started twice by itself; one that was cut off says whether it may have run.
//! - A slow consumer never makes memory grow past its connection's budget, and what it does to its siblings is a stated
//!   policy: [`config::SlowConsumer`].
//! - Every step has a deadline with a default: [`config::Timeouts`]. No public call waits for ever.
//! - The host key is always checked: [`host_key::HostKeyPolicy`].
//! - Dropping any future of this crate loses nothing that was reported as taken, and leaks no channel.
//!
//! # Features
//!
//! | feature | default | what |
//! |---|---|---|
//! | `aws-lc-rs` | yes | crypto by aws-lc (needs a C compiler); AES-GCM is several times as fast as with `ring` or ChaCha20 |
//! | `ring` | no | crypto by ring instead; one of the two is needed |
//! | `server` | yes | the embedded daemon |
//! | `sftp` | no | the `sftp` subsystem of the daemon: files below one directory |
//! | `sftp-client` | no | files on a server: streams, names, whole trees both ways (module `sftp`) |
//! | `pty` | no | real processes on the daemon's channels ([`process`]): commands and shells, on a terminal or pipes; Unix |
//! | `metrics` | no | counters, gauges and histograms for the facade of that name: module `metrics` |
//! | `ssh-config` | no | OpenSSH's `ssh_config(5)`, read, looked up and applied |
//! | `test-util` | no | an in-memory scripted peer, for tests of your own behaviours |
//!
//! # Speed
//!
//! TCP_NODELAY is set, AES-GCM is preferred on processors with AES instructions. The library sets no allocator; russh
//! allocates twice a packet, and glibc's allocator gives pages back and faults them in again in a multi-threaded program:
//! `mimalloc` in *your* program was worth a factor of 2 in download throughput where we measured.

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("ractor-ssh needs a crypto backend: enable the feature `aws-lc-rs` (the default) or `ring`");

pub mod auth;
pub mod config;
mod connect_error;
pub mod dial;
pub mod error;
pub mod fan_out;
pub mod forward;
pub mod host_key;
pub mod managed;
pub mod observe;
pub mod pool;
pub mod session;
#[cfg(feature = "sftp-client")]
pub mod sftp;
#[cfg(feature = "ssh-config")]
pub mod ssh_config;
pub mod supervised;
pub mod supervision;
pub mod target;
pub mod wire;

mod behaviour;
mod channel;
mod client;
mod connection;
mod handle;
#[cfg(feature = "server")]
pub mod hardening;
mod incoming;
mod listen;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
#[allow(
    unreachable_pub,
    dead_code,
    reason = "the names are public with the feature, and told to nobody without it"
)]
mod metrics;
mod port;
#[cfg(feature = "pty")]
pub mod process;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "sftp")]
mod subsystem;
#[cfg(feature = "test-util")]
pub mod test_util;
mod transport;

pub use behaviour::{
    Behaviour, ChannelContext, ChannelHandle, ChannelRef, ClientChannel, ClientSide, Credit, Next, Role,
    ServerChannel, ServerSide,
};
pub use channel::{BareChannel, ChannelEvent};
pub use client::{Client, ClientConfig, Connecting};
#[cfg(feature = "server")]
pub use config::Rate;
pub use connect_error::ConnectError;
pub use error::BoxError;
pub use fan_out::FanOut;
pub use handle::ConnectionRef;
pub use incoming::{ForwardedStreamlocal, ForwardedTcpip, RemoteListener};
pub use managed::{ManagedRef, ManagedSpec};
pub use pool::{Pool, PoolConfig};
pub use port::event::ChannelMsg;
#[cfg(feature = "server")]
pub use server::{
    Daemon, DaemonConfig, DaemonCounters, DaemonError, DaemonInfo, DaemonRef, DirectStreamlocal, DirectTcpip,
    ExecOutput, GatewayPorts, LoginAttempt, LoginDecision, NewSession, Permissions, Route, Router,
    ServeError, SessionEnd, SessionId, SessionInfo, SessionKind, SessionLimits, SessionRequest,
    StreamlocalForward, TcpipForward, login,
};
#[cfg(feature = "sftp")]
pub use subsystem::{Sftp, SftpCounters};
pub use supervised::{ChannelSpec, Escalation, Incarnation, SupervisedRef};
pub use target::Target;
pub use wire::id::ChannelKey;

pub use bytes;
pub use ractor;

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
