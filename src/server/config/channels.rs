//! What runs on channels, and how many there may be.

use std::sync::Arc;

use super::DaemonConfig;
use crate::behaviour::ServerChannel;
use crate::config::ChannelOptions;
use crate::server::request::NewSession;
use crate::server::router::Router;
use crate::server::session_limits::SessionLimits;

/// # What runs on channels
impl DaemonConfig {
    /// Sets what runs on channels, by what they are for. Replaces an earlier one. Default: nothing.
    #[must_use]
    pub fn router(mut self, router: Router) -> Self {
        self.router = Arc::new(router);
        self
    }

    /// Runs a behaviour on every session channel from its opening on: short for a router with nothing but
    /// [`Router::session`]. Replaces an earlier router.
    #[must_use]
    pub fn session_channel<C: ServerChannel>(
        self,
        make: impl Fn(NewSession) -> C + Send + Sync + 'static,
    ) -> Self {
        self.router(Router::new().session(make))
    }

    /// Sets what the peer of a connection may ask for, and how often. See [`SessionLimits`] for the defaults.
    #[must_use]
    pub const fn session_limits(mut self, limits: SessionLimits) -> Self {
        self.session_limits = limits;
        self
    }

    /// Sets how many channels a connection may have; further opens are refused with SSH_OPEN_RESOURCE_SHORTAGE.
    /// Default 64.
    #[must_use]
    pub const fn max_channels(mut self, limit: usize) -> Self {
        self.limits.max_channels = limit;
        self
    }

    /// Sets how many sessions of one user may have the peer's agent (`auth-agent-req@openssh.com`) at a time, on all of its
    /// connections. Beyond: SSH_MSG_CHANNEL_FAILURE, counted in
    /// [`requests_refused`](crate::observe::Counters::requests_refused). Default 256; [`usize::MAX`] lifts it. There is none
    /// unless [`Router::agent_forwarding`] allows it.
    #[must_use]
    pub const fn max_agents_per_user(mut self, limit: usize) -> Self {
        self.lend_limits.agents = limit;
        self
    }

    /// Sets how many sessions of one user may have the peer's display (`x11-req`, RFC 4254 section 6.3.1) at a time, on all of
    /// its connections. Beyond: as above. Default 64; [`usize::MAX`] lifts it. This machine has 990 display numbers for all
    /// users together, from 10 to 999. There is none unless [`Router::x11_forwarding`] allows it.
    #[must_use]
    pub const fn max_displays_per_user(mut self, limit: usize) -> Self {
        self.lend_limits.displays = limit;
        self
    }

    /// Sets how channels are run. Isolation and the open timeout mean nothing on a server. Forwarded connections make
    /// way for their siblings after 5 s as by [`SlowConsumer::Yield`](crate::config::SlowConsumer::Yield), unless that policy
    /// is set here with another time.
    #[must_use]
    pub const fn channel_options(mut self, options: ChannelOptions) -> Self {
        self.channel_options = options;
        self
    }
}
