//! The proxy that the environment names: `ALL_PROXY` and `NO_PROXY`, as curl reads them.

use std::net::IpAddr;

use ipnet::IpNet;
use secrecy::SecretString;

use super::proxy::Proxy;
use crate::error::ConfigError;

const SCHEMES: &str = "give `http://`, `socks4://`, `socks4a://`, `socks5://` or `socks5h://`, host and port";

impl Proxy {
    /// The proxy that `ALL_PROXY` names, unless `NO_PROXY` exempts `host` and `port`; the lower-case names come first.
    /// Nothing is read from the environment unless this is called.
    ///
    /// `ALL_PROXY` is `[scheme://][user:password@]host[:port]`, with `%41` for letters that mean something else;
    /// schemes are those of [`from_url`](Self::from_url). `NO_PROXY` is a list with commas or spaces: `*`; names, which
    /// exempt what is below them as well; addresses; networks as `10.0.0.0/8`; each, if not a network, with `:port` or
    /// without. The zone of an IPv6 address does not count.
    ///
    /// # Errors
    /// `ALL_PROXY` is no such URL. It is not repeated, as it may have a password in it. Either is no UTF-8: then it is not
    /// known whether the way leads through a proxy.
    pub fn from_env(host: &str, port: u16) -> Result<Option<Self>, ConfigError> {
        let read = |name: &str| {
            let lower = name.to_ascii_lowercase();
            let mut found = [lower.as_str(), name].into_iter().filter_map(std::env::var_os);
            let Some(text) = found.find(|text| !text.is_empty()) else { return Ok(None) };
            text.into_string().map(Some).map_err(|_| ConfigError::new(name, "is not UTF-8", SCHEMES))
        };
        Self::from_variables(read("ALL_PROXY")?.as_deref(), read("NO_PROXY")?.as_deref(), host, port)
    }

    fn from_variables(
        all: Option<&str>,
        no: Option<&str>,
        host: &str,
        port: u16,
    ) -> Result<Option<Self>, ConfigError> {
        match all.map(str::trim).filter(|text| !text.is_empty()) {
            Some(url) if !no.is_some_and(|list| is_exempt(list, host, port)) => Self::from_url(url)
                .map(Some)
                .map_err(|error| ConfigError { field: "ALL_PROXY".to_owned(), ..error }),
            _ => Ok(None),
        }
    }

    /// A proxy by its URL, as curl has them: `http`, also without a scheme (port 80 if none is given), `socks4`,
    /// `socks4a`, `socks5` (we look names up) and `socks5h` (the proxy does); their port is 1080 if none is given.
    ///
    /// ```
    /// use ractor_ssh::dial::Proxy;
    ///
    /// let proxy = Proxy::from_url("socks5h://ci:se%40cret@proxy.example.org")?;
    /// assert_eq!(proxy, Proxy::socks5("proxy.example.org", 1080).login("ci", "se@cret".into()));
    /// # Ok::<(), ractor_ssh::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// It is no such URL. It is not repeated, as it may have a password in it.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let wrong = |problem: &str| ConfigError::new("proxy.url", problem, SCHEMES);
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let (host, port) = split_port(address).ok_or_else(|| wrong("has no host, or a wrong port"))?;
        let decoded = |text: &str| percent_decoded(text).ok_or_else(|| wrong("has a broken `%`"));
        // The zone of an IPv6 address comes behind `%25` (RFC 6874).
        let host = decoded(host)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = port.unwrap_or(if scheme == "http" { 80 } else { 1080 });
        let mut proxy = match scheme.as_str() {
            "http" => Self::http(host, port),
            "socks4" => Self::socks4(host, port),
            "socks4a" => Self::socks4a(host, port),
            "socks5" => Self::socks5(host, port).resolve_here(),
            "socks5h" => Self::socks5(host, port),
            "https" => return Err(wrong("asks for TLS to the proxy, which we do not speak")),
            _ => return Err(wrong("has a scheme we do not know")),
        };
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            let user = decoded(user)?;
            proxy = match password {
                Some(password) => proxy.login(user, SecretString::from(decoded(password)?)),
                None => proxy.user(user),
            };
        }
        proxy.check()?;
        Ok(proxy)
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, or an IPv6 address as it is.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if unzoned(text).parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(str::parse).transpose().ok()?;
    (!host.is_empty()).then_some((host, port))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            u8::try_from(value).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

