//! Routes for channels that are not sessions, and for sessions as a whole.

use std::future::Future;
use std::sync::Arc;

use super::Router;
use super::make::{later, now};
use crate::behaviour::ServerChannel;
use crate::server::forward;
use crate::server::request::{DirectStreamlocal, DirectTcpip, NewSession};
use crate::wire::codes::OpenFailureReason;

/// # Whole sessions
///
/// Such a route takes every session channel, and routes by request have no say.
impl Router {
    /// Runs a behaviour on every session channel from its opening on: it gets each request as an event and answers it
    /// with `reply_request`. The function must not block.
    ///
    /// Over russh, which does not say whether an answer is wanted, `want_reply` is always true here; an answer nobody
    /// wants is not sent. Until a request is answered, at most for a second, nothing is read from its connection:
    /// answer first, work later.
    ///
    /// What the login's [`Permissions`](crate::Permissions) forbid is refused before the behaviour sees it. A forced
    /// command comes as `Exec` whatever was asked for, behind `Env` events for the variables of the permissions.
    #[must_use]
    pub fn session<C: ServerChannel>(
        mut self,
        make: impl Fn(NewSession) -> C + Send + Sync + 'static,
    ) -> Self {
        self.session = Some(now(move |session| Some(make(session))));
        self
    }

    /// As [`session`](Self::session), decided by an async function: the open is confirmed, or refused with the reason
    /// given, when it returns. It runs beside the connection and stalls nothing; after the open timeout (30 s by
    /// default) the open is refused with `ConnectFailed`.
    #[must_use]
    pub fn session_async<C, F>(mut self, make: impl Fn(NewSession) -> F + Send + Sync + 'static) -> Self
    where
        C: ServerChannel,
        F: Future<Output = Result<C, OpenFailureReason>> + Send + 'static,
    {
        self.session = Some(later(make));
        self
    }
}

/// # Channels of other types
///
/// A login's [`Permissions`](crate::Permissions) come first: without `port_forwarding`, or outside of `permit_open`,
/// nothing reaches these routes, and the open is refused (SSH_OPEN_ADMINISTRATIVELY_PROHIBITED).
impl Router {
    /// Runs a behaviour on every `direct-tcpip` channel (RFC 4254 section 7.2). The function must not block.
    #[must_use]
    pub fn direct_tcpip<C: ServerChannel>(
        mut self,
        make: impl Fn(DirectTcpip) -> C + Send + Sync + 'static,
    ) -> Self {
        self.direct_tcpip = Some(now(move |open| Some(make(open))));
        self
    }

