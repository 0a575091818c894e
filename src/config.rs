//! Deadlines, limits and policies, with their defaults.
//!
//! Plain values; whoever uses them checks them first with `check`.

use std::time::Duration;

use crate::error::ConfigError;

/// How long each step may take. No public call waits for ever by default.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Making the byte stream. Default 30 s.
    pub dial: Duration,
    /// The exchange of identification strings. Default 10 s.
    pub version: Duration,
    /// The first key exchange, without the time a host key callback takes. Default 30 s.
    pub kex: Duration,
    /// Authentication, prompts included. Default 120 s.
    pub auth: Duration,
    /// An answer to SSH_MSG_CHANNEL_OPEN. Default 30 s.
    pub open: Duration,
    /// An answer to a channel request. Default 30 s.
    pub request: Duration,
    /// Room in the outbound queue for `ChannelRef::send`. Default 30 s.
    pub send: Duration,
    /// A graceful close: first for what is queued, then for the peer's CLOSE. Default 10 s.
    pub close: Duration,
    /// A key re-exchange, from our KEXINIT on. While much arrives on many channels it takes its time before that. Default 60 s.
    pub rekey: Duration,
    /// The socket taking nothing while output waits. Default 30 s.
    pub write_stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(30),
            version: Duration::from_secs(10),
            kex: Duration::from_secs(30),
            auth: Duration::from_secs(120),
            open: Duration::from_secs(30),
            request: Duration::from_secs(30),
            send: Duration::from_secs(30),
            close: Duration::from_secs(10),
            rekey: Duration::from_secs(60),
            write_stall: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    /// Looks at every value.
    ///
    /// # Errors
    /// Names the first limit of 0, which nothing could meet.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("timeouts.dial", self.dial),
            ("timeouts.version", self.version),
            ("timeouts.kex", self.kex),
            ("timeouts.auth", self.auth),
            ("timeouts.open", self.open),
            ("timeouts.request", self.request),
            ("timeouts.send", self.send),
            ("timeouts.close", self.close),
            ("timeouts.rekey", self.rekey),
            ("timeouts.write_stall", self.write_stall),
        ];
        match limits.into_iter().find(|(_, limit)| limit.is_zero()) {
            Some((field, _)) => {
                Err(ConfigError::new(field, "is 0", "give a time, Duration::MAX for no limit"))
            }
            None => Ok(()),
        }
    }
}

/// How a peer that has gone silent is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keepalive {
    /// Ask after this much silence. Zero turns keepalive off. Default 30 s.
    pub interval: Duration,
    /// Give up after this many intervals without a sound; at the end of each but the last, a question is asked.
    /// Default 3.
    pub max_missed: u32,
}

impl Keepalive {
    /// Asks after every `interval` of silence, gives up after `max_missed` of them.
    #[must_use]
    pub const fn new(interval: Duration, max_missed: u32) -> Self {
        Self { interval, max_missed }
    }

    /// No keepalive: a dead peer is noticed only when the operating system notices.
    #[must_use]
    pub const fn off() -> Self {
        Self { interval: Duration::ZERO, max_missed: 0 }
    }
}

impl Keepalive {
    /// Looks at the values.
    ///
    /// # Errors
    /// Only one interval: the peer would be given up without having been asked.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.interval.is_zero() && self.max_missed == 1 {
            return Err(ConfigError::new(
                "keepalive.max_missed",
                "is 1: a silent peer would be given up without being asked",
                "give at least 2, or `Keepalive::off()`",
            ));
        }
        Ok(())
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self::new(Duration::from_secs(30), 3)
    }
}

/// When keys are exchanged anew (RFC 4253 section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RekeyLimit {
    /// After this many bytes, both directions counted apart. Default 1 GiB.
    pub bytes: u64,
    /// After this much time. Default 1 h.
    pub time: Duration,
}

impl RekeyLimit {
    /// After `bytes` in either direction or after `time`, whichever comes first.
    #[must_use]
    pub const fn new(bytes: u64, time: Duration) -> Self {
        Self { bytes, time }
    }

    /// Somebody else sees to it.
    #[cfg(feature = "server")]
    pub(crate) const fn never() -> Self {
        Self::new(u64::MAX, Duration::from_secs(100 * 365 * 24 * 3600))
    }
}

impl RekeyLimit {
    /// Looks at the values.
    ///
    /// # Errors
    /// A limit of 0 would do nothing but exchange keys.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zero = |field: &str, fix: &str| Err(ConfigError::new(field, "is 0", fix));
        if self.bytes == 0 {
            return zero("rekey.bytes", "give at least 1 byte; u64::MAX for no limit by bytes");
        }
        if self.time.is_zero() {
            return zero("rekey.time", "give a time; Duration::MAX for no limit by time");
        }
        Ok(())
    }
}

