//! What is told to the [`metrics`](https://docs.rs/metrics) facade, with the feature `metrics`.
//!
//! The crate brings no exporter: install a recorder of your choice first, then [`describe`], then connect. Names are
//! those of the constants here; nothing else is recorded. Labels:
//!
//! | label | values |
//! |---|---|
//! | `role` | `client`, `server`: which end of the connection we are |
//! | `phase` | how far connecting had come: `configuration`, `dial`, `version exchange`, `key exchange`, `authentication` |
//! | `end` | `closed`, `disconnected`, `lost`, `peer_dead`, `write_stalled`, `rekey_timeout`, `idle`, `expired`, `protocol`, `expelled`, `actor_gone`, `other` |
//! | `event` | a field of [`DaemonCounters`](crate::DaemonCounters), or of [`PoolCounters`](crate::pool::PoolCounters) |
//!
//! No label names a host, a user or a command: their number has no bound. [`ConnectionInfo`](crate::observe::ConnectionInfo)
//! and `tracing` spans do.
//!
//! What a connection counts is taken from the very counters that its info shows, whenever its actor has something to
//! do: with each channel that comes or goes, each keepalive, and at its end.

use std::time::Instant;

use crate::error::{ConnectionError, Phase};
use crate::observe::Counters;

/// Which end of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a daemon is a server"))]
    Server,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What a metric is, for [`describe`].
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nobody is told"))]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! listed {
    ($($kind:ident $id:ident = $name:literal, $unit:ident, $what:literal;)*) => {
        $(
            #[doc = concat!(stringify!($kind), ", in ", stringify!($unit), ": ", $what)]
            pub const $id: &str = $name;
        )*

        #[cfg(feature = "metrics")]
        const LISTED: &[(Kind, &str, ::metrics::Unit, &str)] =
            &[$((Kind::$kind, $name, ::metrics::Unit::$unit, $what)),*];
    };
}

listed! {
    Counter CONNECTIONS_TOTAL = "ssh_connections_total", Count, "connections that came up, by `role`.";
    Counter CONNECTIONS_ENDED = "ssh_connections_ended_total", Count, "connections that were up and are over, by `role` and `end`.";
    Gauge CONNECTIONS = "ssh_connections", Count, "connections that are up, by `role`.";
    Histogram CONNECTION_SECONDS = "ssh_connection_seconds", Seconds, "for how long a connection was up, by `role`.";
    Histogram CONNECT_SECONDS = "ssh_connect_seconds", Seconds, "how long connecting took, from the dial to the end of the login, when it succeeded.";
    Counter CONNECT_FAILURES = "ssh_connect_failures_total", Count, "connections that did not come up, by `phase`; on our side as a client.";
    Counter RECEIVED = "ssh_received_bytes_total", Bytes, "bytes read from byte streams, by `role`.";
    Counter SENT = "ssh_sent_bytes_total", Bytes, "bytes written to byte streams, by `role`.";
    Gauge UNREAD = "ssh_unread_bytes", Bytes, "received and not consumed, by `role`.";
    Gauge CHANNELS = "ssh_channels", Count, "channels, those being opened and closed included, by `role`.";
    Counter CHANNELS_TOTAL = "ssh_channels_total", Count, "channels whose open was asked for, by `role`.";
    Counter CHANNELS_CLOSED = "ssh_channels_closed_total", Count, "channels that are over, by `role`.";
    Counter OPENS_FAILED = "ssh_channel_opens_failed_total", Count, "opens of ours that failed, by `role`.";
    Histogram OPEN_SECONDS = "ssh_channel_open_seconds", Seconds, "how long the peer took to confirm a channel of ours, by `role`.";
    Counter OPENS_REFUSED = "ssh_channel_opens_refused_total", Count, "channels that peers were refused, by `role`.";
    Counter REQUESTS_REFUSED = "ssh_requests_refused_total", Count, "requests that peers were refused, by `role`.";
    Counter ACTORS_FAILED = "ssh_channel_actors_failed_total", Count, "channel actors that failed, panicked or were killed, by `role`.";
    Counter STALLED = "ssh_channels_stalled_total", Count, "channels ended because their consumers held their connections up, by `role`.";
    Counter PAUSES = "ssh_pauses_total", Count, "how often reading stopped because too much was unread, by `role`.";
    Counter PAUSED = "ssh_paused_milliseconds_total", Milliseconds, "for how long in total, by `role`.";
    Counter REKEYS = "ssh_rekeys_total", Count, "key re-exchanges, by `role`.";
    Counter KEEPALIVES_SENT = "ssh_keepalives_sent_total", Count, "keepalive questions sent, by `role`.";
    Counter KEEPALIVES_ANSWERED = "ssh_keepalives_answered_total", Count, "keepalive questions answered, by `role`.";
    Gauge SUPERVISED = "ssh_supervised_channels", Count, "supervised channels that are not over.";
    Counter RESTARTS = "ssh_supervised_restarts_total", Count, "restarts of supervised channels.";
    Counter GIVEN_UP = "ssh_supervised_given_up_total", Count, "supervised channels that were restarted too often and given up.";
    Counter ESCALATIONS = "ssh_supervised_escalations_total", Count, "connections ended because a supervised channel was restarted too often.";
    Gauge MANAGED = "ssh_managed_connections", Count, "managed connections that are not over.";
    Counter MANAGED_LOST = "ssh_managed_lost_total", Count, "how often a managed connection that was up was lost.";
    Histogram MANAGED_BACKOFF = "ssh_managed_backoff_seconds", Seconds, "pauses before a managed connection was tried again.";
    Counter POOL_EVENTS = "ssh_pool_events_total", Count, "what pools count, by `event`.";
    Gauge POOL_WAITING = "ssh_pool_waiting", Count, "callers and supervised channels that wait for a place in a pool.";
    Counter DAEMON_EVENTS = "ssh_daemon_events_total", Count, "what daemons count, by `event`.";
}

