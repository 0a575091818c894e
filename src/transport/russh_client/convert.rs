//! What only a client's session has: its handshake, its algorithms, refused opens.

use russh::{ChannelOpenFailure, Names};

use super::handler::Fault;
use crate::connect_error::ConnectError;
use crate::error::{ConnectionError, Phase};
use crate::observe::Algorithms;
use crate::transport::russh_common::convert;
use crate::wire::codes::OpenFailureReason;

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

/// Why a session ended, in our words.
pub(super) fn connection_error(fault: &Fault) -> ConnectionError {
    match fault {
        Fault::Russh(error) => convert::connection_error(error),
        Fault::HostKey(_) => ConnectionError::Protocol(fault.to_string().into()),
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
