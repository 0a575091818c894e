//! Host names as known_hosts writes them: patterns, negations, `[host]:port`, hashes.
//!
//! Owns matching one name against one line's host field. Knows nothing of keys or files.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::error::ConfigError;

/// The port that known_hosts does not write.
const DEFAULT_PORT: u16 = 22;
/// What a hashed name starts with; the number is the hash's, HMAC-SHA1.
const HASH_MAGIC: &str = "|1|";
/// Bytes of salt, and of HMAC-SHA1.
const HASH_LEN: usize = 20;
/// OpenSSH never matches a longer pattern, nor can a longer name be resolved.
const MAX_NAME: usize = 1022;

/// A host as it is looked up: checked, in lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    bare: String,
    port: u16,
}

impl Host {
    /// Checks and folds a host name or address.
    pub(super) fn new(host: &str, port: u16) -> Result<Self, ConfigError> {
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let problem = if inner.is_empty() {
            Some("is empty".to_owned())
        } else if inner.len() > MAX_NAME {
            Some(format!("has {} bytes", inner.len()))
        } else {
            inner.chars().find(|c| is_forbidden(*c)).map(|c| format!("contains {c:?}"))
        };
        if let Some(problem) = problem {
            return Err(ConfigError::new("host", problem, "give a host name or an IP address"));
        }
        if port == 0 {
            return Err(ConfigError::new("port", "is 0", "give the server's TCP port, usually 22"));
        }
        Ok(Self { bare: inner.to_ascii_lowercase(), port })
    }

    /// Without port: what certificates name.
    pub(super) fn bare(&self) -> &str {
        &self.bare
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// What known_hosts lines are matched with: `host`, or `[host]:port` if the port is not 22.
    pub(super) fn name(&self) -> String {
        if self.port == DEFAULT_PORT { self.bare.clone() } else { format!("[{}]:{}", self.bare, self.port) }
    }

    /// What is looked up when [`Host::name`] is not known.
    pub(super) fn fallback(&self) -> Option<&str> {
        (self.port != DEFAULT_PORT).then_some(self.bare.as_str())
    }
}

/// Characters that mean something in known_hosts, and are in no host name.
fn is_forbidden(c: char) -> bool {
    c.is_whitespace() || c.is_control() || ",*?!|@#[]/".contains(c)
}

/// The host field of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostNames {
    Patterns(Vec<Pattern>),
    Hashed { salt: [u8; HASH_LEN], hash: [u8; HASH_LEN] },
}

/// One of the comma-separated patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    negated: bool,
    /// In lower case.
    text: String,
}

impl HostNames {
    /// Reads a host field; the error says what is wrong with it.
    pub(super) fn parse(field: &str) -> Result<Self, &'static str> {
        if field.starts_with('|') { Self::parse_hashed(field) } else { Self::parse_patterns(field) }
    }

    fn parse_hashed(field: &str) -> Result<Self, &'static str> {
        let (salt, hash) = field
            .strip_prefix(HASH_MAGIC)
            .and_then(|rest| rest.split_once('|'))
            .ok_or("a hashed host name is written |1|salt|hash")?;
        let decode = |text: &str| {
            let bytes = STANDARD.decode(text).ok()?;
            <[u8; HASH_LEN]>::try_from(bytes).ok()
        };
        match (decode(salt), decode(hash)) {
            (Some(salt), Some(hash)) => Ok(Self::Hashed { salt, hash }),
            (None, _) => Err("the salt of the hashed host name is not base64 of 20 bytes"),
            (_, None) => Err("the hash of the hashed host name is not base64 of 20 bytes"),
        }
    }

    fn parse_patterns(field: &str) -> Result<Self, &'static str> {
        let mut patterns = Vec::new();
        for item in field.split(',').filter(|item| !item.is_empty()) {
            let (negated, text) = match item.strip_prefix('!') {
                Some(text) => (true, text),
                None => (false, item),
            };
            if text.len() > MAX_NAME {
                return Err("a host name has more than 1022 bytes");
            }
            patterns.push(Pattern { negated, text: text.to_ascii_lowercase() });
        }
        if patterns.is_empty() { Err("there is no host name") } else { Ok(Self::Patterns(patterns)) }
    }

    /// Hashes a name with a new salt.
    pub(super) fn hash(name: &str) -> Option<Self> {
        let salt: [u8; HASH_LEN] = rand::random();
        let hash = hmac(&salt, &name.to_ascii_lowercase())?.finalize().into_bytes().into();
        Some(Self::Hashed { salt, hash })
    }

    /// A single plain name.
    pub(super) fn plain(name: &str) -> Self {
        Self::Patterns(vec![Pattern { negated: false, text: name.to_ascii_lowercase() }])
    }

    pub(super) const fn is_hashed(&self) -> bool {
        matches!(self, Self::Hashed { .. })
    }

    /// Whether a name, as [`Host::name`] writes it, is meant. One negated match rules the name out.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match self {
            Self::Hashed { salt, hash } => {
                hmac(salt, &name).is_some_and(|mac| mac.verify_slice(hash).is_ok())
            }
            Self::Patterns(patterns) => {
                let mut hits = patterns.iter().filter(|pattern| glob(&pattern.text, &name)).peekable();
                hits.peek().is_some() && hits.all(|pattern| !pattern.negated)
            }
        }
    }
}