/// An address without its zone.
fn unzoned(host: &str) -> &str {
    host.split_once('%').map_or(host, |(address, _)| address)
}

fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = unzoned(&host).parse().ok();
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let (Ok(network), Some(address)) = (entry.parse::<IpNet>(), address) {
            return network.contains(&address);
        }
        let Some((name, only_port)) = split_port(entry) else { return false };
        if only_port.is_some_and(|only| only != port) {
            return false;
        }
        if let (Ok(exempt), Some(address)) = (unzoned(name).parse::<IpAddr>(), address) {
            return exempt == address;
        }
        let name = name.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
        let below = host.strip_suffix(&name).is_some_and(|front| front.is_empty() || front.ends_with('.'));
        !name.is_empty() && address.is_none() && below
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_curl_reads_them() {
        let cases = [
            ("proxy.example.org", Proxy::http("proxy.example.org", 80)),
            ("proxy:3128", Proxy::http("proxy", 3128)),
            ("HTTP://[::1]:3128/", Proxy::http("::1", 3128)),
            ("socks4://p", Proxy::socks4("p", 1080)),
            ("socks4a://me@p:1", Proxy::socks4a("p", 1).user("me")),
            ("socks5://p", Proxy::socks5("p", 1080).resolve_here()),
            ("http://[fe80::1%25eth0]:3128", Proxy::http("fe80::1%eth0", 3128)),
            ("socks5h://a%3Ab:c@d@p", Proxy::socks5("p", 1080).login("a:b", "c@d".into())),
        ];
        for (url, proxy) in cases {
            assert_eq!(Proxy::from_url(url).unwrap(), proxy, "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_refused_and_not_repeated() {
        for url in
            ["https://me:hidden@p", "socks://me:hidden@p", "me:hidden@", "http://me:hidden@p:x", "me:%zz@p"]
        {
            let error = Proxy::from_variables(Some(url), None, "t", 22).unwrap_err();
            assert!(error.field == "ALL_PROXY" && !error.to_string().contains("hidden"), "{url}: {error}");
        }
    }

    #[test]
    fn no_proxy_exempts_names_addresses_and_networks() {
        let list = "one.example.org, .two.example.org *.three.example.org,10.0.0.0/8,192.0.2.1:22,[2001:db8::1]:22,\
                    port.example.org:2222,fe80::/10,2001:db8::2,fd00::1%eth0";
        let cases = [
            ("one.example.org", 22, true),
            ("ONE.example.org.", 22, true),
            ("a.one.example.org", 22, true),
            ("notone.example.org", 22, false),
            ("a.two.example.org", 22, true),
            ("two.example.org", 22, true),
            ("a.three.example.org", 22, true),
            ("10.1.2.3", 22, true),
            ("11.1.2.3", 22, false),
            ("192.0.2.1", 22, true),
            ("192.0.2.1", 23, false),
            ("2001:db8::1", 22, true),
            ("port.example.org", 22, false),
            ("port.example.org", 2222, true),
            ("example.org", 22, false),
            ("fe80::7%eth0", 22, true),
            ("2001:db8::2%1", 22, true),
            ("2001:db8::3%1", 22, false),
            ("fd00::1", 22, true),
        ];
        for (host, port, exempt) in cases {
            assert_eq!(is_exempt(list, host, port), exempt, "{host}:{port}");
        }
        assert!(is_exempt("*", "anything", 1));
        assert!(!is_exempt("", "anything", 1));
        assert!(!is_exempt(", ,.", "anything", 1));
    }

    #[test]
    fn without_a_proxy_or_when_exempt_there_is_none() {
        assert_eq!(Proxy::from_variables(None, None, "t", 22), Ok(None));
        assert_eq!(Proxy::from_variables(Some(" "), None, "t", 22), Ok(None));
        assert_eq!(Proxy::from_variables(Some("p:1"), Some("t"), "t", 22), Ok(None));
        assert_eq!(Proxy::from_variables(Some("p:1"), Some("u"), "t", 22), Ok(Some(Proxy::http("p", 1))));
    }
}
