//! russh's types and ours, both ways.

use std::sync::Arc;

use russh::{ChannelOpenFailure, Disconnect, Names, Pty, Sig};

use super::handler::Fault;
use crate::connect_error::ConnectError;
use crate::error::{ConnectionError, Phase};
use crate::observe::Algorithms;
use crate::transport::pump::WriteStalled;
use crate::wire::codes::{DisconnectCode, OpenFailureReason};
use crate::wire::pty::TerminalModes;
use crate::wire::signal::Signal;

pub(super) fn algorithms(names: &Names) -> Algorithms {
    let cipher = names.cipher.as_ref().to_owned();
    let aead = cipher.contains("gcm") || cipher.contains("poly1305");
    let mac = |name: &russh::mac::Name| if aead { String::new() } else { name.as_ref().to_owned() };
    Algorithms {
        kex: names.kex.as_ref().to_owned(),
        host_key: names.key.to_string(),
        mac_client_to_server: mac(&names.client_mac),
        mac_server_to_client: mac(&names.server_mac),
        cipher,
        strict_kex: names.strict_kex(),
    }
}

pub(super) fn open_failure(reason: &ChannelOpenFailure) -> OpenFailureReason {
    OpenFailureReason::from_code(reason.code())
}

pub(super) fn signal(signal: &Sig) -> Signal {
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
pub(super) fn sig(signal: &Signal) -> Sig {
    Sig::Custom(signal.name().to_owned())
}

/// Terminal modes as russh can encode them; the opcode it cannot.
pub(super) fn modes(modes: &TerminalModes) -> Result<Vec<(Pty, u32)>, u8> {
    modes
        .iter()
        .map(|(mode, value)| Pty::from_u8(mode.opcode()).map(|pty| (pty, value)).ok_or(mode.opcode()))
        .collect()
}

/// Why a session ended, in our words.
pub(super) fn connection_error(fault: &Fault) -> ConnectionError {
    let Fault::Russh(error) = fault else {
        return ConnectionError::Protocol(fault.to_string().into());
    };
    match error {
        russh::Error::IO(io) => match WriteStalled::in_error(io) {
            Some(stalled) => ConnectionError::WriteStalled { after: stalled.after },
            None => ConnectionError::Lost(io.to_string().into()),
        },
        russh::Error::Disconnect | russh::Error::HUP => {
            ConnectionError::Lost(Arc::from("the peer closed the byte stream"))
        }
        other => ConnectionError::Protocol(other.to_string().into()),
    }
}

/// Why a handshake failed, in our words.
pub(super) fn connect_error(phase: Phase, error: russh::Error) -> ConnectError {
    match error {
        russh::Error::NoCommonAlgo { kind, ours, theirs } => {
            ConnectError::NoCommonAlgorithm { kind: format!("{kind:?}").to_lowercase(), ours, theirs }
        }
        error => ConnectError::Handshake { phase, source: Box::new(error) },
    }
}

pub(super) const fn disconnect(code: DisconnectCode) -> Disconnect {
    match code {
        DisconnectCode::PROTOCOL_ERROR => Disconnect::ProtocolError,
        DisconnectCode::CONNECTION_LOST => Disconnect::ConnectionLost,
        DisconnectCode::TOO_MANY_CONNECTIONS => Disconnect::TooManyConnections,
        _ => Disconnect::ByApplication,
    }
}
