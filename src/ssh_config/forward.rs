//! What is forwarded: `LocalForward`, `RemoteForward`, `DynamicForward`.
//!
//! Owns reading and writing the specifications, and what they are for [`forward`](crate::forward).

use std::fmt;

use super::options::HostOptions;
use crate::error::ConfigError;
use crate::forward;

/// Where a forward listens, or leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// Address or name. To listen at, `None` is what `GatewayPorts` says, by default loopback; `*` and an empty
        /// name are every address.
        host: Option<String>,
        /// The port; 0, in remote forwards only, lets the server choose.
        port: u16,
    },
    /// A Unix socket.
    Unix(String),
}

/// One forward.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Forward {
    /// Whether the server listens; otherwise we do.
    pub remote: bool,
    /// Where connections are taken.
    pub listen: Endpoint,
    /// Where they lead; `None` is wherever the SOCKS client asks for.
    pub connect: Option<Endpoint>,
}

impl Endpoint {
    /// Whether a port is to be chosen.
    #[must_use]
    pub const fn is_port_0(&self) -> bool {
        matches!(self, Self::Tcp { port: 0, .. })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, "{port}"),
            Self::Tcp { host: Some(host), port } => write!(f, "[{host}]:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.connect, self.remote) {
            (Some(connect), _) => write!(f, "{} {connect}", self.listen),
            (None, true) => write!(f, "{} [socks]:0", self.listen),
            (None, false) => self.listen.fmt(f),
        }
    }
}

/// A part of a specification between colons.
struct Field {
    text: String,
    is_path: bool,
}

/// What a specification must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    Target,
    NoTarget,
    Either,
}

impl Forward {
    /// Reads the argument of `ssh -L`: `[address:]port:host:port`, with paths of Unix sockets in place of either end.
    ///
    /// # Errors
    /// What is wrong with it, and the way out.
    pub fn local(spec: &str) -> Result<Self, ConfigError> {
        Self::read(false, spec, Wants::Target).map_err(|problem| {
            ConfigError::new("local forward", problem, "write [address:]port:host:port, IPv6 in brackets")
        })
    }

    /// Reads the argument of `ssh -R`: as `-L`, or `[address:]port` alone, for SOCKS.
    ///
    /// # Errors
    /// What is wrong with it, and the way out.
    pub fn remote(spec: &str) -> Result<Self, ConfigError> {
        Self::read(true, spec, Wants::Either).map_err(|problem| {
            ConfigError::new("remote forward", problem, "write [address:]port[:host:port], IPv6 in brackets")
        })
    }

    /// Reads the argument of `ssh -D`: `[address:]port`.
    ///
    /// # Errors
    /// What is wrong with it, and the way out.
    pub fn dynamic(spec: &str) -> Result<Self, ConfigError> {
        Self::read(false, spec, Wants::NoTarget).map_err(|problem| {
            ConfigError::new("dynamic forward", problem, "write [address:]port, IPv6 in brackets")
        })
    }

    /// What it is without the options of a host. An end that listens and names no address is on loopback, or on every
    /// address if `gateway_ports` says so, which is for local ones only.
    fn bare(&self, gateway_ports: bool) -> forward::Forward {
        let here = if gateway_ports { "*" } else { "localhost" };
        let listen = match (&self.listen, self.remote) {
            (Endpoint::Unix(path), _) => forward::Endpoint::unix(path),
            (Endpoint::Tcp { host: None, port }, true) => forward::Endpoint::tcp("localhost", *port),
            // What servers take for every address (RFC 4254 section 7.1).
            (Endpoint::Tcp { host: Some(host), port }, true) if host == "*" => {
                forward::Endpoint::tcp("", *port)
            }
            (Endpoint::Tcp { host: None, port }, false) => forward::Endpoint::tcp(here, *port),
            (Endpoint::Tcp { host: Some(host), port }, false) if host.is_empty() => {
                forward::Endpoint::tcp("*", *port)
            }
            (Endpoint::Tcp { host: Some(host), port }, _) => forward::Endpoint::tcp(host, *port),
        };
        let to = self.connect.as_ref().map(|connect| match connect {
            Endpoint::Unix(path) => forward::Endpoint::unix(path),
            Endpoint::Tcp { host, port } => {
                forward::Endpoint::tcp(host.as_deref().unwrap_or("localhost"), *port)
            }
        });
        match (to, self.remote) {
            (Some(to), false) => forward::Forward::local(listen, to),
            (None, false) => forward::Forward::dynamic(listen),
            (Some(to), true) => forward::Forward::remote(listen, to),
            (None, true) => forward::Forward::remote_dynamic(listen),
        }
    }