impl Default for RekeyLimit {
    fn default() -> Self {
        Self::new(1 << 30, Duration::from_secs(3600))
    }
}

/// When a connection ends although both sides are well. Everything is as good as never by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LifeLimits {
    /// So long after it came up, if no channel was opened.
    pub(crate) first_channel: Duration,
    /// So long after its last channel ended.
    pub(crate) unused: Duration,
    /// So long after it came up, whatever it does.
    pub(crate) lifetime: Duration,
}

impl Default for LifeLimits {
    fn default() -> Self {
        Self { first_channel: Duration::MAX, unused: Duration::MAX, lifetime: Duration::MAX }
    }
}

impl LifeLimits {
    /// Names the first limit of 0, which nothing could meet.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("initial_idle_timeout", self.first_channel),
            ("idle_timeout", self.unused),
            ("max_lifetime", self.lifetime),
        ];
        match limits.into_iter().find(|(_, limit)| limit.is_zero()) {
            Some((field, _)) => {
                Err(ConfigError::new(field, "is 0", "give a time, Duration::MAX for no limit"))
            }
            None => Ok(()),
        }
    }
}

/// Bounds on what one connection may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Channels at a time, opening and closing ones included. Default 4,096.
    pub max_channels: usize,
    /// Received and not yet consumed bytes of all channels together; beyond, reading stops. Default 64 MiB.
    pub inbound_budget: usize,
    /// Bytes handed to the SSH library and not yet written to the socket. Default 1 MiB.
    pub outbound_budget: usize,
    /// Receive window of every channel, in bytes. One value a connection, because russh has one.
    /// Default 2 MiB.
    pub window: u32,
    /// Largest packet payload we accept, in bytes; one value a connection. Default 32 KiB, at most 65,535.
    pub max_packet: u32,
    /// How long the connection may have stood still in total, while one channel held more than its receive
    /// budget, before that channel is ended. Default 30 s.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_channels: 4096,
            inbound_budget: 64 << 20,
            outbound_budget: 1 << 20,
            window: 2 << 20,
            max_packet: 32 << 10,
            stall_timeout: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// As the default, but for a server: 64 channels a connection.
    #[must_use]
    pub fn server() -> Self {
        Self { max_channels: 64, ..Self::default() }
    }

    /// Looks at every value.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zero =
            |field: &str, unit: &str| Err(ConfigError::new(field, "is 0", format!("give at least 1 {unit}")));
        if self.max_channels == 0 {
            return zero("max_channels", "channel");
        }
        if self.inbound_budget == 0 {
            return zero("inbound_budget", "byte");
        }
        if self.outbound_budget == 0 {
            return zero("outbound_budget", "byte");
        }
        if self.window == 0 {
            return zero("window", "byte (the default is 2 MiB)");
        }
        if self.max_packet == 0 {
            return zero("max_packet", "byte (the default is 32 KiB)");
        }
        if self.stall_timeout.is_zero() {
            return zero("stall_timeout", "millisecond (the default is 30 s)");
        }
        if self.max_packet > 65_535 {
            return Err(ConfigError::new(
                "max_packet",
                format!("is {}", self.max_packet),
                "give at most 65535 bytes, russh refuses larger packets",
            ));
        }
        Ok(())
    }
}

/// How often something may happen: a steady rate, and how much of it may come at once.
///
/// Ten times as much ends the connection: that is no busy peer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    /// `per_second` in the long run, `burst` at once after a pause.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    /// No limit at all.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(u32::MAX, u32::MAX)
    }

    /// In the long run.
    #[must_use]
    pub const fn per_second(&self) -> u32 {
        self.per_second
    }

    /// At once.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    #[cfg(feature = "server")]
    pub(crate) const fn is_zero(&self) -> bool {
        self.per_second == 0 || self.burst == 0
    }
}

/// What happens when a channel's consumer is slower than its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// Unread bytes count against the connection. When they reach its budget, the whole connection stops
    /// reading until some are consumed; a channel that held more than its receive budget for the stall
    /// timeout in total, and took less than that budget meanwhile, is ended with `Stalled`. A consumer that is
    /// slow but alive slows its connection to its own pace; alone on its connection, it may be as slow as it
    /// likes, and is ended only when it took nothing for the stall timeout.
    #[default]
    Pause,
    /// The channel is ended as soon as it holds more than its receive budget.
    Fail,
    /// As `Pause`, but when reading has stopped, and the channel is not alone on its connection, it is ended with
    /// `Stalled` as soon as its consumer has taken nothing for so long, or next to nothing: at once, if that time has
    /// passed already. Its time begins anew with every 4 KiB that it takes (all of its receive budget, if that is
    /// less), and with what comes when it has taken everything: it must be that fast, on average, for as long as it
    /// holds its siblings up. Of several, those that hold most go first, and only as many as it takes for reading to go on. For channels whose
    /// siblings matter more than they do, like the connections of a [forward](crate::forward).
    Yield(Duration),
    /// The channel has a connection of its own, to the same target with the same authentication: it can
    /// neither disturb nor be disturbed.
    Isolate,
}

