//! A proxy on the way: what it is, and how it is spoken to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::dialer::ByteStream;
use super::error::{DialError, ProxyError};
use super::{http, socks};
use crate::error::ConfigError;

const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Socks4,
    Socks4a,
    Socks5,
    Http,
}

impl Kind {
    const fn scheme(self, resolve_here: bool) -> &'static str {
        match self {
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 if resolve_here => "socks5",
            Self::Socks5 => "socks5h",
            Self::Http => "http",
        }
    }
}

/// A proxy that is asked to connect to the next stop: SOCKS4, SOCKS4a, SOCKS5 (RFC 1928, RFC 1929), or HTTP CONNECT
/// (RFC 9110 section 9.3.6) with Basic login (RFC 7617).
///
/// What it is asked to connect to is the next proxy of the [`Via`](super::Via), or the target. Its address can be a name:
/// it is looked up by us. The target's name is looked up by the proxy, except with SOCKS4, which knows addresses only, and
/// [`resolve_here`](Self::resolve_here).
///
/// `Debug` and `Display` show no login. Two are equal if everything is, the login included.
///
/// ```
/// use ractor_ssh::dial::{Proxy, Via};
///
/// let proxy = Proxy::socks5("proxy.example.org", 1080).login("ci", "secret".into());
/// assert_eq!(proxy.to_string(), "socks5h://proxy.example.org:1080");
/// let via = Via::default().proxy(proxy);
/// assert!(via.check().is_ok());
/// ```
#[derive(Clone)]
pub struct Proxy {
    pub(super) kind: Kind,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) resolve_here: bool,
    deadline: Duration,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.scheme(self.resolve_here), authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &format_args!("{self}"))
            .field("login", &self.user.is_some())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        let secret = |proxy: &Self| proxy.password.as_ref().map(|secret| secret.expose_secret().to_owned());
        (self.kind, &self.host, self.port, &self.user, &self.headers, self.resolve_here, self.deadline)
            == (
                other.kind,
                &other.host,
                other.port,
                &other.user,
                &other.headers,
                other.resolve_here,
                other.deadline,
            )
            && secret(self) == secret(other)
    }
}

impl Eq for Proxy {}

impl Proxy {
    fn new(kind: Kind, host: impl Into<String>, port: u16) -> Self {
        Self {
            kind,
            host: host.into(),
            port,
            user: None,
            password: None,
            headers: Vec::new(),
            resolve_here: false,
            deadline: DEADLINE,
        }
    }

    /// A SOCKS4 proxy, usually on port 1080. We look names up, and only IPv4 addresses can be reached.
    #[must_use]
    pub fn socks4(host: impl Into<String>, port: u16) -> Self {
        Self { resolve_here: true, ..Self::new(Kind::Socks4, host, port) }
    }

    /// A SOCKS4a proxy, usually on port 1080: it looks names up itself.
    #[must_use]
    pub fn socks4a(host: impl Into<String>, port: u16) -> Self {
        Self::new(Kind::Socks4a, host, port)
    }

    /// A SOCKS5 proxy (RFC 1928), usually on port 1080. It looks names up itself.
    #[must_use]
    pub fn socks5(host: impl Into<String>, port: u16) -> Self {
        Self::new(Kind::Socks5, host, port)
    }

    /// An HTTP proxy that knows CONNECT, usually on port 3128, 8080 or 80. We speak to it without TLS.
    #[must_use]
    pub fn http(host: impl Into<String>, port: u16) -> Self {
        Self::new(Kind::Http, host, port)
    }

