//! russh's types and ours, both ways, as far as both roles need them.

use std::borrow::Cow;
use std::sync::Arc;

use russh::{ChannelOpenFailure, Disconnect, Pty, Sig};

use crate::error::ConnectionError;
use crate::transport::pump::WriteStalled;
use crate::wire::codes::{DisconnectCode, OpenFailureReason};
use crate::wire::pty::TerminalModes;
use crate::wire::signal::Signal;

pub(in crate::transport) fn signal(signal: &Sig) -> Signal {
    let name = match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    };
    Signal::from_name(name)
}

/// russh writes a signal's name as it stands.
pub(in crate::transport) fn sig(signal: &Signal) -> Sig {
    Sig::Custom(signal.name().to_owned())
}

/// Terminal modes as russh can encode them; the opcode it cannot.
pub(in crate::transport) fn modes(modes: &TerminalModes) -> Result<Vec<(Pty, u32)>, u8> {
    modes
        .iter()
        .map(|(mode, value)| Pty::from_u8(mode.opcode()).map(|pty| (pty, value)).ok_or(mode.opcode()))
        .collect()
}

/// Why a session ended, in our words.
pub(in crate::transport) fn connection_error(error: &russh::Error) -> ConnectionError {
    match error {
        russh::Error::IO(io) => match WriteStalled::in_error(io) {
            Some(stalled) => ConnectionError::WriteStalled { after: stalled.after },
            None => ConnectionError::Lost(io.to_string().into()),
        },
        russh::Error::Disconnect | russh::Error::HUP => {
            ConnectionError::Lost(Arc::from("the peer closed the byte stream"))
        }
        other => ConnectionError::Protocol(brief(&other.to_string()).into()),
    }
}

/// A text that a peer has a hand in is kept and logged up to this length, in bytes.
const LONGEST_TEXT: usize = 512;

/// A text that fits into a log, whatever the peer has put into it.
pub(in crate::transport) fn brief(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_TEXT {
        return Cow::Borrowed(text);
    }
    let start = (0..=LONGEST_TEXT).rev().find_map(|end| text.get(..end));
    Cow::Owned(format!("{} ...", start.unwrap_or_default()))
}

pub(in crate::transport) const fn disconnect(code: DisconnectCode) -> Disconnect {
    match code {
        DisconnectCode::PROTOCOL_ERROR => Disconnect::ProtocolError,
        DisconnectCode::CONNECTION_LOST => Disconnect::ConnectionLost,
        DisconnectCode::TOO_MANY_CONNECTIONS => Disconnect::TooManyConnections,
        _ => Disconnect::ByApplication,
    }
}

/// What a peer is told whose channel is refused.
pub(in crate::transport) const fn open_failure(reason: OpenFailureReason) -> ChannelOpenFailure {
    match reason {
        OpenFailureReason::ConnectFailed => ChannelOpenFailure::ConnectFailed,
        OpenFailureReason::UnknownChannelType => ChannelOpenFailure::UnknownChannelType,
        OpenFailureReason::ResourceShortage => ChannelOpenFailure::ResourceShortage,
        _ => ChannelOpenFailure::AdministrativelyProhibited,
    }
}