    /// As [`direct_tcpip`](Self::direct_tcpip), decided by an async function, as
    /// [`session_async`](Self::session_async) is.
    #[must_use]
    pub fn direct_tcpip_async<C, F>(mut self, make: impl Fn(DirectTcpip) -> F + Send + Sync + 'static) -> Self
    where
        C: ServerChannel,
        F: Future<Output = Result<C, OpenFailureReason>> + Send + 'static,
    {
        self.direct_tcpip = Some(later(make));
        self
    }

    /// Connects `direct-tcpip` channels to where they want to go, if `policy` says yes, and passes bytes on in both
    /// directions: each end's eof is passed on by itself, and a reader that is slow holds its writer up.
    ///
    /// Several addresses of a name are tried side by side (RFC 8305).
    ///
    /// The connection is made beside the SSH connection and stalls nothing; it has the open timeout (30 s by
    /// default). If it fails, the open is refused with SSH_OPEN_CONNECT_FAILED.
    ///
    /// The policy sees the host as the peer wrote it, a name or an address. A name is looked up after it has said
    /// yes, and may lead anywhere, loopback included: a policy that means addresses should take addresses only.
    ///
    /// ```
    /// use ractor_ssh::Router;
    ///
    /// let router = Router::new().forward_tcpip(|open| open.host == "127.0.0.1" && open.port == 5432);
    /// ```
    #[must_use]
    pub fn forward_tcpip(self, policy: impl Fn(&DirectTcpip) -> bool + Send + Sync + 'static) -> Self {
        self.direct_tcpip_async(move |open| {
            let allowed = policy(&open);
            async move {
                if !allowed {
                    return Err(OpenFailureReason::AdministrativelyProhibited);
                }
                let stream = forward::connect(&open).await?;
                Ok(forward::relay(stream, ()))
            }
        })
    }

    /// Runs a behaviour on every `direct-streamlocal@openssh.com` channel, which wants to reach a Unix socket. The
    /// function must not block.
    #[must_use]
    pub fn direct_streamlocal<C: ServerChannel>(
        mut self,
        make: impl Fn(DirectStreamlocal) -> C + Send + Sync + 'static,
    ) -> Self {
        self.direct_streamlocal = Some(now(move |open| Some(make(open))));
        self
    }

    /// As [`direct_streamlocal`](Self::direct_streamlocal), decided by an async function, as
    /// [`session_async`](Self::session_async) is.
    #[must_use]
    pub fn direct_streamlocal_async<C, F>(
        mut self,
        make: impl Fn(DirectStreamlocal) -> F + Send + Sync + 'static,
    ) -> Self
    where
        C: ServerChannel,
        F: Future<Output = Result<C, OpenFailureReason>> + Send + 'static,
    {
        self.direct_streamlocal = Some(later(make));
        self
    }

    /// Connects `direct-streamlocal@openssh.com` channels to the Unix sockets they want to reach, if `policy` says yes, as
    /// [`forward_tcpip`](Self::forward_tcpip) does for ports. A path that is not absolute or has a `..` in it is refused
    /// unasked; symbolic links are followed.
    ///
    /// ```
    /// use ractor_ssh::Router;
    ///
    /// let router = Router::new().forward_streamlocal(|open| open.path == "/run/postgresql/.s.PGSQL.5432");
    /// ```
    #[cfg(unix)]
    #[must_use]
    pub fn forward_streamlocal(
        self,
        policy: impl Fn(&DirectStreamlocal) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.direct_streamlocal_async(move |open| {
            let allowed = forward::is_plain(&open.path) && policy(&open);
            async move {
                if !allowed {
                    return Err(OpenFailureReason::AdministrativelyProhibited);
                }
                let stream = forward::connect_socket(&open.path).await?;
                Ok(forward::relay(stream, ()))
            }
        })
    }
}

/// # What the peer lends
///
/// Its agent and its display are at the disposal of what runs on the session channel that asked, until that channel is
/// closed. Off by default; a login's [`Permissions`](crate::Permissions) come first. Only routes for commands, shells,
/// subsystems and [`decide`](Self::decide) have them, not those of whole [sessions](Self::session).
///
/// Sockets and authority files are in private directories among the temporary files (`ssh-agent-*`, `ssh-x11-*`). Only a
/// process that is killed leaves them behind; they lead nowhere then.
///
/// Each connection to them becomes a channel towards the client, and counts among its channels
/// ([`max_channels`](crate::DaemonConfig::max_channels)). Real processes (feature `pty`) find them in their environment;
/// other routes find them in the [`SessionRequest`](crate::SessionRequest).
impl Router {
    /// Lets sessions have the peer's agent, if `policy` says yes: `auth-agent-req@openssh.com` is granted, and a Unix
    /// socket is made, in a directory of its own that only the daemon's user can look into. Unlike OpenSSH's, it ends with
    /// the session, not with the connection; so what a session leaves in the background has no agent any more. At most
    /// 16 connections to it are served at a time, more wait.
    ///
    /// The function runs between two packets of its connection, so it must not block.
    ///
    /// ```
    /// use ractor_ssh::Router;
    ///
    /// let router = Router::new().agent_forwarding(|session| session.user == "deploy");
    /// ```
    #[must_use]
    pub fn agent_forwarding(mut self, policy: impl Fn(&NewSession) -> bool + Send + Sync + 'static) -> Self {
        self.agent = Some(Arc::new(policy));
        self
    }

    /// Lets sessions have the peer's display, if `policy` says yes: `x11-req` (RFC 4254 section 6.3.1) is granted, and
    /// the first free display from 10 on is made, TCP port 6010 and following of loopback (OpenSSH's `X11UseLocalhost
    /// yes`). Its cookie is in an authority file of its own, not in the user's, and goes with the session; sessions do not
    /// see each other's. At most 32 connections to it are served at a time, more wait; only one at
    /// all, if the peer asks for that.
    ///
    /// Everybody on this machine can connect to the port. Who does not show the cookie is turned away by the client.
    ///
    /// The function runs between two packets of its connection, so it must not block.
    #[must_use]
    pub fn x11_forwarding(mut self, policy: impl Fn(&NewSession) -> bool + Send + Sync + 'static) -> Self {
        self.x11 = Some(Arc::new(policy));
        self
    }
}
