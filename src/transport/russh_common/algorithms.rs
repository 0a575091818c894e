//! Which algorithms are offered, on both sides: ours by default, or by name. Host keys are the role's own affair.

use std::borrow::Cow;
use std::str::FromStr;

use russh::keys::ssh_key::Algorithm;
use russh::{Preferred, cipher, kex, mac};

use crate::error::ConfigError;

/// Algorithms allowed, most preferred first. An empty list means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AlgorithmLists {
    pub(crate) kex: Vec<String>,
    pub(crate) ciphers: Vec<String>,
    pub(crate) macs: Vec<String>,
    pub(crate) host_keys: Vec<String>,
}

/// Which of the lists.
#[cfg(feature = "ssh-config")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AlgorithmKind {
    Kex,
    Cipher,
    Mac,
    HostKey,
}

/// Names on the wire.
#[cfg(feature = "ssh-config")]
#[derive(Debug)]
pub(crate) struct KnownAlgorithms {
    /// What a client offers by default, most preferred first.
    pub(crate) default: Vec<String>,
    /// What it can be told to offer.
    pub(crate) all: Vec<String>,
}

/// What there is, without what gives no protection at all and without the markers of extensions.
#[cfg(feature = "ssh-config")]
pub(crate) fn known_algorithms(kind: AlgorithmKind) -> KnownAlgorithms {
    fn names<'a, N: AsRef<str> + 'a>(list: impl IntoIterator<Item = &'a N>) -> Vec<String> {
        let no_algorithm = |name: &str| {
            matches!(name, "none" | "clear")
                || name.starts_with("ext-info-")
                || name.starts_with("kex-strict-")
        };
        list.into_iter().map(|name| name.as_ref().to_owned()).filter(|name| !no_algorithm(name)).collect()
    }
    let default = Preferred::DEFAULT;
    match kind {
        AlgorithmKind::Kex => KnownAlgorithms {
            default: names(default.kex.iter()),
            all: names(kex::ALL_KEX_ALGORITHMS.iter().copied()),
        },
        AlgorithmKind::Cipher => KnownAlgorithms {
            default: names(default_ciphers().iter()),
            all: names(cipher::ALL_CIPHERS.iter().copied()),
        },
        AlgorithmKind::Mac => KnownAlgorithms {
            default: names(default.mac.iter()),
            all: names(mac::ALL_MAC_ALGORITHMS.iter().copied()),
        },
        AlgorithmKind::HostKey => {
            let all = crate::host_key::host_key_names();
            KnownAlgorithms { default: all.clone(), all }
        }
    }
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
    /// Whether all names are known.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.preferred()?;
        self.allowed_host_keys().map(drop)
    }

    /// The host key algorithms that were named.
    pub(in crate::transport) fn allowed_host_keys(&self) -> Result<Vec<Algorithm>, ConfigError> {
        let known = "ssh-ed25519, ecdsa-sha2-nistp256, -nistp384, -nistp521, rsa-sha2-512, rsa-sha2-256";
        self.host_keys
            .iter()
            .map(|name| Algorithm::from_str(name).map_err(|_| unknown(name, "host_key_algorithms", known)))
            .collect()
    }

    /// All but the host keys.
    pub(in crate::transport) fn preferred(&self) -> Result<Preferred, ConfigError> {
        let default = Preferred::DEFAULT;
        let kex = names::<kex::Name>(&self.kex, "kex_algorithms", kex::ALL_KEX_ALGORITHMS)?;
        let ciphers = names::<cipher::Name>(&self.ciphers, "ciphers", cipher::ALL_CIPHERS)?;
        let macs = names::<mac::Name>(&self.macs, "macs", mac::ALL_MAC_ALGORITHMS)?;
        Ok(Preferred {
            kex: if kex.is_empty() { default.kex } else { with_kex_extensions(kex) },
            cipher: Cow::Owned(if ciphers.is_empty() { default_ciphers() } else { ciphers }),
            mac: if macs.is_empty() { default.mac } else { Cow::Owned(macs) },
            // The outbound credit relies on ciphertext being longer than its payload.
            compression: Cow::Owned(vec![russh::compression::NONE]),
            ..default
        })
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

fn names<N>(list: &[String], field: &str, all: &[&N]) -> Result<Vec<N>, ConfigError>
where
    N: for<'a> TryFrom<&'a str> + AsRef<str>,
{
    let known = || all.iter().map(|name| (*name).as_ref()).collect::<Vec<_>>().join(", ");
    list.iter().map(|name| N::try_from(name.as_str()).map_err(|_| unknown(name, field, &known()))).collect()
}

fn unknown(name: &str, field: &str, known: &str) -> ConfigError {
    ConfigError::new(field, format!("`{name}` is not known"), format!("remove it, or give one of {known}"))
}
