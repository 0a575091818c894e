//! russh's configuration, from ours. What russh would do by itself and we do better is turned off here: its
//! keepalive, its inactivity timeout, its own limits for key re-exchange.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::Algorithm;
use russh::{Preferred, SshId, client};

use crate::config::Limits;
use crate::error::ConfigError;
use crate::host_key::HostKeyAlgorithms;
use crate::transport::russh_common::algorithms::AlgorithmLists;

/// The allowed host key algorithms in the order known_hosts wants.
fn host_keys(lists: &AlgorithmLists, known: &[Algorithm]) -> Result<Vec<Algorithm>, ConfigError> {
    let allowed = lists.allowed_host_keys()?;
    if allowed.is_empty() {
        return Ok(known.to_vec());
    }
    let mut order: Vec<Algorithm> = known.iter().filter(|a| allowed.contains(a)).cloned().collect();
    order.extend(allowed.into_iter().filter(|a| !known.contains(a)));
    Ok(order)
}

pub(super) fn russh_config(
    limits: &Limits,
    lists: &AlgorithmLists,
    known: &HostKeyAlgorithms,
    client_id: &str,
) -> Result<Arc<client::Config>, ConfigError> {
    let preferred = Preferred {
        key: Cow::Owned(host_keys(lists, &known.keys)?),
        host_key_certificates: Cow::Owned(known.certificates.clone()),
        ..lists.preferred()?
    };
    Ok(Arc::new(client::Config {
        client_id: SshId::Standard(Cow::Owned(format!("SSH-2.0-{client_id}"))),
        limits: russh::Limits {
            rekey_write_limit: usize::MAX,
            rekey_read_limit: usize::MAX,
            rekey_time_limit: Duration::from_secs(u64::from(u32::MAX)),
        },
        window_size: limits.window,
        maximum_packet_size: limits.max_packet,
        preferred,
        inactivity_timeout: None,
        keepalive_interval: None,
        keepalive_max: 0,
        nodelay: true,
        ..client::Config::default()
    }))
}
