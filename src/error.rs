//! The errors of this crate: one enum per operation, and questions to ask of them.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::wire::codes::{DisconnectCode, OpenFailureReason};

pub use crate::wire::invalid::ConfigError;

/// Any error, as behaviours return it and as sources are kept.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// Who caused an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The caller: a wrong argument, a wrong order, a local file, our own deadline or stop.
    Local,
    /// The peer, or the network between.
    Remote,
    /// This crate or the SSH library underneath.
    Library,
}

/// A stage in the life of a connection; errors and events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Arguments are looked at, files are read.
    Config,
    /// The byte stream is being made.
    Dial,
    /// Identification strings are exchanged (RFC 4253 section 4.2).
    Version,
    /// Keys are exchanged and the host key is checked (RFC 4253 sections 7 and 8).
    Kex,
    /// The user is authenticated (RFC 4252).
    Auth,
    /// Channels can be opened.
    Up,
    /// No new channels; the open ones may finish.
    Draining,
    /// The connection is gone.
    Down,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "configuration",
            Self::Dial => "dial",
            Self::Version => "version exchange",
            Self::Kex => "key exchange",
            Self::Auth => "authentication",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        })
    }
}

/// Why an established connection ended. Clonable: every channel of the connection gets it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// We closed it: `close()`, `shutdown()`, or the last handle was dropped.
    #[error("the connection was closed on our side")]
    Closed,
    /// The peer sent SSH_MSG_DISCONNECT (RFC 4253 section 11.1).
    #[error("the peer disconnected (code {}): {description}", .code.0)]
    Disconnected {
        /// Its reason code.
        code: DisconnectCode,
        /// Its text.
        description: String,
    },
    /// The byte stream ended or failed.
    #[error("the connection was lost: {0}")]
    Lost(Arc<str>),
    /// No answer to `missed` keepalives in a row.
    #[error("the peer has not answered {missed} keepalives in a row ({after:?})")]
    PeerDead {
        /// How many went unanswered.
        missed: u32,
        /// For how long nothing was heard.
        after: Duration,
    },
    /// The socket took no byte of ours for too long.
    #[error("the peer has read nothing for {after:?} while output was waiting")]
    WriteStalled {
        /// The limit that was reached.
        after: Duration,
    },
    /// A key re-exchange did not complete in time.
    #[error("key re-exchange did not complete within {after:?}")]
    RekeyTimeout {
        /// The limit that was reached.
        after: Duration,
    },
    /// It had no channel for too long, and we ended it.
    #[error("the connection had no channel for {after:?}")]
    Idle {
        /// The limit that was reached.
        after: Duration,
    },
    /// It was up for as long as it may be, and we ended it.
    #[error("the connection has reached its greatest age of {after:?}")]
    Expired {
        /// The limit that was reached.
        after: Duration,
    },
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(Arc<str>),
    /// A daemon ended it because its peer did too much of something; says of what.
    #[error("the peer was turned out: {0}")]
    Expelled(&'static str),
    /// Not an end: what was asked for is beyond the SSH library.
    #[error("{0} is not supported by the transport")]
    Unsupported(Arc<str>),
    /// The connection actor was killed or crashed.
    #[error("the connection actor ended: {0}")]
    ActorGone(Arc<str>),
    /// A managed connection is away, and will not be made again.
    #[error("the connection will not be made again: {0}")]
    Abandoned(Arc<str>),
}

impl ConnectionError {
    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Closed | Self::Idle { .. } | Self::Expired { .. } => Origin::Local,
            Self::ActorGone(_) | Self::Unsupported(_) => Origin::Library,
            _ => Origin::Remote,
        }
    }

    /// Whether connecting again may help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::Closed | Self::Abandoned(_) | Self::Unsupported(_))
    }
}