/// Tells the recorder that is installed what each metric means, and its unit. Call it once, after installing one.
#[cfg(feature = "metrics")]
pub fn describe() {
    for &(kind, name, unit, what) in LISTED {
        match kind {
            Kind::Counter => ::metrics::describe_counter!(name, unit, what),
            Kind::Gauge => ::metrics::describe_gauge!(name, unit, what),
            Kind::Histogram => ::metrics::describe_histogram!(name, unit, what),
        }
    }
}

type Label = (&'static str, &'static str);

/// Whether there is anybody to tell.
pub(crate) const fn is_on() -> bool {
    cfg!(feature = "metrics")
}

/// Counts so many.
#[cfg(feature = "metrics")]
pub(crate) fn count(name: &'static str, by: u64, labels: &[Label]) {
    if by > 0 {
        ::metrics::counter!(name, labels).increment(by);
    }
}

#[cfg(not(feature = "metrics"))]
pub(crate) const fn count(_: &'static str, _: u64, _: &[Label]) {}

/// One length of time.
#[cfg(feature = "metrics")]
pub(crate) fn took(name: &'static str, time: std::time::Duration, labels: &[Label]) {
    ::metrics::histogram!(name, labels).record(time.as_secs_f64());
}

#[cfg(not(feature = "metrics"))]
pub(crate) const fn took(_: &'static str, _: std::time::Duration, _: &[Label]) {}

/// A gauge has changed from one value to another.
#[cfg(feature = "metrics")]
pub(crate) fn shift(name: &'static str, from: usize, to: usize, labels: &[Label]) {
    if from != to {
        #[allow(clippy::cast_precision_loss, reason = "gauges are floats, and bytes stay below 2^52")]
        ::metrics::gauge!(name, labels).increment(to as f64 - from as f64);
    }
}

#[cfg(not(feature = "metrics"))]
pub(crate) const fn shift(_: &'static str, _: usize, _: usize, _: &[Label]) {}

/// Connecting took so long.
pub(crate) fn connected(since: Instant) {
    took(CONNECT_SECONDS, since.elapsed(), &[]);
}

/// Connecting failed.
pub(crate) fn not_connected(phase: Phase) {
    let phase = match phase {
        Phase::Config => "configuration",
        Phase::Dial => "dial",
        Phase::Version => "version exchange",
        Phase::Kex => "key exchange",
        _ => "authentication",
    };
    count(CONNECT_FAILURES, 1, &[("phase", phase)]);
}

/// One of a gauge's things, until it is dropped.
#[derive(Debug)]
pub(crate) struct Present {
    name: &'static str,
    label: Option<Label>,
}

impl Present {
    pub(crate) fn new(name: &'static str, label: Option<Label>) -> Self {
        let present = Self { name, label };
        shift(name, 0, 1, present.label.as_slice());
        present
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        shift(self.name, 1, 0, self.label.as_slice());
    }
}

/// Tells of one connection that is up, until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionMeter {
    side: Side,
    since: Instant,
    _present: Present,
    told: Counters,
    channels: usize,
}

impl ConnectionMeter {
    pub(crate) fn new(side: Side) -> Self {
        let role = ("role", side.name());
        count(CONNECTIONS_TOTAL, 1, &[role]);
        Self {
            side,
            since: Instant::now(),
            _present: Present::new(CONNECTIONS, Some(role)),
            told: Counters::default(),
            channels: 0,
        }
    }

    /// Tells what has changed.
    pub(crate) fn tell(&mut self, now: Counters, channels: usize) {
        let role = [("role", self.side.name())];
        let told = std::mem::replace(&mut self.told, now);
        let more = |name, before: u64, now: u64| count(name, now.saturating_sub(before), &role);
        more(RECEIVED, told.bytes_in, now.bytes_in);
        more(SENT, told.bytes_out, now.bytes_out);
        more(CHANNELS_TOTAL, told.channels_opened, now.channels_opened);
        more(CHANNELS_CLOSED, told.channels_closed, now.channels_closed);
        more(OPENS_FAILED, told.opens_failed, now.opens_failed);
        more(OPENS_REFUSED, told.opens_refused, now.opens_refused);
        more(REQUESTS_REFUSED, told.requests_refused, now.requests_refused);
        more(ACTORS_FAILED, told.actors_failed, now.actors_failed);
        more(STALLED, told.stalled, now.stalled);
        more(PAUSES, told.pauses, now.pauses);
        more(PAUSED, millis(told.paused_for), millis(now.paused_for));
        more(REKEYS, told.rekeys, now.rekeys);
        more(KEEPALIVES_SENT, told.keepalives_sent, now.keepalives_sent);
        more(KEEPALIVES_ANSWERED, told.keepalives_answered, now.keepalives_answered);
        shift(UNREAD, told.unread, now.unread, &role);
        shift(CHANNELS, self.channels, channels, &role);
        self.channels = channels;
    }

    /// The connection is down.
    pub(crate) fn ended(&self, why: &ConnectionError) {
        let role = ("role", self.side.name());
        count(CONNECTIONS_ENDED, 1, &[role, ("end", end(why))]);
        took(CONNECTION_SECONDS, self.since.elapsed(), &[role]);
    }

    /// The peer has confirmed a channel.
    pub(crate) fn opened(side: Side, since: Instant) {
        took(OPEN_SECONDS, since.elapsed(), &[("role", side.name())]);
    }
}

impl Drop for ConnectionMeter {
    /// The gauges go back, however the connection actor ends.
    fn drop(&mut self) {
        let told = Counters { unread: 0, ..self.told };
        self.tell(told, 0);
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const fn end(why: &ConnectionError) -> &'static str {
    match why {
        ConnectionError::Closed => "closed",
        ConnectionError::Disconnected { .. } => "disconnected",
        ConnectionError::Lost(_) => "lost",
        ConnectionError::PeerDead { .. } => "peer_dead",
        ConnectionError::WriteStalled { .. } => "write_stalled",
        ConnectionError::RekeyTimeout { .. } => "rekey_timeout",
        ConnectionError::Idle { .. } => "idle",
        ConnectionError::Expired { .. } => "expired",
        ConnectionError::Protocol(_) => "protocol",
        ConnectionError::Expelled(_) => "expelled",
        ConnectionError::ActorGone(_) => "actor_gone",
        ConnectionError::Unsupported(_) | ConnectionError::Abandoned(_) => "other",
    }
}
