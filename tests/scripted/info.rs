//! What can be seen of a connection and its channels.

use ractor_ssh::error::Phase;
use ractor_ssh::observe::ChannelState;
use ractor_ssh::wire::codes::OpenFailureReason;

use crate::kit::{Act, Order, Probe, assert_clean, closed, info, open, opening, plain};

#[tokio::test(start_paused = true)]
async fn a_connection_shows_its_channels_and_their_counters() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.there.data("12345");
    channel.there.stderr("678");
    channel.here.send("abcd").await.unwrap();
    channel.there.expect_data().await;
    let now = info(&conn).await;
    assert_eq!(now.phase, Phase::Up);
    assert_eq!(now.user, "scripted");
    assert!(now.peer_version.starts_with("SSH-2.0-"));
    let [seen] = &now.channels[..] else { panic!("{:?}", now.channels) };
    assert_eq!(seen.id, channel.here.id());
    assert_eq!(seen.kind, "session");
    assert_eq!(seen.state, ChannelState::Open);
    assert!(seen.behaviour.ends_with("Probe"), "{}", seen.behaviour);
    assert_eq!((seen.bytes_in, seen.bytes_out), (8, 4));
    assert_eq!((seen.unread, seen.queued), (0, 0));
    assert_eq!(seen.receive_budget, 2 << 20);
}

#[tokio::test(start_paused = true)]
async fn counters_of_the_connection_only_grow_and_add_up() {
    let (conn, mut peer) = plain().await;
    let before = info(&conn).await.counters;
    let mut one = open(&conn, &mut peer).await;
    let two = open(&conn, &mut peer).await;
    let refused = opening(&conn, Probe::new().0);
    peer.expect_open().await.refuse(OpenFailureReason::ConnectFailed, "");
    refused.await.unwrap().unwrap_err();
    one.there.data(vec![0; 1000]);
    one.there.close();
    closed(&mut one).await;
    two.here.cast(Order::new(|_| Act::Panic)).unwrap();
    two.here.wait().await;
    two.there.close();
    let after = info(&conn).await.counters;
    assert!(after.bytes_in >= before.bytes_in + 1000);
    assert!(after.bytes_out > before.bytes_out);
    assert_eq!(after.channels_opened, 3);
    assert_eq!(after.opens_failed, 1);
    assert_eq!(after.actors_failed, 1);
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn debug_of_handles_names_the_channel_and_no_content() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    let text = format!("{conn:?} {:?}", channel.here);
    assert!(text.contains("scripted") && text.contains("channel"), "{text}");
}