    /// Reads `[host:]port` and a destination (or none, for SOCKS); the error says what is wrong.
    pub(super) fn parse(remote: bool, listen: &str, connect: Option<&str>) -> Result<Self, String> {
        match connect {
            Some(connect) => Self::read(remote, &format!("{listen}:{connect}"), Wants::Target),
            None => Self::read(remote, listen, Wants::NoTarget),
        }
    }

    fn read(remote: bool, spec: &str, wants: Wants) -> Result<Self, String> {
        let fields =
            fields(spec).ok_or_else(|| format!("`{spec}` has an open bracket or ends in a backslash"))?;
        let host = |field: &Field| field.text.clone();
        let listen_port = |field: &Field| {
            let port = super::units::port_or_zero(&field.text).filter(|port| remote || *port != 0);
            port.ok_or_else(|| format!("`{}` is no port to listen on", field.text))
        };
        let tcp = |name: &Field, port: &Field| {
            let port = super::units::port(&port.text).ok_or_else(|| format!("`{}` is no port", port.text))?;
            if name.text.is_empty() {
                return Err(format!("`{spec}` has no host to connect to"));
            }
            Ok(Endpoint::Tcp { host: Some(host(name)), port })
        };
        let unix = |field: &Field| Endpoint::Unix(field.text.clone());
        let (listen, connect) = match fields.as_slice() {
            [path] if path.is_path => (unix(path), None),
            [port] => (Endpoint::Tcp { host: None, port: listen_port(port)? }, None),
            [from, to] if from.is_path && to.is_path => (unix(from), Some(unix(to))),
            [port, to] if to.is_path => {
                (Endpoint::Tcp { host: None, port: listen_port(port)? }, Some(unix(to)))
            }
            [name, port] => (Endpoint::Tcp { host: Some(host(name)), port: listen_port(port)? }, None),
            [from, name, port] if from.is_path => (unix(from), Some(tcp(name, port)?)),
            [name, port, to] if to.is_path => {
                (Endpoint::Tcp { host: Some(host(name)), port: listen_port(port)? }, Some(unix(to)))
            }
            [port, to, to_port] => {
                (Endpoint::Tcp { host: None, port: listen_port(port)? }, Some(tcp(to, to_port)?))
            }
            [name, port, to, to_port] => {
                (Endpoint::Tcp { host: Some(host(name)), port: listen_port(port)? }, Some(tcp(to, to_port)?))
            }
            _ => return Err(format!("`{spec}` has {} parts", fields.len())),
        };
        match (wants, &connect) {
            (Wants::Target, None) => Err(format!("`{spec}` has no destination")),
            (Wants::NoTarget, Some(_)) => Err(format!("`{spec}` has more than a place to listen at")),
            _ => Ok(Self { remote, listen, connect }),
        }
    }
}

impl HostOptions {
    /// A forward as this host has it, for [`ConnectionRef::forward`](crate::ConnectionRef::forward) and its kin: one of the
    /// host's own, or one of the command line.
    ///
    /// An end that listens and names no address is on loopback, or on every address if `GatewayPorts` says so, which is for
    /// local ones only. SOCKS clients of a remote one go where `PermitRemoteOpen` lets them.
    ///
    /// ```
    /// use ractor_ssh::ssh_config::{Asked, Forward, SshConfig};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = SshConfig::parse("Host build\nPermitRemoteOpen db.internal:5432")?;
    /// let options = config.resolve(&Asked::host("build"))?;
    /// let socks_over_there = options.forward(&Forward::remote("1080")?);
    /// assert!(socks_over_there.check().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn forward(&self, forward: &Forward) -> forward::Forward {
        let bare = forward.bare(self.gateway_ports() == Some(true));
        if !forward.remote || forward.connect.is_some() || self.permit_remote_open().is_empty() {
            return bare;
        }
        let options = self.clone();
        bare.permit_open(move |host, port| options.permits_remote_open(host, port))
    }
}