impl fmt::Display for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashed { salt, hash } => {
                write!(f, "{HASH_MAGIC}{}|{}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            Self::Patterns(patterns) => {
                for (i, pattern) in patterns.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    let not = if pattern.negated { "!" } else { "" };
                    write!(f, "{comma}{not}{}", pattern.text)?;
                }
                Ok(())
            }
        }
    }
}

fn hmac(salt: &[u8], name: &str) -> Option<Hmac<Sha1>> {
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac)
}

/// Matches `*` (any bytes) and `?` (one byte), in time proportional to the product of the lengths.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on if the bytes after the last `*` do not match here.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                pattern = rest;
                retry = Some((rest, text));
            }
            (None, None) => return true,
            (Some((p, p_rest)), Some((t, t_rest))) if *p == b'?' || p == t => {
                (pattern, text) = (p_rest, t_rest);
            }
            _ => {
                let Some((after_star, from)) = retry else { return false };
                let Some((_, from)) = from.split_first() else { return false };
                (pattern, text) = (after_star, from);
                retry = Some((after_star, from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_matches_stars_and_question_marks() {
        let table = [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("?", "a", true),
            ("a*b", "ab", true),
            ("a*b", "axxb", true),
            ("a*b", "axxbc", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("**a**", "xxaxx", true),
            ("h?st", "host", true),
            ("*?x", "x", false),
            ("*ab", "aab", true),
        ];
        for (pattern, text, matches) in table {
            assert_eq!(glob(pattern, text), matches, "{pattern} against {text}");
        }
    }

    #[test]
    fn glob_of_many_stars_ends_soon() {
        let pattern = "a*".repeat(300);
        assert!(!glob(&format!("{pattern}b"), &"a".repeat(1000)));
    }

    #[test]
    fn a_name_with_the_default_port_has_no_brackets() {
        assert_eq!(Host::new("Example.COM", 22).unwrap().name(), "example.com");
        assert_eq!(Host::new("Example.COM", 2222).unwrap().name(), "[example.com]:2222");
        assert_eq!(Host::new("::1", 2222).unwrap().name(), "[::1]:2222");
        assert_eq!(Host::new("[::1]", 22).unwrap().name(), "::1");
        assert_eq!(Host::new("h", 22).unwrap().fallback(), None);
        assert_eq!(Host::new("h", 23).unwrap().fallback(), Some("h"));
    }

    #[test]
    fn a_host_that_would_be_read_as_something_else_is_refused() {
        for host in ["", "*", "a b", "a\nb", "a,b", "!a", "|1|a", "@revoked", "#a", "[a", "a/b", "a\0"] {
            let error = Host::new(host, 22).unwrap_err();
            assert_eq!(error.field, "host", "{host:?}");
        }
        assert_eq!(Host::new("a", 0).unwrap_err().field, "port");
    }

    #[test]
    fn host_fields_match_as_documented() {
        let table = [
            ("a", "a", true),
            ("A", "a", true),
            ("a,b", "b", true),
            ("a,,b", "b", true),
            ("!a", "a", false),
            ("!a", "b", false),
            ("*,!a", "a", false),
            ("!a,*", "a", false),
            ("*,!a", "b", true),
            ("[h]:23", "[h]:23", true),
            ("[h]:23", "h", false),
            ("[h]:22", "h", false),
            ("[*.x]:23", "[a.x]:23", true),
            ("*", "[a.x]:23", true),
        ];
        for (field, name, matches) in table {
            assert_eq!(HostNames::parse(field).unwrap().matches(name), matches, "{field} against {name}");
        }
    }

    #[test]
    fn a_hashed_name_matches_only_itself_whatever_its_case() {
        let hashed = HostNames::hash("Example.com").unwrap();
        let read = HostNames::parse(&hashed.to_string()).unwrap();
        assert_eq!(read, hashed);
        assert!(read.matches("example.com") && read.matches("EXAMPLE.com"));
        assert!(!read.matches("example.org"));
        assert_ne!(HostNames::hash("a"), HostNames::hash("a"), "salts differ");
    }

    #[test]
    fn a_broken_host_field_says_what_is_wrong() {
        for field in [",", "|2|a|b", "|1|", "|1|a", "|1|YQ==|YQ==", "|1||", &"a".repeat(1023)] {
            assert!(HostNames::parse(field).is_err(), "{field}");
        }
    }
}
