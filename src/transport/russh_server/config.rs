//! russh's configuration for a server, from ours. Its keepalive and inactivity timeout are off: the connection actor
//! and the login grace do that. Key re-exchange is its own affair: it lets nobody ask for one.

use std::sync::Arc;
use std::time::Duration;

use russh::server::Config;
use russh::{MethodKind, MethodSet, SshId};

use crate::auth::AuthMethod;
use crate::config::{Limits, RekeyLimit};
use crate::error::ConfigError;
use crate::transport::russh_common::AlgorithmLists;
use crate::wire::keys::{Certificate, PrivateKey};

/// Logins that are refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusals {
    /// So many end a connection; a first probe by the method `none` is not one.
    pub(crate) most: usize,
    /// No refusal is sent sooner after its request; the first `none` is answered at once.
    pub(crate) time: Duration,
}

/// A daemon's configuration in russh's form, for all its connections.
#[derive(Clone)]
pub(crate) struct ServerSetup {
    pub(super) config: Arc<Config>,
}

impl ServerSetup {
    /// A certificate goes with the host key it names.
    pub(crate) fn new(
        host_keys: &[PrivateKey],
        host_certificates: &[Certificate],
        server_id: &str,
        methods: &[AuthMethod],
        refusals: Refusals,
        limits: &Limits,
        rekey: RekeyLimit,
    ) -> Result<Self, ConfigError> {
        let bytes = usize::try_from(rekey.bytes).unwrap_or(usize::MAX);
        let config = Config {
            server_id: SshId::Standard(format!("SSH-2.0-{server_id}").into()),
            methods: method_set(methods),
            // Only the gate knows which delay is due. This one is for what russh refuses without asking it; it counts
            // from the request, so what the gate has delayed already takes no longer.
            auth_rejection_time: refusals.time,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: host_keys.to_vec(),
            certificates: host_certificates.to_vec(),
            limits: russh::Limits {
                rekey_write_limit: bytes,
                rekey_read_limit: bytes,
                rekey_time_limit: rekey.time,
            },
            window_size: limits.window,
            maximum_packet_size: limits.max_packet,
            preferred: AlgorithmLists::default().preferred()?,
            max_auth_attempts: refusals.most.saturating_add(1),
            inactivity_timeout: None,
            keepalive_interval: None,
            keepalive_max: 0,
            nodelay: true,
            ..Config::default()
        };
        Ok(Self { config: Arc::new(config) })
    }
}

/// The methods named to the peer as those that can continue (RFC 4252 section 5.1). `none` never is one.
pub(super) fn method_set(methods: &[AuthMethod]) -> MethodSet {
    let mut set = MethodSet::empty();
    for method in methods {
        match method {
            AuthMethod::PublicKey => set.push(MethodKind::PublicKey),
            AuthMethod::KeyboardInteractive => set.push(MethodKind::KeyboardInteractive),
            AuthMethod::Password => set.push(MethodKind::Password),
            _ => {}
        }
    }
    set
}
