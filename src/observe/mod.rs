//! Looking into a running house: facts, counters, channels, phases; one [`Tree`] of everything; and why something
//! stands still, in words.
//!
//! Every level has an `info()` with all that is known of it, and a `tree()` made from these, down to the channels:
//!
//! | asked | `info()` | `tree()` |
//! |---|---|---|
//! | [`DaemonRef`](crate::DaemonRef) | counters, [`sessions`](crate::DaemonRef::sessions) | daemon, connections, channels |
//! | [`Pool`](crate::Pool) | [`PoolInfo`](crate::pool::PoolInfo) | pool, hosts, managed connections, connections, supervised channels, channels |
//! | [`ManagedRef`](crate::ManagedRef) | [`ManagedInfo`](crate::managed::ManagedInfo) | managed connection, connection, supervised channels, channels |
//! | [`ConnectionRef`](crate::ConnectionRef) | [`ConnectionInfo`] | connection, supervised channels, channels |
//! | [`SupervisedRef`](crate::SupervisedRef) | [`SupervisedInfo`](crate::supervised::SupervisedInfo) | supervised channel, channel |
//! | [`ChannelHandle`](crate::ChannelHandle) | [`ChannelInfo`] | |
//! | [`Group`] | | whatever is in it |
//!
//! ```text
//! managed connection ci@build.example.org:22: connection 2 is up
//! ├─ connection ci 192.0.2.7:22: up (in 1.2 MiB, out 8.1 KiB)
//! │  └─ channel #4 uptime: open (in 0 B, out 0 B)
//! └─ supervised channel Tail: incarnation 3 is up
//!    └─ channel #3 tail -f /var/log/syslog: open, incarnation 3 (in 1.1 MiB, out 0 B)
//!         ! its behaviour has held one callback (`handle_ssh_msg`) for 12 s while 2.1 MiB wait
//! ```
//!
//! # What it costs
//! Asking is one message to each connection actor, and locks that are held for a copy. What is shown is noted by a store
//! where it happens, whether anybody looks or not. Nothing is kept for a channel that is over.
//!
//! # What cannot be seen
//! russh 0.65.1 shows the peer's window only as far as one packet, and our own only on the client; see
//! [`ChannelInfo::send_window`] and [`ChannelInfo::receive_window`]. Who has called for the open of a channel is not
//! known either.

mod channel;
mod gauges;
mod info;
mod nodes;
mod root;
mod stuck;
mod tree;
mod watch;
pub(crate) mod words;

pub use channel::{Awaited, COMMAND_LENGTH, Callback, ChannelInfo, Lineage, Pause, Running, Used};
pub(crate) use gauges::Gauges;
pub(crate) use info::Facts;
pub use info::{Algorithms, ChannelState, ConnectionInfo, Counters, PhaseEvent, Silence};
pub(crate) use root::within;
pub use root::{ANSWER_LIMIT, Group, Observe};
pub use stuck::STUCK_AFTER;
pub(crate) use tree::{BYTES_IN, BYTES_OUT};
pub use tree::{Fact, NodeKind, Tree, Value};
pub(crate) use watch::{Family, WatchList, Watched};
