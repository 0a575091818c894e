//! The snapshot of one channel, and what it is made of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId};

use super::info::ChannelState;
use crate::error::CloseReason;
use crate::wire::id::ChannelKey;

/// How much of a command, a subsystem's name or a target is shown: 200 bytes.
pub const COMMAND_LENGTH: usize = 200;

/// A channel, at one moment. The same whether the channel was asked
/// ([`ChannelHandle::info`](crate::ChannelHandle::info)) or its connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Which one.
    pub id: ChannelKey,
    /// The channel type on the wire.
    pub kind: &'static str,
    /// Where in its life it is.
    pub state: ChannelState,
    /// The name of its behaviour's type; empty while nobody knows what will run on it.
    pub behaviour: &'static str,
    /// What runs on it, once that was asked for: a command line, `shell`, `subsystem` with its name, or `to` with the
    /// target of a forwarding. Cut after [`COMMAND_LENGTH`] bytes. A command line may hold what is not for every eye.
    pub command: Option<Arc<str>>,
    /// The actor that runs it; none before the peer has confirmed the open.
    pub actor: Option<ActorCell>,
    /// The actor it ends with: a bare channel's owner, or the first one that was given to
    /// [`close_with`](crate::ChannelContext::close_with). Who called for the open is not known: it may be no actor.
    pub owner: Option<ActorId>,
    /// Which incarnation of a supervised channel it is, if it is one.
    pub supervised: Option<Lineage>,
    /// How long ago its open began.
    pub age: Duration,
    /// How long ago something was last sent or received.
    pub idle: Duration,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Bytes the peer may still send by our window. On the client, by russh's book, which grants anew when half of it
    /// is used, whether anything was consumed or not; not known on a server and of scripted connections.
    pub receive_window: Option<u64>,
    /// Bytes the peer takes in the next packet: what is left of its window, cut to its packet size, since russh shows no
    /// more. 0: the window is empty. Not known before the open is confirmed, and for a moment now and then.
    pub send_window: Option<u64>,
    /// What its whole connection has handed to the SSH library and not written yet.
    pub outbound: Option<Used>,
    /// Bytes received and not consumed, overhead included: those that wait and those whose credit was not given back.
    pub unread: usize,
    /// Events that wait for the behaviour.
    pub waiting: usize,
    /// Its receive budget.
    pub receive_budget: usize,
    /// Data is held back from the behaviour, because more than the high-water mark of its own output waits.
    pub withheld: bool,
    /// Bytes queued for sending.
    pub queued: usize,
    /// The mark above which senders wait.
    pub high_water: usize,
    /// While something is queued for sending: for how long nothing of it has left.
    pub standing: Option<Duration>,
    /// The oldest request of ours that was not answered.
    pub awaited: Option<Awaited>,
    /// The callback that runs at this moment.
    pub callback: Option<Running>,
    /// Whether its actor has ended.
    pub ended: bool,
    /// Whether nothing of it is left on the wire.
    pub gone: bool,
    /// How long ago our CLOSE was sent.
    pub closing: Option<Duration>,
    /// Why nothing can be sent any more; `None` while it can.
    pub closed: Option<CloseReason>,
    /// For how long it has held up the connection in total; from nothing again whenever its consumer has taken a whole
    /// budget.
    pub held_up: Duration,
    /// How often reading of the whole connection has stopped because of it.
    pub pauses: u64,
    /// Reading of its connection has stopped at this moment.
    pub pause: Option<Pause>,
}

/// Which life of a supervised channel a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lineage {
    /// The actor that supervises it.
    pub supervisor: ActorId,
    /// Which incarnation, counted from 1.
    pub incarnation: u64,
    /// How often it was restarted before.
    pub restarts: u64,
}

impl Lineage {
    pub(crate) const fn new(supervisor: ActorId, incarnation: u64, restarts: u64) -> Self {
        Self { supervisor, incarnation, restarts }
    }
}

/// How much of a budget is used, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Used {
    /// So much is.
    pub used: usize,
    /// So much may be.
    pub limit: usize,
}

impl Used {
    pub(crate) const fn new(used: usize, limit: usize) -> Self {
        Self { used, limit }
    }
}

/// A time in which a connection does not read, because too much is unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pause {
    /// For how long it has lasted.
    pub since: Duration,
    /// The channel that holds most of what is unread, as found when the connection last looked.
    pub culprit: Option<ChannelKey>,
    /// Unread bytes of the whole connection, and how many may be.
    pub unread: Used,
}

impl Pause {
    pub(crate) const fn new(since: Duration, culprit: Option<ChannelKey>, unread: Used) -> Self {
        Self { since, culprit, unread }
    }
}

/// A request of ours that the peer has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Awaited {
    /// Its name on the wire.
    pub request: String,
    /// For how long.
    pub since: Duration,
    /// Whoever asked does not wait any more.
    pub given_up: bool,
}

/// A callback that has not returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// Which one.
    pub callback: Callback,
    /// For how long it has been running.
    pub since: Duration,
}

/// A callback of a behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Callback {
    /// `init`
    Init,
    /// `handle_ssh_msg`
    HandleSshMsg,
    /// `handle_msg`
    HandleMsg,
    /// `terminate`
    Terminate,
}

impl Callback {
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Init => 1,
            Self::HandleSshMsg => 2,
            Self::HandleMsg => 3,
            Self::Terminate => 4,
        }
    }

    pub(crate) const fn by_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Init,
            2 => Self::HandleSshMsg,
            3 => Self::HandleMsg,
            4 => Self::Terminate,
            _ => return None,
        })
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "init",
            Self::HandleSshMsg => "handle_ssh_msg",
            Self::HandleMsg => "handle_msg",
            Self::Terminate => "terminate",
        })
    }
}