/// Why a channel could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A wrong argument.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The peer refused (SSH_MSG_CHANNEL_OPEN_FAILURE, RFC 4254 section 5.1).
    #[error("the peer refused the channel ({reason}): {description}")]
    Refused {
        /// Its reason code.
        reason: OpenFailureReason,
        /// Its text.
        description: String,
    },
    /// Our own limit on channels per connection.
    #[error("the connection already has {limit} channels; raise `max_channels` or close some")]
    TooManyChannels {
        /// The limit.
        limit: usize,
    },
    /// The peer neither confirmed nor refused in time. If it confirms later, the channel is closed.
    #[error("the peer did not answer the open within {after:?}")]
    Timeout {
        /// The limit that was reached.
        after: Duration,
    },
    /// The connection is draining and opens nothing new.
    #[error("the connection is shutting down")]
    Draining,
    /// The behaviour's `init` failed or panicked; the channel was closed.
    #[error("init failed: {0}")]
    Init(Arc<str>),
    /// The transport cannot open this kind of channel.
    #[error("{what} is not supported by the transport")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// An isolated channel's own connection could not be made.
    #[error("the channel's own connection failed: {0}")]
    Isolate(Arc<str>),
    /// A managed connection did not come up in time. Nothing was sent.
    #[error("no connection: {0}")]
    NoConnection(Arc<str>),
    /// Too many callers wait for a place on a pool's connections to this host. Nothing was sent.
    #[error("{bound} callers wait for a place on the pool's connections already")]
    QueueFull {
        /// How many may wait.
        bound: usize,
    },
    /// A pool had no place on a connection to this host in time. Nothing was sent.
    #[error("no place on the pool's connections within {after:?}: {why}")]
    NoTurn {
        /// The limit that was reached.
        after: Duration,
        /// What it waited for.
        why: Arc<str>,
    },
    /// The pool is closed, or being shut down. Nothing was sent.
    #[error("the pool is closed")]
    PoolClosed,
    /// The connection ended.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl OpenError {
    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Refused { .. }
            | Self::Timeout { .. }
            | Self::Isolate(_)
            | Self::NoConnection(_)
            | Self::NoTurn { .. } => Origin::Remote,
            Self::Unsupported { .. } => Origin::Library,
            Self::Connection(e) => e.origin(),
            _ => Origin::Local,
        }
    }

    /// Whether the same call may succeed later on the same connection.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                reason: OpenFailureReason::AdministrativelyProhibited
                    | OpenFailureReason::ResourceShortage
                    | OpenFailureReason::ConnectFailed,
                ..
            } | Self::TooManyChannels { .. }
                | Self::Timeout { .. }
                | Self::NoConnection(_)
                | Self::QueueFull { .. }
                | Self::NoTurn { .. }
        )
    }
}

/// Why a server does not listen for us, or not listen no more (RFC 4254 section 7.1).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// A wrong argument.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server refused (SSH_MSG_REQUEST_FAILURE, RFC 4254 section 4), which has no reason: it may not allow it, or the
    /// address may be in use there.
    #[error("the server refused, for {what}")]
    Refused {
        /// What was asked for.
        what: String,
    },
    /// The same was asked for on this connection already, and stands.
    #[error("this connection has asked for {what} already; cancel that first")]
    InUse {
        /// What was asked for.
        what: String,
    },
    /// The server did not answer in time. If it agrees later, that is cancelled.
    #[error("the server did not answer within {after:?}")]
    Timeout {
        /// The limit that was reached.
        after: Duration,
    },
    /// The server was to choose a port, agreed, and did not say which.
    #[error("the server did not say which port it has chosen")]
    NoPort,
    /// This side of the connection is the server.
    #[error("a server cannot ask its client to listen")]
    NotAClient,
    /// The connection is draining and begins nothing new.
    #[error("the connection is shutting down")]
    Draining,
    /// The connection ended.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl ListenError {
    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Refused { .. } | Self::Timeout { .. } | Self::NoPort => Origin::Remote,
            Self::Connection(e) => e.origin(),
            _ => Origin::Local,
        }
    }

    /// Whether the same call may succeed later on the same connection.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Timeout { .. } | Self::InUse { .. })
    }
}

/// Why a channel request (RFC 4254 section 5.4) did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A wrong argument.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The peer answered SSH_MSG_CHANNEL_FAILURE.
    #[error("the peer refused the {request} request")]
    Refused {
        /// The request's name on the wire.
        request: String,
    },
    /// No answer in time. A late answer is swallowed and never given to a later request.
    #[error("the peer did not answer the {request} request within {after:?}")]
    Timeout {
        /// The request's name on the wire.
        request: String,
        /// The limit that was reached.
        after: Duration,
    },
    /// The channel is closed, or was closed before the answer came.
    #[error("the channel is closed ({0})")]
    Closed(CloseReason),
    /// The transport cannot send this request.
    #[error("{what} is not supported by the transport")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
}

impl RequestError {
    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Config(_) => Origin::Local,
            Self::Refused { .. } | Self::Timeout { .. } => Origin::Remote,
            Self::Closed(reason) => reason.origin(),
            Self::Unsupported { .. } => Origin::Library,
        }
    }
}

/// Why data was not sent. The data comes back.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}")]
#[non_exhaustive]
pub struct SendError {
    /// What happened.
    pub kind: SendErrorKind,
    /// The bytes that were not taken: all of them, a send is taken whole or not at all.
    pub data: Bytes,
}

/// What kept data from being sent.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// `send_eof` was called before.
    #[error("end of file was already sent on this channel")]
    AfterEof,
    /// The channel is closed.
    #[error("the channel is closed ({0})")]
    Closed(CloseReason),
    /// No room in the channel's outbound queue in time.
    #[error("no room in the outbound queue within {after:?}; the peer is not reading")]
    Timeout {
        /// The limit that was reached.
        after: Duration,
    },
}

