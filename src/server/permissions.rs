//! What a login may do on its connection.

use bytes::Bytes;

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
    pub force_command: Option<Bytes>,
    /// Variables for what runs on this login's channels (`environment=` of a key). They win over what the peer asks for.
    pub environment: Vec<(String, String)>,
    /// Whether terminals may be asked for.
    pub pty: bool,
    /// Whether ports may be forwarded, in either direction.
    pub port_forwarding: bool,
    /// Whether the agent may be forwarded.
    pub agent_forwarding: bool,
    /// Whether X11 may be forwarded.
    pub x11_forwarding: bool,
    /// Where `direct-tcpip` channels may lead, as `host:port`, port `*` for any; `None` for anywhere.
    pub permit_open: Option<Vec<String>>,
    /// What may be listened on, as `[host:]port`; `None` for anything.
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
}

impl Default for Permissions {
    fn default() -> Self {
        Self::all()
    }
}
