//! `ProxyJump`: the hosts on the way.

use std::fmt;

/// One host on the way: `[user@]host[:port]` or an `ssh://` URI.
///
/// OpenSSH reads its configuration for each of them again: so look each one up with
/// [`SshConfig::resolve`](super::SshConfig::resolve), as [`asked`](Self::asked) says.
///
/// ```
/// use ractor_ssh::ssh_config::JumpHost;
///
/// let jump: JumpHost = "ops@[2001:db8::1]:2222".parse().unwrap();
/// assert_eq!((jump.user.as_deref(), &*jump.host, jump.port), (Some("ops"), "2001:db8::1", Some(2222)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct JumpHost {
    /// Whom to log in as, if it is said.
    pub user: Option<String>,
    /// Name or address, without brackets.
    pub host: String,
    /// The port, if it is said.
    pub port: Option<u16>,
}

impl JumpHost {
    /// Reads one; the error says what is wrong.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("`{text}` {what}"));
        let (uri, rest) = match text.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("ssh://")) {
            Some(scheme) => {
                let rest = text.strip_prefix(scheme).unwrap_or(text);
                (true, rest.strip_suffix('/').unwrap_or(rest))
            }
            None => (false, text),
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let user = match user {
            Some(user) if uri => match decode(user.split(';').next().unwrap_or(user)) {
                Some(user) => Some(user),
                None => return wrong("has a `%` that is not followed by two hex digits"),
            },
            user => user.map(str::to_owned),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(inner) => match inner.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, after)) => match after.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None => return wrong("has something else than a port behind the bracket"),
                },
                None => return wrong("has an open bracket"),
            },
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if user.as_deref() == Some("") {
            return wrong("has an empty user name");
        }
        if host.is_empty() {
            return wrong("has no host name (write an IPv6 address in brackets)");
        }
        if !super::asked::is_plain_host(host) || host.contains('/') {
            return wrong("has a host name that cannot be one");
        }
        let port = match port {
            None => None,
            Some(port) => match super::units::port(port) {
                Some(port) => Some(port),
                None => return wrong("has no port behind the colon (write an IPv6 address in brackets)"),
            },
        };
        Ok(Self { user, host: host.to_owned(), port })
    }

    /// How this host is looked up: its name, with the user and the port that are said.
    #[must_use]
    pub fn asked(&self) -> super::Asked {
        let mut asked = super::Asked::host(&self.host);
        if let Some(user) = &self.user {
            asked = asked.user(user);
        }
        if let Some(port) = self.port {
            asked = asked.port(port);
        }
        asked
    }
}

impl std::str::FromStr for JumpHost {
    type Err = crate::error::ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
            .map_err(|problem| crate::error::ConfigError::new("jump", problem, "write [user@]host[:port]"))
    }
}

/// Reads `a,b,c`, in the order they are passed; `none` is no host.
pub(super) fn parse_list(text: &str) -> Result<Vec<JumpHost>, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    text.split(',').map(JumpHost::parse).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit =
                || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digit()? * 16 + digit()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for JumpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_read_in_the_order_they_are_passed() {
        let jumps = parse_list("a@b:22,[::1]:33,ssh://q%40r@c:44/,d").unwrap();
        let shown: Vec<_> = jumps.iter().map(JumpHost::to_string).collect();
        assert_eq!(shown, ["a@b:22", "[::1]:33", "q@r@c:44", "d"]);
        assert_eq!(parse_list("None").unwrap(), []);
    }

    #[test]
    fn a_jump_that_cannot_be_one_says_what_is_wrong() {
        for text in [
            "",
            "a,,b",
            "@h",
            "h:",
            "h:0",
            "h:x",
            "::1",
            "[::1",
            "[::1]22",
            "-oProxyCommand=x",
            "a b",
            "ssh://%zz@h",
        ] {
            assert!(parse_list(text).is_err(), "{text}");
        }
    }
}
