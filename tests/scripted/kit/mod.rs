//! What the tests share: a behaviour that tells what happens to it and does what it is told.

mod probe;

use std::future::Future;
use std::time::Duration;

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{CloseReason, OpenError, StopReason};
use ractor_ssh::observe::ConnectionInfo;
use ractor_ssh::test_util::{ScriptConfig, ScriptedChannel, ScriptedPeer, scripted};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{ChannelMsg, ChannelRef, ConnectionRef};

pub use probe::{Act, Events, Order, Probe, Seen};

pub const SECOND: Duration = Duration::from_secs(1);

/// One channel, seen from all sides.
pub struct Channel {
    pub here: ChannelRef<Probe>,
    pub events: Events,
    pub there: ScriptedChannel,
}

pub async fn plain() -> (ConnectionRef, ScriptedPeer) {
    scripted(ScriptConfig::new()).await
}

/// Opens a channel with a behaviour that does nothing.
pub async fn open(conn: &ConnectionRef, peer: &mut ScriptedPeer) -> Channel {
    let (probe, events) = Probe::new();
    open_with(conn, peer, ChannelOptions::new(), probe, events).await
}

pub async fn open_with(
    conn: &ConnectionRef,
    peer: &mut ScriptedPeer,
    options: ChannelOptions,
    probe: Probe,
    events: Events,
) -> Channel {
    let opening = conn.open_channel(OpenRequest::Session, options, probe);
    let (here, there) = tokio::join!(opening, async { peer.expect_open().await.confirm() });
    Channel { here: here.unwrap(), events, there }
}

/// As [`open_with`], with the window and packet size of the peer.
pub async fn open_window(
    conn: &ConnectionRef,
    peer: &mut ScriptedPeer,
    options: ChannelOptions,
    (window, max_packet): (u32, u32),
) -> Channel {
    let (probe, events) = Probe::new();
    let opening = conn.open_channel(OpenRequest::Session, options, probe);
    let (here, there) =
        tokio::join!(opening, async { peer.expect_open().await.confirm_with(window, max_packet) });
    Channel { here: here.unwrap(), events, there }
}

/// Starts opening in a task; for opens that are not confirmed at once.
pub fn opening(
    conn: &ConnectionRef,
    probe: Probe,
) -> tokio::task::JoinHandle<Result<ChannelRef<Probe>, OpenError>> {
    let conn = conn.clone();
    tokio::spawn(async move { conn.session_channel(probe).await })
}

/// Everything that can happen without time passing has happened when this returns.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Fails the test when `work` takes longer than `limit` of the paused clock.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("took longer than {limit:?}"))
}

/// Nothing is left of any channel.
pub async fn assert_clean(conn: &ConnectionRef, peer: &ScriptedPeer) {
    settle().await;
    let info = conn.info().await.unwrap();
    assert!(info.channels.is_empty(), "{:#?}", info.channels);
    assert_eq!(info.counters.unread, 0, "budget not given back");
    assert_eq!(info.counters.channels_opened, info.counters.channels_closed);
    assert_eq!(conn.actor().get_children().len(), 0, "actors left");
    assert_eq!(peer.open_channels(), 0, "channels left at the peer");
}

/// The channel works in both directions.
pub async fn assert_alive(channel: &mut Channel) {
    channel.there.data("are you there");
    assert_eq!(channel.events.data().await, "are you there");
    channel.here.send("yes").await.unwrap();
    assert_eq!(channel.there.expect_data().await, "yes");
}

pub async fn info(conn: &ConnectionRef) -> ConnectionInfo {
    settle().await;
    conn.info().await.unwrap()
}

/// The one `Closed` of a channel, and the end of its actor; whatever came before is passed over.
pub async fn closed(channel: &mut Channel) -> CloseReason {
    let mut reason = None;
    for seen in channel.events.rest().await {
        match seen {
            Seen::Msg(ChannelMsg::Closed { reason: why }) => {
                assert!(reason.replace(why).is_none(), "Closed twice");
            }
            Seen::Terminate(StopReason::Closed(_)) => assert!(reason.is_some()),
            other => assert!(reason.is_none(), "{other:?} after Closed"),
        }
    }
    reason.expect("no Closed")
}
