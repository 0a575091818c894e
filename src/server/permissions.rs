//! What a login may do on its connection.

use bytes::Bytes;

use crate::host_key::glob;

/// What a login may do, beyond what the daemon's configuration allows to anyone. It comes from the key's line in an
/// authorized_keys file, from a certificate, or from the callback that let the user in; it can only take away.
///
/// ```
/// use ractor_ssh::Permissions;
///
/// let mut backup = Permissions::none();
/// backup.force_command = Some("backup --receive".into());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permissions {
    /// Runs instead of whatever is asked for, shells and subsystems too (`command=` of a key, `force-command` of a
    /// certificate). What was asked for is in the variable `SSH_ORIGINAL_COMMAND`.
    ///
    /// It takes the route of commands, whatever it is called: OpenSSH's `internal-sftp` is only the name of a program
    /// here, and starts no subsystem.
    pub force_command: Option<Bytes>,
    /// Variables for what runs on this login's channels (`environment=` of a key). They win over what the peer asks for.
    pub environment: Vec<(String, String)>,
    /// Whether terminals may be asked for.
    pub pty: bool,
    /// Whether ports and Unix sockets may be forwarded, in either direction.
    pub port_forwarding: bool,
    /// Whether the agent may be forwarded. Over russh it cannot be yet: that request is always refused.
    pub agent_forwarding: bool,
    /// Whether X11 may be forwarded.
    pub x11_forwarding: bool,
    /// Where `direct-tcpip` channels may lead, as `host:port`, port `*` for any; `None` for anywhere.
    pub permit_open: Option<Vec<String>>,
    /// What may be listened on (`tcpip-forward`, RFC 4254 section 7.1), as `[host:]port`: the host as the peer writes it,
    /// which for OpenSSH's `ssh -R port:...` is `localhost`, with `*` and `?` as wildcards, the port `*` for any; `None`
    /// for anything. A port of the daemon's choice is port 0 here.
    pub permit_listen: Option<Vec<String>>,
}

impl Permissions {
    /// Everything that the daemon's configuration allows.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            force_command: None,
            environment: Vec::new(),
            pty: true,
            port_forwarding: true,
            agent_forwarding: true,
            x11_forwarding: true,
            permit_open: None,
            permit_listen: None,
        }
    }

    /// Commands, shells and subsystems only: no terminal, nothing forwarded (`restrict` in an authorized_keys file).
    #[must_use]
    pub fn none() -> Self {
        Self {
            pty: false,
            port_forwarding: false,
            agent_forwarding: false,
            x11_forwarding: false,
            ..Self::all()
        }
    }

    /// Whether a `direct-tcpip` channel may lead there. Host names are compared as they are written.
    #[must_use]
    pub fn may_open(&self, host: &str, port: u16) -> bool {
        let Some(allowed) = &self.permit_open else { return self.port_forwarding };
        self.port_forwarding && allowed.iter().any(|rule| leads_to(rule, host, port))
    }

    /// Whether a Unix socket may be reached. A list of ports says nothing of sockets, and so allows none.
    #[must_use]
    pub const fn may_open_sockets(&self) -> bool {
        self.port_forwarding && self.permit_open.is_none()
    }

    /// Whether a TCP port may be listened on. Addresses are compared as they are written.
    #[must_use]
    pub fn may_listen(&self, address: &str, port: u16) -> bool {
        let Some(allowed) = &self.permit_listen else { return self.port_forwarding };
        self.port_forwarding && allowed.iter().any(|rule| listens_at(rule, address, port))
    }

    /// Whether a Unix socket may be listened on. A list of ports says nothing of sockets, and so allows none.
    #[must_use]
    pub const fn may_listen_on_sockets(&self) -> bool {
        self.port_forwarding && self.permit_listen.is_none()
    }
}

/// One rule: `[host:]port`, with patterns for the host, `*` for any port, and brackets around an IPv6 address.
fn listens_at(rule: &str, address: &str, port: u16) -> bool {
    let (host, ports) = rule.rsplit_once(':').unwrap_or(("*", rule));
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_host = glob(&host.to_ascii_lowercase(), &address.to_ascii_lowercase());
    is_host && (ports == "*" || ports.parse() == Ok(port))
}

/// One rule: `host:port`, with `*` for any host or port, and brackets around an IPv6 address.
fn leads_to(rule: &str, host: &str, port: u16) -> bool {
    let Some((hosts, ports)) = rule.rsplit_once(':') else { return false };
    let hosts = hosts.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hosts);
    (hosts == "*" || hosts.eq_ignore_ascii_case(host)) && (ports == "*" || ports.parse() == Ok(port))
}

impl Default for Permissions {
    fn default() -> Self {
        Self::all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_places_allows_these_and_no_others() {
        let mut permissions = Permissions::all();
        assert!(permissions.may_open("anywhere", 1) && permissions.may_open_sockets());
        permissions.permit_open =
            Some(vec!["db:5432".into(), "[::1]:80".into(), "web:*".into(), "nonsense".into()]);
        for (host, port) in [("db", 5432), ("DB", 5432), ("::1", 80), ("web", 1), ("web", 65_535)] {
            assert!(permissions.may_open(host, port), "{host} {port}");
        }
        for (host, port) in [("db", 5433), ("::1", 81), ("web.", 1), ("nonsense", 0), ("", 0)] {
            assert!(!permissions.may_open(host, port), "{host} {port}");
        }
        assert!(!permissions.may_open_sockets());
        permissions.permit_open = Some(Vec::new());
        assert!(!permissions.may_open("db", 5432));
    }

    #[test]
    fn a_list_of_ports_to_listen_on_allows_these_and_no_others() {
        let mut permissions = Permissions::all();
        assert!(permissions.may_listen("", 0) && permissions.may_listen_on_sockets());
        permissions.permit_listen = Some(
            ["8080", "localhost:*", "*.example.org:81", "[::1]:82", "0", ":90"].map(str::to_owned).to_vec(),
        );
        for (address, port) in [
            ("", 8080),
            ("anything", 8080),
            ("LocalHost", 1),
            ("a.example.org", 81),
            ("::1", 82),
            ("", 0),
            ("", 90),
        ] {
            assert!(permissions.may_listen(address, port), "{address} {port}");
        }
        for (address, port) in [("", 8081), ("127.0.0.1", 1), ("example.org", 81), ("::1", 83), ("x", 90)] {
            assert!(!permissions.may_listen(address, port), "{address} {port}");
        }
        assert!(!permissions.may_listen_on_sockets());
        permissions.port_forwarding = false;
        assert!(!permissions.may_listen("", 8080));
    }

    #[test]
    fn without_port_forwarding_no_list_allows_anything() {
        let mut permissions = Permissions::none();
        permissions.permit_open = Some(vec!["*:*".into()]);
        assert!(!permissions.may_open("db", 5432) && !permissions.may_open_sockets());
    }
}
