//! Lists of addresses, as `from=` of a key's line and `source-address` of a certificate write them.
//!
//! Owns matching an address against a list. Nothing is looked up in the DNS.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::host_key::glob;

/// How an IPv4 address inside an IPv6 one begins.
const MAPPED: &str = "::ffff:";
/// How many bits of a network come before the IPv4 address in it.
const MAPPED_BITS: u8 = 96;

/// The patterns of `from=`: addresses, networks, wildcards, each of them negated with `!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    negated: bool,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Network(IpNet),
    /// In lower case.
    Glob(String),
}

impl Patterns {
    /// Reads a list with commas; the error says what is wrong with it.
    pub(super) fn parse(list: &str) -> Result<Self, String> {
        let pattern = |item: &str| {
            let (negated, text) = match item.strip_prefix('!') {
                Some(text) => (true, text),
                None => (false, item),
            };
            if text.is_empty() {
                return Err("has an empty entry".to_owned());
            }
            let what = match network(text)? {
                Some(network) => What::Network(network),
                None if text.contains('/') => return Err(format!("has `{text}`, which is no network")),
                None if negated && !is_wildcard(text) => {
                    return Err(format!("has `{item}`, which is no address: it would rule nobody out"));
                }
                None => {
                    let text = text.to_ascii_lowercase();
                    let v4 = text.strip_prefix(MAPPED).filter(|rest| rest.contains('.'));
                    What::Glob(v4.unwrap_or(&text).to_owned())
                }
            };
            Ok(Pattern { negated, what })
        };
        list.split(',').map(pattern).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is meant. One negated match rules it out, whatever else matches.
    pub(super) fn matches(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let text = ip.to_string();
        let mut hits = self.0.iter().filter(|pattern| pattern.what.matches(ip, &text)).peekable();
        hits.peek().is_some() && hits.all(|pattern| !pattern.negated)
    }
}

impl What {
    fn matches(&self, ip: IpAddr, text: &str) -> bool {
        match self {
            Self::Network(network) => network.contains(&ip),
            Self::Glob(pattern) => glob(pattern, text),
        }
    }
}

/// The networks of `source-address`: no wildcards, no negation.
pub(super) fn in_networks(list: &str, ip: IpAddr) -> Result<bool, String> {
    let ip = ip.to_canonical();
    let mut hit = false;
    for item in list.split(',') {
        let network = network(item)?.ok_or_else(|| format!("has `{item}`, which is no address"))?;
        hit |= network.contains(&ip);
    }
    Ok(hit)
}

/// Whether this can match an address, and is none itself.
fn is_wildcard(text: &str) -> bool {
    text.contains(['*', '?']) && text.chars().all(|c| c.is_ascii_hexdigit() || ".:*?".contains(c))
}

/// An IPv4 network inside an IPv6 one is taken out, as with addresses.
fn canonical_network(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_BITS));
    v4.and_then(|(addr, bits)| Ipv4Net::new(addr, bits).ok()).map_or(network, IpNet::V4)
}

/// An address or a network; nothing if it is neither. A network whose address has bits beyond its length is an error:
/// OpenSSH refuses it too, for it is not clear what is meant.
fn network(text: &str) -> Result<Option<IpNet>, String> {
    let Some((address, _)) = text.split_once('/') else {
        return Ok(text.parse::<IpAddr>().ok().map(IpNet::from).map(canonical_network));
    };
    if address.parse::<IpAddr>().is_err() {
        return Ok(None);
    }
    let network: IpNet = text.parse().map_err(|_| format!("has `{text}`, which is no network"))?;
    if network.addr() != network.network() {
        return Err(format!("has `{text}`, which is no network; `{}` would be", network.trunc()));
    }
    Ok(Some(canonical_network(network)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_addresses_networks_and_wildcards_and_a_negation_rules_out() {
        let table = [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.0/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.*", "10.0.0.77", true),
            ("10.0.?.1", "10.0.10.1", false),
            ("*", "10.0.0.1", true),
            ("!10.0.0.1", "10.0.0.2", false),
            ("!10.0.0.1,*", "10.0.0.1", false),
            ("*,!10.0.0.1", "10.0.0.1", false),
            ("*,!10.0.0.1", "10.0.0.2", true),
            ("*,!10.0.0.0/24", "10.0.0.9", false),
            ("example.com", "10.0.0.1", false),
            ("2001:db8::/32", "2001:db8::7", true),
            ("2001:DB8::*", "2001:db8::7", true),
            ("2001:db8::/32", "2001:db9::7", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("*,!::ffff:10.0.0.5", "10.0.0.5", false),
            ("*,!::ffff:10.0.0.5", "10.0.0.6", true),
            ("*,!::ffff:10.0.0.0/104", "10.9.9.9", false),
            ("*,!::FFFF:10.0.0.*", "10.0.0.5", false),
            ("*,!10.0.0.*", "10.0.0.5", false),
            ("*,!2001:DB8:*", "2001:db8::7", false),
            ("evil.example.com,10.0.0.1", "10.0.0.1", true),
        ];
        for (list, ip, matches) in table {
            let ip = ip.parse().unwrap();
            assert_eq!(Patterns::parse(list).unwrap().matches(ip), matches, "{list} against {ip}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_meant_is_an_error() {
        for list in [
            "",
            "a,,b",
            "!",
            "a,",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::/129",
            "10.0.0/24",
            "*,!10.0.0/24",
            "*,!evil.example.com",
            "*,!*.example.com",
            "*,!10.0.0",
            "a/8",
        ] {
            assert!(Patterns::parse(list).is_err(), "{list}");
        }
    }

    #[test]
    fn source_addresses_are_networks_only() {
        let ip = "10.0.0.1".parse().unwrap();
        assert_eq!(in_networks("192.168.0.0/16,10.0.0.0/8", ip), Ok(true));
        assert_eq!(in_networks("10.0.0.2", ip), Ok(false));
        assert_eq!(in_networks("10.0.0.1", "::ffff:10.0.0.1".parse().unwrap()), Ok(true));
        assert_eq!(in_networks("::ffff:10.0.0.0/104", ip), Ok(true));
        for list in ["10.0.0.*", "!10.0.0.1", "", "10.0.0.1,", "10.0.0.1/8", "localhost"] {
            assert!(in_networks(list, ip).is_err(), "{list}");
        }
    }
}