impl SendError {
    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match &self.kind {
            SendErrorKind::AfterEof => Origin::Local,
            SendErrorKind::Closed(reason) => reason.origin(),
            SendErrorKind::Timeout { .. } => Origin::Remote,
        }
    }
}

/// Why a channel is over: carried by `ChannelMsg::Closed` and by every error after it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent SSH_MSG_CHANNEL_CLOSE (RFC 4254 section 5.3).
    #[error("closed by the peer")]
    Peer,
    /// We closed it.
    #[error("closed on our side")]
    Local,
    /// The behaviour stopped, failed or panicked, or its actor was killed.
    #[error("the channel actor ended: {0}")]
    ActorEnded(Arc<str>),
    /// The channel held more than its share of the connection's budget for too long.
    #[error("the consumer held up the connection: {held} bytes unread for {after:?}")]
    Stalled {
        /// Unread bytes at that moment.
        held: usize,
        /// The limit that was reached.
        after: Duration,
    },
    /// The channel went over its receive budget under the policy `Fail`.
    #[error("{held} bytes unread, over the receive budget of {budget}")]
    OverBudget {
        /// Unread bytes at that moment.
        held: usize,
        /// The budget.
        budget: usize,
    },
    /// The connection ended.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl CloseReason {
    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Peer => Origin::Remote,
            Self::Connection(e) => e.origin(),
            _ => Origin::Local,
        }
    }
}

/// Why a channel actor ended; what `terminate` is given and `ChannelRef::wait` returns.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// The behaviour asked for it (`Next::Stop`).
    #[error("stopped by the behaviour")]
    Normal,
    /// The behaviour asked for it, and said why (`Next::StopBecause`).
    #[error("stopped by the behaviour: {0}")]
    Because(&'static str),
    /// The channel is over, and `Closed` was handled.
    #[error("the channel is over: {0}")]
    Closed(CloseReason),
    /// Somebody stopped the actor from outside.
    #[error("stopped from outside: {0}")]
    Stopped(Arc<str>),
    /// A callback returned an error.
    #[error("{callback} failed: {error}")]
    Failed {
        /// Which callback.
        callback: &'static str,
        /// Its error, in words.
        error: Arc<str>,
    },
    /// A callback panicked.
    #[error("{callback} panicked: {message}")]
    Panicked {
        /// Which callback.
        callback: &'static str,
        /// The panic's message.
        message: Arc<str>,
    },
    /// The actor was killed; `terminate` was not called.
    #[error("killed")]
    Killed,
}

impl StopReason {
    /// Whether this is an ordinary end, after which a `Transient` child is not restarted.
    #[must_use]
    pub const fn is_normal(&self) -> bool {
        matches!(self, Self::Normal | Self::Because(_) | Self::Closed(CloseReason::Peer | CloseReason::Local))
    }
}

/// Why a call to a channel actor got no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The channel actor is gone.
    #[error("the channel actor is gone")]
    Closed,
    /// The behaviour dropped the reply port without answering.
    #[error("the behaviour dropped the reply port")]
    NoReply,
    /// No answer in time.
    #[error("no answer within {after:?}")]
    Timeout {
        /// The limit that was reached.
        after: Duration,
    },
}

macro_rules! io_error {
    ($($error:ty => |$e:ident| $kind:expr;)*) => {$(
        impl From<$error> for std::io::Error {
            fn from($e: $error) -> Self {
                Self::new($kind, $e)
            }
        }
    )*};
}

impl CloseReason {
    /// Whether the same may succeed on a new channel.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_retryable(),
            Self::Peer | Self::Local => false,
            _ => true,
        }
    }
}

impl RequestError {
    /// Whether the same request may succeed later, on the same channel or, where that is closed, on a new one.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Closed(reason) => reason.is_retryable(),
            _ => false,
        }
    }
}

impl SendError {
    /// Whether the same send may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, SendErrorKind::Timeout { .. })
    }
}

impl CallError {
    /// Who caused it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        Origin::Local
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}

impl CloseReason {
    const fn io_kind(&self) -> std::io::ErrorKind {
        match self {
            Self::Connection(ConnectionError::PeerDead { .. } | ConnectionError::WriteStalled { .. }) => {
                std::io::ErrorKind::TimedOut
            }
            Self::Connection(_) => std::io::ErrorKind::ConnectionReset,
            _ => std::io::ErrorKind::BrokenPipe,
        }
    }
}

io_error! {
    SendError => |e| match &e.kind {
        SendErrorKind::Timeout { .. } => std::io::ErrorKind::TimedOut,
        SendErrorKind::Closed(reason) => reason.io_kind(),
        SendErrorKind::AfterEof => std::io::ErrorKind::BrokenPipe,
    };
    CloseReason => |e| e.io_kind();
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
