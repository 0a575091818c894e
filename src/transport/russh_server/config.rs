//! russh's configuration for a server, from ours. Its keepalive and inactivity timeout are off: the connection actor
//! and the login grace do that. Key re-exchange is its own affair: it lets nobody ask for one.

use std::sync::Arc;
use std::time::Duration;

use russh::server::Config;
use russh::{MethodKind, MethodSet, SshId};

use crate::config::{Limits, RekeyLimit};
use crate::error::ConfigError;
use crate::transport::door::LoginMethods;
use crate::transport::russh_common::AlgorithmLists;
use crate::wire::keys::PrivateKey;

/// A daemon's configuration in russh's form, for all its connections.
#[derive(Clone)]
pub(crate) struct ServerSetup {
    pub(super) config: Arc<Config>,
    pub(super) methods: LoginMethods,
    pub(super) max_failures: usize,
}

impl ServerSetup {
    /// `max_failures` refused logins end a connection; a first probe by the method `none` is not one.
    pub(crate) fn new(
        host_keys: &[PrivateKey],
        server_id: &str,
        methods: LoginMethods,
        max_failures: usize,
        limits: &Limits,
        rekey: RekeyLimit,
    ) -> Result<Self, ConfigError> {
        let bytes = usize::try_from(rekey.bytes).unwrap_or(usize::MAX);
        let config = Config {
            server_id: SshId::Standard(format!("SSH-2.0-{server_id}").into()),
            methods: method_set(methods),
            // Delays are the handler's affair: a refused key costs no time, a refused password does.
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: None,
            keys: host_keys.to_vec(),
            limits: russh::Limits {
                rekey_write_limit: bytes,
                rekey_read_limit: bytes,
                rekey_time_limit: rekey.time,
            },
            window_size: limits.window,
            maximum_packet_size: limits.max_packet,
            preferred: AlgorithmLists::default().preferred()?,
            max_auth_attempts: max_failures.saturating_add(1),
            inactivity_timeout: None,
            keepalive_interval: None,
            keepalive_max: 0,
            nodelay: true,
            ..Config::default()
        };
        Ok(Self { config: Arc::new(config), methods, max_failures })
    }
}

/// The methods named to the peer as those that can continue (RFC 4252 section 5.1).
pub(super) fn method_set(methods: LoginMethods) -> MethodSet {
    let mut set = MethodSet::empty();
    if methods.public_key {
        set.push(MethodKind::PublicKey);
    }
    if methods.password {
        set.push(MethodKind::Password);
    }
    set
}
