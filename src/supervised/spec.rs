//! What a supervised channel is made from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::state::IncarnationEnd;
use crate::behaviour::ClientChannel;
use crate::config::ChannelOptions;
use crate::error::ConfigError;
use crate::supervision::RestartPolicy;
use crate::wire::open::OpenRequest;

/// Which of a supervised channel's behaviours this is, for the factory that makes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Incarnation {
    /// Counted from 1, one for every time the factory is asked, also if the channel cannot be opened then.
    pub number: u64,
    /// Why the one before ended; `None` for the first.
    pub last: Option<IncarnationEnd>,
}

impl Incarnation {
    pub(super) const fn new(number: u64, last: Option<IncarnationEnd>) -> Self {
        Self { number, last }
    }
}

/// What is ended when a channel was restarted too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Escalation {
    /// This channel alone: nothing else notices.
    #[default]
    Channel,
    /// The connection, and with it all of its channels. A managed connection takes that for a failure and comes back,
    /// with all of its supervised channels, this one too; another one is closed.
    Connection,
}

pub(super) type Factory<C> = Arc<dyn Fn(Incarnation) -> C + Send + Sync>;

/// How to make a channel, and make it again: for [`ConnectionRef::supervise`](crate::ConnectionRef::supervise).
///
/// | option | default |
/// |---|---|
/// | `restart` | `RestartPolicy::permanent()` |
/// | `request` | a `session` channel |
/// | `options` | `ChannelOptions::default()` |
/// | `queue` | 0: what is cast while nothing is up is refused |
/// | `on_give_up` | [`Escalation::Channel`] |
/// | `isolate_stalled` | yes |
/// | `stuck_limit` | 60 s |
///
/// What to ask of the peer (`exec`, `shell`, `subsystem`) is the business of the behaviour's `init`, which runs
/// anew each time.
#[must_use = "a specification does nothing by itself"]
pub struct ChannelSpec<C: ClientChannel> {
    pub(super) factory: Factory<C>,
    pub(super) policy: RestartPolicy,
    pub(super) request: OpenRequest,
    pub(super) options: ChannelOptions,
    pub(super) queue: usize,
    pub(super) on_give_up: Escalation,
    pub(super) isolate_stalled: bool,
    pub(super) stuck_limit: Duration,
}

impl<C: ClientChannel> Clone for ChannelSpec<C> {
    fn clone(&self) -> Self {
        Self {
            factory: Arc::clone(&self.factory),
            policy: self.policy.clone(),
            request: self.request.clone(),
            options: self.options.clone(),
            queue: self.queue,
            on_give_up: self.on_give_up,
            isolate_stalled: self.isolate_stalled,
            stuck_limit: self.stuck_limit,
        }
    }
}

impl<C: ClientChannel> fmt::Debug for ChannelSpec<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSpec")
            .field("behaviour", &std::any::type_name::<C>())
            .field("policy", &self.policy)
            .field("request", &self.request)
            .field("options", &self.options)
            .field("queue", &self.queue)
            .field("on_give_up", &self.on_give_up)
            .field("isolate_stalled", &self.isolate_stalled)
            .field("stuck_limit", &self.stuck_limit)
            .finish_non_exhaustive()
    }
}

impl<C: ClientChannel> ChannelSpec<C> {
    /// A channel whose behaviours `factory` makes, with all defaults.
    ///
    /// The factory runs outside of all actors, and must not block. If it panics, that counts as a failed start.
    pub fn new(factory: impl Fn(Incarnation) -> C + Send + Sync + 'static) -> Self {
        Self {
            factory: Arc::new(factory),
            policy: RestartPolicy::permanent(),
            request: OpenRequest::Session,
            options: ChannelOptions::default(),
            queue: 0,
            on_give_up: Escalation::default(),
            isolate_stalled: true,
            stuck_limit: Duration::from_secs(60),
        }
    }

    /// Sets when the channel is started again, after what pause, and when to give up.
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets what kind of channel is opened.
    pub fn request(mut self, request: OpenRequest) -> Self {
        self.request = request;
        self
    }

    /// Sets how the channel is run. With [`SlowConsumer::Isolate`](crate::config::SlowConsumer::Isolate) every
    /// incarnation has a connection of its own.
    pub fn options(mut self, options: ChannelOptions) -> Self {
        self.options = options;
        self
    }

    /// Keeps up to `messages` that are cast while nothing is up, and delivers them in order to the next
    /// incarnation. They are dropped when there is none.
    pub const fn queue(mut self, messages: usize) -> Self {
        self.queue = messages;
        self
    }

    /// Sets what is ended when the channel was restarted too often: see [`RestartPolicy::intensity`].
    pub const fn on_give_up(mut self, what: Escalation) -> Self {
        self.on_give_up = what;
        self
    }

    /// Sets whether a channel that was ended with [`Stalled`](crate::error::CloseReason::Stalled) gets a connection of
    /// its own from then on, as by [`SlowConsumer::Isolate`](crate::config::SlowConsumer::Isolate): so it disturbs its
    /// siblings once and not again. Where there is no way to make a second connection, it comes back where it was.
    pub const fn isolate_stalled(mut self, isolate: bool) -> Self {
        self.isolate_stalled = isolate;
        self
    }

    /// Sets how long one callback may go on when the incarnation is to end: because it is [stopped](super::SupervisedRef::stop),
    /// or because its connection was lost and the next one is up (a pool always has a next one). Then the actor is
    /// killed, without `terminate`: one that is stuck would keep its channel, or the next incarnation, for ever.
    ///
    /// Each callback has that time: who handles what had arrived before the loss, event by event, has all the time it
    /// needs. [`Duration::MAX`]: for ever.
    pub const fn stuck_limit(mut self, limit: Duration) -> Self {
        self.stuck_limit = limit;
        self
    }

    /// Whether a `session` channel is opened.
    pub(crate) const fn is_session(&self) -> bool {
        matches!(self.request, OpenRequest::Session)
    }

    /// Looks at every value; supervising does so first.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.policy.check()?;
        if self.stuck_limit.is_zero() {
            let fix = "give the longest time that one callback may take, or `Duration::MAX`";
            return Err(ConfigError::new("stuck_limit", "is 0, so that every callback is too long", fix));
        }
        self.options.check()
    }
}
