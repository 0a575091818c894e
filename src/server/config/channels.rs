//! What runs on channels, and how many there may be.

use std::sync::Arc;

use super::DaemonConfig;
use crate::behaviour::ServerChannel;
use crate::config::ChannelOptions;
use crate::server::request::NewSession;
use crate::server::router::{Router, Sessions};

/// # What runs on channels
impl DaemonConfig {
    /// Sets what runs on session channels, by what they are for. Replaces an earlier one. Default: nothing.
    #[must_use]
    pub fn router(mut self, router: Router) -> Self {
        self.sessions = Sessions::Routed(Arc::new(router));
        self
    }

    /// Runs a behaviour on every session channel from its opening on: it gets each request as an event and answers it
    /// with `reply_request`. Replaces an earlier router. The function must not block.
    ///
    /// Over russh, which does not say whether an answer is wanted, `want_reply` is always true here; an answer nobody
    /// wants is not sent. Until a request is answered, at most for a second, nothing is read from its connection:
    /// answer first, work later.
    #[must_use]
    pub fn session_channel<C: ServerChannel>(
        mut self,
        make: impl Fn(NewSession) -> C + Send + Sync + 'static,
    ) -> Self {
        self.sessions = Sessions::whole(make);
        self
    }

    /// Sets how many channels a connection may have; further opens are refused with SSH_OPEN_RESOURCE_SHORTAGE.
    /// Default 64.
    #[must_use]
    pub const fn max_channels(mut self, limit: usize) -> Self {
        self.limits.max_channels = limit;
        self
    }

    /// Sets how channels are run. Isolation and the open timeout mean nothing on a server.
    #[must_use]
    pub const fn channel_options(mut self, options: ChannelOptions) -> Self {
        self.channel_options = options;
        self
    }
}