/// Who returns receive credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WindowAdjust {
    /// The framework, after the callback that got the data has returned.
    #[default]
    Automatic,
    /// The behaviour, by `adjust_window(bytes)`.
    Manual,
}

/// How one channel is run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelOptions {
    /// Bytes the channel may hold unread: its share of the connection's budget. Default 2 MiB.
    pub receive_budget: usize,
    /// Outbound queue above which inbound data is withheld from the behaviour and `ChannelRef::send` waits.
    /// Default 1 MiB.
    pub high_water: usize,
    /// What happens when the consumer is slow.
    pub slow_consumer: SlowConsumer,
    /// Who returns receive credit.
    pub window_adjust: WindowAdjust,
    /// Replaces [`Timeouts::open`].
    pub open_timeout: Option<Duration>,
    /// Replaces [`Timeouts::request`].
    pub request_timeout: Option<Duration>,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            receive_budget: 2 << 20,
            high_water: 1 << 20,
            slow_consumer: SlowConsumer::default(),
            window_adjust: WindowAdjust::default(),
            open_timeout: None,
            request_timeout: None,
        }
    }
}

impl ChannelOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the receive budget, in bytes.
    #[must_use]
    pub const fn receive_budget(mut self, bytes: usize) -> Self {
        self.receive_budget = bytes;
        self
    }

    /// Sets the high-water mark of the outbound queue, in bytes.
    #[must_use]
    pub const fn high_water(mut self, bytes: usize) -> Self {
        self.high_water = bytes;
        self
    }

    /// Sets what happens when the consumer is slow.
    #[must_use]
    pub const fn slow_consumer(mut self, policy: SlowConsumer) -> Self {
        self.slow_consumer = policy;
        self
    }

    /// Sets who returns receive credit.
    #[must_use]
    pub const fn window_adjust(mut self, by: WindowAdjust) -> Self {
        self.window_adjust = by;
        self
    }

    /// Sets how long the peer may take to answer the open.
    #[must_use]
    pub const fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = Some(limit);
        self
    }

    /// Sets how long the peer may take to answer each request.
    #[must_use]
    pub const fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = Some(limit);
        self
    }

    /// Looks at every value.
    ///
    /// # Errors
    /// Names the first value that cannot work, and the way out.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.receive_budget == 0 {
            return Err(ConfigError::new("receive_budget", "is 0", "give at least 1 byte"));
        }
        if self.slow_consumer == SlowConsumer::Yield(Duration::ZERO) {
            let fix = "give a time, or `SlowConsumer::Fail`";
            return Err(ConfigError::new("slow_consumer", "yields after no time at all", fix));
        }
        if self.high_water == 0 {
            return Err(ConfigError::new("high_water", "is 0", "give at least 1 byte"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_and_named() {
        let named = |outcome: Result<(), ConfigError>| outcome.unwrap_err().field;
        assert_eq!(named(Limits { window: 0, ..Limits::default() }.check()), "window");
        assert_eq!(named(Limits { max_packet: 65_536, ..Limits::default() }.check()), "max_packet");
        assert_eq!(
            named(Limits { stall_timeout: Duration::ZERO, ..Limits::default() }.check()),
            "stall_timeout"
        );
        assert_eq!(named(Timeouts { kex: Duration::ZERO, ..Timeouts::default() }.check()), "timeouts.kex");
        assert_eq!(named(RekeyLimit::new(0, Duration::MAX).check()), "rekey.bytes");
        assert_eq!(named(RekeyLimit::new(1, Duration::ZERO).check()), "rekey.time");
        assert_eq!(named(Keepalive::new(Duration::MAX, 1).check()), "keepalive.max_missed");
        assert_eq!(named(ChannelOptions::new().receive_budget(0).check()), "receive_budget");
        let hasty = SlowConsumer::Yield(Duration::ZERO);
        assert_eq!(named(ChannelOptions::new().slow_consumer(hasty).check()), "slow_consumer");
    }

    #[test]
    fn the_defaults_work() {
        assert_eq!(Limits::default().check(), Ok(()));
        assert_eq!(Timeouts::default().check(), Ok(()));
        assert_eq!(RekeyLimit::default().check(), Ok(()));
        assert_eq!(Keepalive::default().check(), Ok(()));
        assert_eq!(ChannelOptions::default().check(), Ok(()));
    }
}
