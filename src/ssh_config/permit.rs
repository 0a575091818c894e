//! Where SOCKS clients on the server may go: the values of `PermitRemoteOpen`.

use super::units;

/// One value of `PermitRemoteOpen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open<'a> {
    Any,
    None,
    /// `None` is `*`.
    At {
        host: Option<&'a str>,
        port: Option<u16>,
    },
}

impl<'a> Open<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.eq_ignore_ascii_case("any") {
            return Some(Self::Any);
        }
        if text.eq_ignore_ascii_case("none") {
            return Some(Self::None);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(inner) => inner.split_once("]:")?,
            None => text.split_once(':')?,
        };
        let port = if port == "*" { None } else { Some(units::port(port)?) };
        Some(Self::At { host: Some(host).filter(|host| *host != "*"), port })
    }

    /// Whether it is for this destination.
    pub(super) fn is_for(self, host: &str, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::None => false,
            Self::At { host: named, port: at } => {
                named.is_none_or(|named| named == host) && at.is_none_or(|at| at == port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permitted_destinations_are_the_same_to_the_letter_or_a_star() {
        for (place, host, port, yes) in [
            ("any", "h", 1, true),
            ("none", "h", 1, false),
            ("h:1", "h", 1, true),
            ("h:1", "h", 2, false),
            ("h:1", "H", 1, false),
            ("h:1", "h.", 1, false),
            ("h:*", "h", 65535, true),
            ("h:*", "i", 1, false),
            ("*:1", "::1", 1, true),
            ("*:1", "h", 2, false),
            ("*:*", "h", 2, true),
            ("[::1]:3", "::1", 3, true),
            ("[::1]:3", "0:0:0:0:0:0:0:1", 3, false),
            ("*.example:1", "a.example", 1, false),
            ("ANY", "h", 1, true),
        ] {
            assert_eq!(Open::parse(place).unwrap().is_for(host, port), yes, "{place} {host} {port}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        for place in ["h", "", "h:", "h:0", "h:65536", "[::1", "[::1]", "[::1]x:1", "h:x"] {
            assert_eq!(Open::parse(place), None, "{place}");
        }
    }
}
