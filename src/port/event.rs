//! What a behaviour is told about its channel.

use bytes::Bytes;

use crate::error::CloseReason;
use crate::wire::codes::DataType;
use crate::wire::pty::{PtyRequest, WindowSize};
use crate::wire::request::{ExitSignal, X11Request};
use crate::wire::signal::Signal;

/// One SSH event of one channel, as `handle_ssh_msg` receives it.
///
/// Events arrive in wire order. [`Closed`](Self::Closed) arrives exactly once and last.
/// The requests (`Pty` to `WindowChange`, RFC 4254 section 6) reach server behaviours;
/// `want_reply` says whether the peer waits for an answer by `reply_request`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ChannelMsg {
    /// Data arrived (SSH_MSG_CHANNEL_DATA or _EXTENDED_DATA, RFC 4254 section 5.2). One event a packet.
    Data {
        /// The stream it belongs to.
        data_type: DataType,
        /// The bytes.
        data: Bytes,
    },
    /// The peer sends no more data (SSH_MSG_CHANNEL_EOF, RFC 4254 section 5.3). Ours may still go.
    Eof,
    /// `pty-req` (RFC 4254 section 6.2).
    Pty {
        /// Whether the peer waits for an answer.
        want_reply: bool,
        /// The terminal asked for.
        request: PtyRequest,
    },
    /// `env` (RFC 4254 section 6.4).
    Env {
        /// Whether the peer waits for an answer.
        want_reply: bool,
        /// Name of the variable.
        name: String,
        /// Its value.
        value: String,
    },
    /// `shell` (RFC 4254 section 6.5).
    Shell {
        /// Whether the peer waits for an answer.
        want_reply: bool,
    },
    /// `exec` (RFC 4254 section 6.5).
    Exec {
        /// Whether the peer waits for an answer.
        want_reply: bool,
        /// The command line: bytes, not necessarily text.
        command: Bytes,
    },
    /// `subsystem` (RFC 4254 section 6.5).
    Subsystem {
        /// Whether the peer waits for an answer.
        want_reply: bool,
        /// Name of the subsystem.
        name: String,
    },
    /// `window-change` (RFC 4254 section 6.7). Never answered.
    WindowChange {
        /// The new size.
        size: WindowSize,
    },
    /// `signal` (RFC 4254 section 6.9). Never answered.
    Signal {
        /// Which one.
        signal: Signal,
    },
    /// `exit-status` (RFC 4254 section 6.10).
    ExitStatus {
        /// What the command returned.
        status: u32,
    },
    /// `exit-signal` (RFC 4254 section 6.10): the command was ended by a signal.
    ExitSignal(ExitSignal),
    /// `break` (RFC 4335). russh 0.65.1 never delivers it.
    Break {
        /// Whether the peer waits for an answer.
        want_reply: bool,
        /// How long the break lasts, in milliseconds.
        length_ms: u32,
    },
    /// `xon-xoff` (RFC 4254 section 6.8).
    XonXoff {
        /// Whether the client may do flow control itself.
        client_can_do: bool,
    },
    /// `auth-agent-req@openssh.com`: the peer wants to forward its agent. russh 0.65.1 takes no answer but one at once, so
    /// the embedded daemon answers it before a behaviour could: with no.
    AuthAgent {
        /// Whether the peer waits for an answer.
        want_reply: bool,
    },
    /// `x11-req` (RFC 4254 section 6.3.1): the peer wants to forward its display. A behaviour that says yes has to reach that
    /// display by other means.
    X11 {
        /// Whether the peer waits for an answer.
        want_reply: bool,
        /// What is asked for.
        request: X11Request,
    },
    /// `eow@openssh.com`: the peer will read no more of what we send. russh 0.65.1 never delivers it.
    Eow,
    /// A request this crate has no name for. russh 0.65.1 never delivers one.
    Unknown {
        /// Whether the peer waits for an answer.
        want_reply: bool,
        /// Its name on the wire.
        name: String,
        /// Its payload, undecoded.
        payload: Bytes,
    },
    /// There is room in the outbound queue again; asked for with `notify_when_ready`.
    ReadyToSend,
    /// The channel is over. Always the last event.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

impl ChannelMsg {
    /// How many payload bytes the event holds; what its credit is worth.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Data { data, .. } => data.len(),
            Self::Unknown { payload, .. } => payload.len(),
            Self::Exec { command, .. } => command.len(),
            Self::Env { name, value, .. } => name.len() + value.len(),
            Self::Subsystem { name, .. } => name.len(),
            Self::Pty { request, .. } => request.term.len(),
            Self::X11 { request, .. } => request.text_len(),
            _ => 0,
        }
    }

    /// Whether this is channel data, which flow control may hold back.
    #[must_use]
    pub const fn is_data(&self) -> bool {
        matches!(self, Self::Data { .. })
    }
}