/// Splits at colons; brackets keep colons together, a backslash takes the next character as it is.
fn fields(spec: &str) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut rest = spec;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (text, after) = inner.split_once(']')?;
            rest = if after.is_empty() { after } else { after.strip_prefix(':')? };
            fields.push(Field { text: text.to_owned(), is_path: text.contains('/') });
            continue;
        }
        let mut text = String::new();
        let mut chars = rest.chars();
        loop {
            match chars.next() {
                None | Some(':') => break,
                Some('\\') => text.push(chars.next()?),
                Some(c) => text.push(c),
            }
        }
        rest = chars.as_str();
        fields.push(Field { is_path: text.contains('/'), text });
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh_config::{Asked, Local, SshConfig};

    fn read(remote: bool, listen: &str, connect: &str) -> Result<String, String> {
        let connect = Some(connect).filter(|connect| !connect.is_empty());
        Forward::parse(remote, listen, connect).map(|forward| forward.to_string())
    }

    #[test]
    fn forwards_are_read_as_in_openssh() {
        let table = [
            ("8080", "localhost:80", "8080 [localhost]:80"),
            ("127.0.0.1:8080", "h:80", "[127.0.0.1]:8080 [h]:80"),
            ("[::1]:81", "[::2]:82", "[::1]:81 [::2]:82"),
            ("*:81", "h:1", "[*]:81 [h]:1"),
            (":81", "h:1", "[]:81 [h]:1"),
            ("8080", "/s", "8080 /s"),
            ("/a", "/b", "/a /b"),
            ("/a", "h:1", "/a [h]:1"),
            ("h:1", "/a\\:b", "[h]:1 /a:b"),
            ("1080", "", "1080"),
            ("h:1080", "", "[h]:1080"),
        ];
        for (listen, connect, shown) in table {
            assert_eq!(read(false, listen, connect).as_deref(), Ok(shown), "{listen} {connect}");
        }
        assert_eq!(read(true, "0", "h:1").as_deref(), Ok("0 [h]:1"));
        assert_eq!(read(true, "8080", "").as_deref(), Ok("8080 [socks]:0"));
    }

    #[test]
    fn arguments_are_read_as_on_the_command_line_of_openssh() {
        let shown = |read: Result<Forward, ConfigError>| read.map(|forward| forward.to_string()).ok();
        assert_eq!(shown(Forward::local("8080:h:80")).as_deref(), Some("8080 [h]:80"));
        assert_eq!(shown(Forward::local("[::1]:81:[::2]:82")).as_deref(), Some("[::1]:81 [::2]:82"));
        assert_eq!(shown(Forward::local("/a:/b")).as_deref(), Some("/a /b"));
        assert_eq!(shown(Forward::local("1080")), None);
        assert_eq!(shown(Forward::remote("0:h:80")).as_deref(), Some("0 [h]:80"));
        assert_eq!(shown(Forward::remote("*:1080")).as_deref(), Some("[*]:1080 [socks]:0"));
        assert_eq!(shown(Forward::dynamic("localhost:1080")).as_deref(), Some("[localhost]:1080"));
        assert_eq!(shown(Forward::dynamic("1:h:2")), None);
    }

    #[test]
    fn the_options_of_the_host_are_in_every_forward() {
        let forward = |options: &str, forward: &Forward| {
            let config = SshConfig::parse(options).unwrap();
            let asked = Asked::host("h").local(Local::new("u", 1, "/home/u", "here"));
            format!("{:?}", config.resolve(&asked).unwrap().forward(forward))
        };
        let everywhere = forward::Endpoint::tcp("*", 80);
        let local = Forward::local("80:h:1").unwrap();
        assert!(forward("GatewayPorts yes", &local).contains(&format!("{everywhere:?}")));
        assert!(!forward("GatewayPorts no", &local).contains(&format!("{everywhere:?}")));
        assert!(forward("GatewayPorts yes", &Forward::remote("80").unwrap()).contains("localhost"));
        for (permit, spec, asks) in [
            ("none", Forward::remote("80"), true),
            ("h:1", Forward::remote("80"), true),
            ("none", Forward::remote("80:h:1"), false),
            ("none", Forward::dynamic("80"), false),
        ] {
            let made = forward(&format!("PermitRemoteOpen {permit}"), &spec.unwrap());
            assert_eq!(!made.contains("permit: None"), asks, "{made}");
        }
    }

    #[test]
    fn what_is_no_forward_is_refused() {
        for (listen, connect) in [
            ("0", "h:1"),
            ("x", "h:1"),
            ("1", "h"),
            ("1", "h:0"),
            ("1", "h:x"),
            ("[::1", "h:1"),
            ("[::1]x:1", "h:1"),
            ("1", ":80"),
            ("a:b:1", "h:1"),
            ("65536", "h:1"),
            ("1:h:2", ""),
            ("1", "2\\"),
            ("/a:/b", ""),
            ("", "h:1"),
        ] {
            assert!(read(false, listen, connect).is_err(), "{listen} {connect}");
        }
    }
}
