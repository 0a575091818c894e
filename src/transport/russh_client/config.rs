//! russh's configuration, from ours. What russh would do by itself and we do better is turned off here: its
//! keepalive, its inactivity timeout, its own limits for key re-exchange.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::Algorithm;
use russh::{Preferred, SshId, cipher, client, kex, mac};

use crate::config::Limits;
use crate::error::ConfigError;
use crate::host_key::HostKeyAlgorithms;

/// Algorithms allowed, most preferred first. An empty list means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AlgorithmLists {
    pub(crate) kex: Vec<String>,
    pub(crate) ciphers: Vec<String>,
    pub(crate) macs: Vec<String>,
    pub(crate) host_keys: Vec<String>,
}

/// Ciphers by default: those that authenticate, AES first. aws-lc runs AES-GCM eight times as fast as ChaCha20 on a
/// processor with AES instructions; on one without, ChaCha20 comes first.
fn default_ciphers() -> Vec<cipher::Name> {
    let gcm = [cipher::AES_256_GCM, cipher::AES_128_GCM];
    let chacha = [cipher::CHACHA20_POLY1305];
    let ctr = [cipher::AES_256_CTR, cipher::AES_192_CTR, cipher::AES_128_CTR];
    if has_aes() {
        gcm.into_iter().chain(chacha).chain(ctr).collect()
    } else {
        chacha.into_iter().chain(gcm).chain(ctr).collect()
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

impl AlgorithmLists {
    fn preferred(&self, known: &HostKeyAlgorithms) -> Result<Preferred, ConfigError> {
        let default = Preferred::DEFAULT;
        let kex = names::<kex::Name>(&self.kex, "kex algorithms")?;
        let ciphers = names::<cipher::Name>(&self.ciphers, "ciphers")?;
        let macs = names::<mac::Name>(&self.macs, "MACs")?;
        Ok(Preferred {
            kex: if kex.is_empty() { default.kex } else { with_kex_extensions(kex) },
            key: Cow::Owned(self.host_keys(&known.keys)?),
            host_key_certificates: Cow::Owned(known.certificates.clone()),
            cipher: Cow::Owned(if ciphers.is_empty() { default_ciphers() } else { ciphers }),
            mac: if macs.is_empty() { default.mac } else { Cow::Owned(macs) },
            compression: Cow::Owned(vec![russh::compression::NONE]),
        })
    }

    /// The allowed host key algorithms in the order known_hosts wants.
    fn host_keys(&self, known: &[Algorithm]) -> Result<Vec<Algorithm>, ConfigError> {
        let allowed: Vec<Algorithm> = self
            .host_keys
            .iter()
            .map(|name| Algorithm::from_str(name).map_err(|_| unknown(name, "host key algorithms")))
            .collect::<Result<_, _>>()?;
        if allowed.is_empty() {
            return Ok(known.to_vec());
        }
        let mut order: Vec<Algorithm> = known.iter().filter(|a| allowed.contains(a)).cloned().collect();
        order.extend(allowed.into_iter().filter(|a| !known.contains(a)));
        Ok(order)
    }
}

/// The extension markers russh expects in its list of key exchanges (RFC 8308, and strict key exchange).
fn with_kex_extensions(mut kex: Vec<kex::Name>) -> Cow<'static, [kex::Name]> {
    kex.extend([
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ]);
    Cow::Owned(kex)
}

fn names<N: for<'a> TryFrom<&'a str>>(list: &[String], field: &str) -> Result<Vec<N>, ConfigError> {
    list.iter().map(|name| N::try_from(name.as_str()).map_err(|_| unknown(name, field))).collect()
}

fn unknown(name: &str, field: &str) -> ConfigError {
    ConfigError::new(field, format!("`{name}` is not known"), "remove it, or give a name russh supports")
}

pub(super) fn russh_config(
    limits: &Limits,
    lists: &AlgorithmLists,
    known: &HostKeyAlgorithms,
    client_id: &str,
) -> Result<Arc<client::Config>, ConfigError> {
    Ok(Arc::new(client::Config {
        client_id: SshId::Standard(Cow::Owned(format!("SSH-2.0-{client_id}"))),
        limits: russh::Limits {
            rekey_write_limit: usize::MAX,
            rekey_read_limit: usize::MAX,
            rekey_time_limit: Duration::from_secs(u64::from(u32::MAX)),
        },
        window_size: limits.window,
        maximum_packet_size: limits.max_packet,
        preferred: lists.preferred(known)?,
        inactivity_timeout: None,
        keepalive_interval: None,
        keepalive_max: 0,
        nodelay: true,
        ..client::Config::default()
    }))
}
