//! The part of a configuration that says how one gets there: its byte stream, jump hosts, deadline and rate.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::ClientConfig;
use crate::dial::{Proxy, Stop, Via};
use crate::error::ConfigError;

/// # The way to the server
impl ClientConfig {
    /// Sets how the byte stream is made: TCP options, a Unix socket, a command, proxies. Default: TCP as
    /// [`TcpOptions`](crate::dial::TcpOptions) has it.
    ///
    /// ```
    /// use ractor_ssh::ClientConfig;
    /// use ractor_ssh::dial::{Proxy, Via};
    ///
    /// let config = ClientConfig::new("build.example.org", "ci")
    ///     .via(Via::default().proxy(Proxy::socks5("proxy.example.org", 1080)));
    /// assert!(config.check().is_ok());
    /// ```
    #[must_use]
    pub fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }

    /// Makes the byte stream in your own way instead of over TCP: a proxy, a tunnel, a Unix socket. Called for every
    /// connection, within [`Timeouts::dial`](crate::config::Timeouts::dial). Host and port then only name the server for its host key. The same as
    /// [`via`](Self::via) with [`Via::own`], and replaces what was set by it.
    ///
    /// ```
    /// use ractor_ssh::ClientConfig;
    /// use tokio::net::UnixStream;
    ///
    /// let config = ClientConfig::new("guest.example.org", "root")
    ///     .dial_with(|| UnixStream::connect("/run/vm/guest.sock"));
    /// # drop(config);
    /// ```
    #[must_use]
    pub fn dial_with<F, Fut, IO>(self, dial: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.via(Via::own(dial))
    }

    /// Goes through the proxy that `ALL_PROXY` names, unless `NO_PROXY` exempts the target: [`Proxy::from_env`]. Behind
    /// those that are set by [`via`](Self::via). Looks at host and port, and at the environment, now: set the port first.
    /// On a way over jump hosts, call it on the configuration of the first of them: on another one, the proxy would be
    /// reached from the jump host before it.
    ///
    /// # Errors
    /// `ALL_PROXY` makes no sense.
    pub fn proxy_from_env(mut self) -> Result<Self, ConfigError> {
        if let Some(proxy) = Proxy::from_env(&self.host, self.port)? {
            self.via = self.via.proxy(proxy);
        }
        Ok(self)
    }

    /// Goes over this host: a connection to it is made first, and a `direct-tcpip` channel on that (RFC 4254 section
    /// 7.2) is the byte stream, as with OpenSSH's `ProxyJump`. Called again, goes over one more host, behind those given
    /// before: `.jump(a).jump(b)` goes to a, from there to b, from there to the target.
    ///
    /// Each hop is a configuration of its own: its way to it, whom it trusts, who we are there, its deadlines and limits.
    /// Behind a jump host, [`via`](Self::via) may have proxies, which are then reached from the jump host, and a Unix socket,
    /// which is then one of the jump host's (`direct-streamlocal@openssh.com`). Every connection makes its own connections to the jump hosts; they live as long as its byte stream.
    /// A jump host's [`stall_timeout`](crate::config::Limits::stall_timeout) does not count: the target's does.
    ///
    /// [`Timeouts::dial`](crate::config::Timeouts::dial) of a configuration begins when the connection to its jump host is up. For a limit on the whole
    /// way, see [`deadline`](Self::deadline).
    ///
    /// ```
    /// use ractor_ssh::ClientConfig;
    ///
    /// let outer = ClientConfig::new("bastion.example.org", "ops");
    /// let inner = ClientConfig::new("gate.internal", "ops").port(2222);
    /// let config = ClientConfig::new("db.internal", "postgres").jump(outer).jump(inner);
    /// assert!(config.check().is_ok());
    /// ```
    #[must_use]
    pub fn jump(mut self, hop: Self) -> Self {
        let before = self.jump.take();
        self.jump = Some(Arc::new(hop.behind(before)));
        self
    }

    /// The same, with `before` ahead of its first hop.
    fn behind(mut self, before: Option<Arc<Self>>) -> Self {
        self.jump = match self.jump.take() {
            None => before,
            Some(first) => Some(Arc::new(Self::clone(&first).behind(before))),
        };
        self
    }

    /// Gives up when the connection is not up after so long, with everything that belongs to it: jump hosts, proxies,
    /// keys, login, prompts, and waiting for a turn in a [`Pool`](crate::Pool). The error names where it was then: it is
    /// [`Timeout`](crate::ConnectError::Timeout) with the phase, inside of one [`Jump`](crate::ConnectError::Jump) for each
    /// jump host that was not yet up; or [`Dial`](crate::ConnectError::Dial) with the proxy or the jump host that was to lead
    /// on. Default `Duration::MAX`: only the [`Timeouts`](crate::config::Timeouts) of each step.
    #[must_use]
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// Sends no more than so many bytes a second on the byte stream, all channels and what SSH adds together. For a
    /// connection made by [`connect`](crate::Client::connect) as well as over a stream that was given. Default
    /// `u64::MAX`: no limit.
    #[must_use]
    pub const fn outbound_rate(mut self, bytes_per_second: u64) -> Self {
        self.outbound_rate = bytes_per_second;
        self
    }

    /// Whether both lead to the same host and port, for the same user, in the same way, over the same jump hosts.
    pub(crate) fn goes_where(&self, other: &Self) -> bool {
        let jump = match (&self.jump, &other.jump) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.goes_where(other),
            (None, None) => true,
            _ => false,
        };
        (&self.host, self.port, &self.user) == (&other.host, other.port, &other.user)
            && self.via == other.via
            && jump
    }

    /// User, host and port, as errors name a hop.
    pub(super) fn hop(&self) -> String {
        format!("{}@{}", self.user, self.target())
    }

    /// The end of the way.
    pub(super) fn stop(&self) -> Stop<'_> {
        Stop { host: &self.host, port: self.port, user: &self.user }
    }

    /// The values of this file.
    pub(super) fn check_way(&self) -> Result<(), ConfigError> {
        if self.deadline.is_zero() {
            return Err(ConfigError::new("deadline", "is 0", "give a time, Duration::MAX for no limit"));
        }
        if self.outbound_rate == 0 {
            return Err(ConfigError::new(
                "outbound_rate",
                "is 0",
                "give bytes per second, u64::MAX for no limit",
            ));
        }
        self.via.check()?;
        if let Some(jump) = &self.jump {
            if !self.via.starts_anywhere() {
                return Err(ConfigError::new(
                    "via",
                    format!(
                        "says how the byte stream to {} starts, and it starts on a jump host",
                        self.target()
                    ),
                    "set it on the first jump host, or leave out `jump`",
                ));
            }
            jump.check().map_err(|error| ConfigError {
                field: format!("jump host {}: {}", jump.hop(), error.field),
                ..error
            })?;
        }
        Ok(())
    }
}
