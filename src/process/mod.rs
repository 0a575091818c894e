//! Real processes on a daemon's channels: commands and login shells, run as the daemon's own user, on a terminal of
//! their own when the peer asked for one, on pipes otherwise.
//!
//! Nothing runs unless it is asked for, by [`Router::processes`](crate::Router::processes):
//!
//! ```
//! use ractor_ssh::process::Processes;
//! use ractor_ssh::{DaemonConfig, Router};
//!
//! let config = DaemonConfig::new(([127, 0, 0, 1], 0))
//!     .router(Router::new().processes(Processes::new()));
//! ```
//!
//! # What runs
//!
//! A command is run by the user's shell, `$SHELL -c COMMAND`; a shell is a login shell, its name begins with `-`. Each
//! is the leader of a session and of a process group of its own. Its environment starts empty; see [`ProcessPlan`].
//!
//! With a terminal (`pty-req`, RFC 4254 section 6.2) the process has it as its controlling terminal, with the modes, the
//! speeds and the size the peer gave; later sizes (`window-change`) are set, and the kernel tells the process. Without
//! one it has three pipes.
//!
//! # How bytes pass
//!
//! Both ways without loss, and with back-pressure. A process that takes nothing of what waits for it holds up its
//! connection when that is more than the connection's budget (64 MiB), and its channel is ended with `Stalled` after the
//! [stall timeout](crate::config::Limits::stall_timeout): raise that where commands may leave their input alone. Output is read only while the channel's outbound queue has room, so a
//! peer that does not read stops the process at its next write. Input holds the channel's credit until the process has
//! taken it.
//!
//! The peer's eof closes the pipe of the process's input. A terminal has no such end: once the process has read all
//! that was typed, the end-of-file character (Ctrl-D, as the modes have it) is typed, which ends the input of a program
//! that reads lines, and a shell.
//!
//! # How it ends
//!
//! **The process ends by itself.** All its output is sent, then its exit status or the signal that ended it, then eof and
//! close. What it left in the background is not touched, as long as it runs: as with OpenSSH, unless
//! [`Processes::end_background`] is set. Such a process may hold the pipes open: its output is still waited for, in
//! total for [`Processes::linger`]; on a terminal only what is there already counts.
//!
//! **The channel ends first**: the peer closes it, the connection is lost or stopped, the daemon stops. The process
//! group, and the group in the terminal's foreground, get SIGHUP (and SIGCONT, to those that are stopped), their terminal
//! or pipes are closed, and after [`Processes::kill_grace`] those that are left get SIGKILL. With the runtime, all of
//! them end at once.
//!
//! **The peer sends a signal** (`signal`, RFC 4254 section 6.9): the process group gets it. Names outside the RFC are
//! passed over. A signal that the daemon itself ignores (as after `nohup`, or `&` in a script) is ignored by what it
//! starts as well; a daemon that handles it does not hand that on.

mod account;
mod channel;
mod environment;
mod group;
mod input;
mod keeper;
mod launch;
mod modes;
mod output;
mod plan;
mod processes;
mod signals;
mod terminal;

pub use channel::ProcessChannel;
pub use plan::{ProcessPlan, Refusal};
pub use processes::Processes;
