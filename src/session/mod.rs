//! Ready-made channels: commands, shells, subsystems and streams, built on the public API only.
//!
//! | wanted | call | gives |
//! |---|---|---|
//! | run and collect | `conn.command("ls").arg("-l").output()` | [`Output`] |
//! | run and wait | `conn.exec("make > log 2>&1").status()` | [`ExitStatus`](crate::wire::request::ExitStatus) |
//! | talk while it runs | `conn.exec("tail -f log").spawn()` | [`Child`] with [`ChildStdin`], [`ChildStdout`], [`ChildStderr`] |
//! | a terminal | `conn.shell().spawn()` | [`Child`] |
//! | a protocol | `conn.subsystem("sftp").stream()` | [`ChannelStream`], [framed](ChannelStream::framed) by any codec |
//! | every event | `conn.events(..)` | [`ChannelEvents`] |
//!
//! Each is one channel with one actor, no further task; a reader given as stdin and a deadline on something that was
//! spawned have one task each. What must live longer, hold state or be supervised is better a
//! [`ClientChannel`](crate::ClientChannel) of your own.
//!
//! A command is over when its *channel* is closed, not when its status or eof comes: output that arrived before is never
//! lost, in whatever order the server sent output, eof, status and close.

mod child;
mod command;
mod error;
mod events;
mod lane;
mod lend;
mod outlet;
mod output;
mod pipe;
mod process;
mod quote;
mod records;
mod relay;
mod run;
#[cfg(feature = "server")]
mod served;
mod shared;
mod stdio;
mod stream;

pub use child::{Child, OnCancel};
pub use command::{Command, EnvPolicy};
pub use error::CommandError;
pub use events::ChannelEvents;
pub use outlet::ChildStdin;
pub use output::Output;
pub use pipe::{ChildStderr, ChildStdout};
pub use records::{RecordCodec, RecordLength};
pub(crate) use relay::{Parted, Passed, SIBLINGS_WAIT, Socket};
#[cfg(feature = "server")]
pub(crate) use served::Served;
#[cfg(feature = "server")]
pub use served::{ServerReader, ServerStderr, ServerStream, ServerWriter};
pub use stdio::{Stdin, Stdio};
pub use stream::{ChannelStream, StreamReader, StreamWriter, stream_fn};