    /// Logs in: SOCKS5 by RFC 1929, HTTP with Basic (RFC 7617), unasked. Both show the password to everybody on the
    /// way to the proxy. SOCKS4 has no password: use [`user`](Self::user).
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: SecretString) -> Self {
        self.user = Some(user.into());
        self.password = Some(password);
        self
    }

    /// The user id of SOCKS4 and 4a, which have no password. Others want a [`login`](Self::login).
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Adds a header to the CONNECT request: `Proxy-Authorization` of another scheme, `User-Agent`. HTTP only.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Has us look the target's name up instead of the SOCKS5 proxy, and give it an address.
    #[must_use]
    pub const fn resolve_here(mut self) -> Self {
        self.resolve_here = true;
        self
    }

    /// Gives up if it has not connected us so long after we reached it. Default 20 s. Within
    /// [`Timeouts::dial`](crate::config::Timeouts::dial), which is for the whole way, reaching the proxy included.
    #[must_use]
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// Looks at every value; connecting does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field: &str, problem: &str, fix: &str| Err(ConfigError::new(field, problem, fix));
        if !is_host(&self.host) {
            return wrong(
                "proxy.host",
                "is no host name or address",
                "give a name or an address, without port",
            );
        }
        if self.port == 0 {
            return wrong("proxy.port", "is 0", "give the port the proxy listens on");
        }
        if self.deadline.is_zero() {
            return wrong("proxy.deadline", "is 0", "give a time, Duration::MAX for no limit");
        }
        let user = self.user.as_deref().unwrap_or_default();
        let password = self.password.as_ref().map(|secret| secret.expose_secret());
        match self.kind {
            Kind::Socks4 | Kind::Socks4a => {
                if password.is_some() {
                    return wrong("proxy.login", "SOCKS4 has no password", "use `user`, or SOCKS5");
                }
                if user.len() > 200 || user.contains('\0') {
                    return wrong("proxy.user", "is over 200 bytes or has a NUL", "give a shorter one");
                }
            }
            Kind::Socks5 => {
                if self.user.is_some() != password.is_some() {
                    return wrong("proxy.user", "has no password with it", "use `login`");
                }
                let fits = |text: &str| (1..=255).contains(&text.len());
                if let Some(password) = password
                    && !(fits(user) && fits(password))
                {
                    return wrong(
                        "proxy.login",
                        "user or password is empty or over 255 bytes (RFC 1929)",
                        "give 1 to 255 bytes",
                    );
                }
            }
            Kind::Http => {
                if self.user.is_some() != password.is_some() {
                    return wrong("proxy.user", "has no password with it", "use `login`");
                }
                if user.contains(':') || user.chars().any(char::is_control) {
                    return wrong(
                        "proxy.login",
                        "the user has a colon or a control character",
                        "RFC 7617 forbids it",
                    );
                }
                http::check_headers(&self.headers)?;
            }
        }
        if self.kind != Kind::Http && !self.headers.is_empty() {
            return wrong("proxy.header", "is set, and SOCKS has no headers", "leave it out");
        }
        if self.resolve_here && self.kind != Kind::Socks4 && self.kind != Kind::Socks5 {
            return wrong("proxy.resolve_here", "is for SOCKS5 only", "leave it out");
        }
        Ok(())
    }

    /// Has it connect to `host` and `port`, over a stream to it.
    pub(super) async fn connect(
        &self,
        io: Box<dyn ByteStream>,
        host: &str,
        port: u16,
    ) -> Result<Box<dyn ByteStream>, DialError> {
        let asking = async {
            match self.kind {
                Kind::Http => http::connect(self, io, host, port).await,
                _ => socks::connect(self, io, host, port).await,
            }
        };
        tokio::time::timeout(self.deadline, asking)
            .await
            .unwrap_or(Err(ProxyError::TimedOut { after: self.deadline }))
            .map_err(|source| DialError::proxy(self, source))
    }
}

/// Host and port as one text; IPv6 addresses, with a zone or without, in brackets (RFC 3986 section 3.2.2).
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether it can be a host name or an address in a request of ours: nothing that ends a line, a word or a string.
pub(super) fn is_host(text: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name = !text.is_empty() && text.len() <= 255 && text.chars().all(letter) && !text.starts_with('-');
    let scoped = text.split_once('%').is_some_and(|(address, zone)| {
        address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(letter)
    });
    name || scoped || text.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_line_or_a_word_is_no_host() {
        for host in ["a.b", "a_b-c", "::1", "fe80::1%eth0", "192.0.2.1", "bücher.example"] {
            assert!(is_host(host), "{host}");
        }
        for host in
            ["", "a b", "a\r\nX: y", "a\0b", "-oProxyCommand=x", "$(id)", "a;b", "[::1]", "a:22", "::1%a;b"]
        {
            assert!(!is_host(host), "{host:?}");
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        let secret = || SecretString::from("x");
        let wrong = [
            ("host", Proxy::http("a b", 80)),
            ("port", Proxy::http("a", 0)),
            ("deadline", Proxy::http("a", 80).deadline(Duration::ZERO)),
            ("login", Proxy::socks4("a", 1080).login("me", secret())),
            ("user", Proxy::socks4a("a", 1080).user("x".repeat(201))),
            ("user", Proxy::socks5("a", 1080).user("me")),
            ("login", Proxy::socks5("a", 1080).login("", secret())),
            ("login", Proxy::socks5("a", 1080).login("me", SecretString::from("x".repeat(256)))),
            ("login", Proxy::http("a", 80).login("a:b", secret())),
            ("header", Proxy::http("a", 80).header("X Y", "z")),
            ("header", Proxy::http("a", 80).header("X", "z\r\nHost: other")),
            ("header", Proxy::socks5("a", 80).header("X", "z")),
            ("resolve_here", Proxy::http("a", 80).resolve_here()),
        ];
        for (field, proxy) in wrong {
            let error = proxy.check().unwrap_err();
            assert!(error.field.contains(field), "{field}: {error}");
        }
    }

    #[test]
    fn addresses_of_ipv6_stand_in_brackets() {
        assert_eq!(Proxy::http("fe80::1%eth0", 3128).to_string(), "http://[fe80::1%eth0]:3128");
        assert_eq!(authority("::1", 22), "[::1]:22");
        assert_eq!(authority("192.0.2.1", 22), "192.0.2.1:22");
    }

    #[test]
    fn equal_means_equal_in_everything_and_debug_shows_no_login() {
        let proxy = || Proxy::socks5("a", 1080).login("me", "hidden".into());
        assert_eq!(proxy(), proxy());
        assert_ne!(proxy(), Proxy::socks5("a", 1080).login("me", "other".into()));
        assert_ne!(proxy(), proxy().resolve_here());
        assert!(!format!("{:?} {}", proxy(), proxy()).contains("hidden"));
    }
}
