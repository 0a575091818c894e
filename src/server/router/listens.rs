//! Who decides about what peers want listened on.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Router;
use crate::server::gateway::GatewayPorts;
use crate::server::request::{StreamlocalForward, TcpipForward};

/// Decides, at once or later.
pub(in crate::server) struct Policy<T>(Arc<dyn Fn(T) -> BoxFuture<'static, bool> + Send + Sync>);

impl<T> Clone for Policy<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: 'static> Policy<T> {
    fn now(policy: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |asked| futures::future::ready(policy(&asked)).boxed()))
    }

    fn later<F>(policy: impl Fn(T) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Self(Arc::new(move |asked| policy(asked).boxed()))
    }

    /// A function of the user's that panics refuses, and takes nothing down with it.
    pub(in crate::server) async fn allows(&self, asked: T) -> bool {
        let decided = match catch_unwind(AssertUnwindSafe(|| (self.0)(asked))) {
            Ok(decision) => AssertUnwindSafe(decision).catch_unwind().await.ok(),
            Err(_) => None,
        };
        decided.unwrap_or_else(|| {
            tracing::error!("the function that decides about a listener panicked");
            false
        })
    }
}

/// What peers may have listened on.
#[derive(Clone, Default)]
pub(in crate::server) struct Listens {
    pub(in crate::server) tcpip: Option<Policy<TcpipForward>>,
    pub(in crate::server) streamlocal: Option<Policy<StreamlocalForward>>,
    pub(in crate::server) gateway: GatewayPorts,
    pub(in crate::server) bind_unlink: bool,
}

impl fmt::Debug for Listens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listens")
            .field("tcpip", &self.tcpip.is_some())
            .field("streamlocal", &self.streamlocal.is_some())
            .field("gateway", &self.gateway)
            .field("bind_unlink", &self.bind_unlink)
            .finish()
    }
}

/// # Listening for peers
///
/// By default nothing is listened on. A login's [`Permissions`](crate::Permissions) come first: without `port_forwarding`, or
/// outside of `permit_listen`, no policy is asked. Listeners end with their connection, when it begins to shut down, or when
/// the peer cancels them; connections that were made go on after a cancel. Each connection becomes a channel that the daemon opens:
/// a peer that refuses it, or does not answer within the open timeout, costs the connection. How many listeners and connections
/// there may be: [`SessionLimits`](crate::SessionLimits).
impl Router {
    /// Listens on TCP ports for peers (`tcpip-forward`, RFC 4254 section 7.1), if `policy` says yes: what OpenSSH's `ssh -R`
    /// asks for. The function must not block.
    ///
    /// Loopback is bound, unless [`gateway_ports`](Self::gateway_ports) says otherwise. With port 0 the operating system
    /// chooses; it also decides who may bind ports below 1024.
    ///
    /// ```
    /// use ractor_ssh::Router;
    ///
    /// let router = Router::new().listen_tcpip(|asked| asked.port == 0 || asked.port >= 10_000);
    /// ```
    #[must_use]
    pub fn listen_tcpip(mut self, policy: impl Fn(&TcpipForward) -> bool + Send + Sync + 'static) -> Self {
        self.listens.tcpip = Some(Policy::now(policy));
        self
    }

    /// As [`listen_tcpip`](Self::listen_tcpip), decided by an async function. Until it returns, at most for the request timeout
    /// (30 s by default), nothing of its connection is read: russh keeps one answer to such requests.
    #[must_use]
    pub fn listen_tcpip_async<F>(mut self, policy: impl Fn(TcpipForward) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.listens.tcpip = Some(Policy::later(policy));
        self
    }

    /// Sets which addresses are bound for [`listen_tcpip`](Self::listen_tcpip). Default [`GatewayPorts::No`]: loopback.
    #[must_use]
    pub const fn gateway_ports(mut self, gateway: GatewayPorts) -> Self {
        self.listens.gateway = gateway;
        self
    }

    /// Listens on Unix sockets for peers (`streamlocal-forward@openssh.com`), if `policy` says yes. The function must not
    /// block. On systems without them everything is refused.
    ///
    /// The path is absolute and has no `..` in it; others are refused unasked. Who may connect is the daemon's own user
    /// (mode 0600). The socket's file is removed at the end. A file that is there already is in the way, unless
    /// [`streamlocal_bind_unlink`](Self::streamlocal_bind_unlink) is set. Symbolic links on the way are followed: a policy
    /// that allows a directory should be sure who can write there.
    ///
    /// ```
    /// use ractor_ssh::Router;
    ///
    /// let router = Router::new()
    ///     .listen_streamlocal(|asked| asked.path.starts_with("/run/forwarded/"))
    ///     .streamlocal_bind_unlink(true);
    /// ```
    #[must_use]
    pub fn listen_streamlocal(
        mut self,
        policy: impl Fn(&StreamlocalForward) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.listens.streamlocal = Some(Policy::now(policy));
        self
    }

    /// As [`listen_streamlocal`](Self::listen_streamlocal), decided by an async function, as
    /// [`listen_tcpip_async`](Self::listen_tcpip_async) is.
    #[must_use]
    pub fn listen_streamlocal_async<F>(
        mut self,
        policy: impl Fn(StreamlocalForward) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.listens.streamlocal = Some(Policy::later(policy));
        self
    }

    /// Whether a socket file that nobody listens on any more is removed when a new one is to be there
    /// (`StreamLocalBindUnlink` of OpenSSH's `sshd_config(5)`, which removes any file: here one that is no socket, and one that
    /// somebody listens on, stay and are in the way). Default false.
    #[must_use]
    pub const fn streamlocal_bind_unlink(mut self, unlink: bool) -> Self {
        self.listens.bind_unlink = unlink;
        self
    }
}
