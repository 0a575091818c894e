//! Bare channels: any actor can own one.

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::CloseReason;
use ractor_ssh::ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_ssh::test_util::{ScriptConfig, ScriptedChannel, ScriptedPeer, scripted};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{BareChannel, ChannelEvent, ChannelMsg, ConnectionRef};
use tokio::sync::mpsc;

use crate::kit::{SECOND, assert_alive, assert_clean, info, open, plain, settle, within};

/// An actor that passes the events of its channels to the test.
struct Owner;

enum OwnerMsg {
    Ssh(ChannelEvent),
    Fail,
}

impl From<ChannelEvent> for OwnerMsg {
    fn from(event: ChannelEvent) -> Self {
        Self::Ssh(event)
    }
}

impl Actor for Owner {
    type Msg = OwnerMsg;
    type State = mpsc::UnboundedSender<ChannelEvent>;
    type Arguments = mpsc::UnboundedSender<ChannelEvent>;

    async fn pre_start(
        &self,
        _myself: ActorRef<OwnerMsg>,
        events: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(events)
    }

    async fn handle(
        &self,
        _myself: ActorRef<OwnerMsg>,
        message: OwnerMsg,
        events: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            OwnerMsg::Ssh(event) => {
                let _ = events.send(event);
                Ok(())
            }
            OwnerMsg::Fail => Err("told to fail".into()),
        }
    }
}

async fn owner() -> (ActorRef<OwnerMsg>, mpsc::UnboundedReceiver<ChannelEvent>) {
    let (tell, events) = mpsc::unbounded_channel();
    let (owner, _) = Actor::spawn(None, Owner, tell).await.unwrap();
    (owner, events)
}

async fn open_bare(
    conn: &ConnectionRef,
    peer: &mut ScriptedPeer,
    owner: &ActorRef<OwnerMsg>,
) -> (BareChannel, ScriptedChannel) {
    let opening = conn.open_bare(OpenRequest::Session, ChannelOptions::new(), owner.clone());
    let (here, there) = tokio::join!(opening, async { peer.expect_open().await.confirm() });
    (here.unwrap(), there)
}

#[tokio::test(start_paused = true)]
async fn an_actor_gets_every_event_of_its_channel_with_the_channels_key() {
    let (conn, mut peer) = plain().await;
    let (owner, mut events) = owner().await;
    let (one, there) = open_bare(&conn, &mut peer, &owner).await;
    let (two, there_two) = open_bare(&conn, &mut peer, &owner).await;
    assert_ne!(one.id(), two.id());
    there.data("one");
    there_two.data("two");
    there.close();
    settle().await;
    let mut of_one = Vec::new();
    let mut of_two = Vec::new();
    while let Ok(event) = events.try_recv() {
        let of = if event.channel == one.id() { &mut of_one } else { &mut of_two };
        of.push(event.msg);
    }
    assert!(matches!(
        &of_one[..],
        [ChannelMsg::Data { data, .. }, ChannelMsg::Closed { reason: CloseReason::Peer }] if data == "one"
    ));
    assert!(matches!(&of_two[..], [ChannelMsg::Data { data, .. }] if data == "two"));
    assert_eq!(info(&conn).await.channels.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_owner_has_the_functions_of_the_channel() {
    let (conn, mut peer) = plain().await;
    let (owner, mut events) = owner().await;
    let (channel, mut there) = open_bare(&conn, &mut peer, &owner).await;
    let (answer, ()) = tokio::join!(channel.exec("cat"), async {
        there.expect_request("exec").await;
        there.reply(true);
    });
    answer.unwrap();
    channel.send("data").await.unwrap();
    channel.send_eof().unwrap();
    channel.close();
    assert_eq!(there.expect_data().await, "data");
    there.expect_eof().await;
    there.expect_close().await;
    there.close();
    let last = events.recv().await.unwrap();
    assert!(matches!(last.msg, ChannelMsg::Closed { reason: CloseReason::Local }));
    drop(last);
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn receive_credit_travels_in_the_event_and_goes_back_when_it_is_dropped() {
    let (conn, mut peer) = plain().await;
    let (owner, mut events) = owner().await;
    let (_channel, there) = open_bare(&conn, &mut peer, &owner).await;
    there.data(vec![0; 1000]);
    let event = events.recv().await.unwrap();
    assert_eq!(info(&conn).await.counters.unread, event.credit.as_ref().unwrap().bytes());
    drop(event);
    assert_eq!(info(&conn).await.counters.unread, 0);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_keeps_everything_is_stalled_and_siblings_go_on() {
    let (conn, mut peer) =
        scripted(ScriptConfig::new().limits(|limits| limits.inbound_budget = 10_000)).await;
    let (owner, mut events) = owner().await;
    let (channel, there) = open_bare(&conn, &mut peer, &owner).await;
    let mut sibling = open(&conn, &mut peer).await;
    for _ in 0..100 {
        there.data(vec![0; 500]);
    }
    within(60 * SECOND, assert_alive(&mut sibling)).await;
    assert!(matches!(channel.closed(), Some(CloseReason::Stalled { .. })));
    let mut last = None;
    while let Ok(event) = events.try_recv() {
        last = Some(event.msg);
    }
    assert!(matches!(last, Some(ChannelMsg::Closed { reason: CloseReason::Stalled { .. } })), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_ends_in_any_way_closes_its_channel() {
    let (conn, mut peer) = plain().await;
    for way in 0..3 {
        let (owner, _events) = owner().await;
        let (_channel, mut there) = open_bare(&conn, &mut peer, &owner).await;
        let mut sibling = open(&conn, &mut peer).await;
        match way {
            0 => owner.stop(None),
            1 => owner.kill(),
            _ => owner.cast(OwnerMsg::Fail).unwrap(),
        }
        there.expect_close().await;
        there.close();
        assert_alive(&mut sibling).await;
        sibling.there.close();
    }
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_gone_before_the_open_is_confirmed_closes_it_in_good_order() {
    let (conn, mut peer) = plain().await;
    let mut sibling = open(&conn, &mut peer).await;
    let (owner, _events) = owner().await;
    let (other, dead) = (conn.clone(), owner.clone());
    let opens =
        tokio::spawn(async move { other.open_bare(OpenRequest::Session, ChannelOptions::new(), dead).await });
    let pending = peer.expect_open().await;
    owner.kill();
    settle().await;
    let mut there = pending.confirm();
    there.expect_close().await;
    there.close();
    let _ = within(SECOND, opens).await.unwrap();
    assert_alive(&mut sibling).await;
    sibling.there.close();
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_of_a_bare_channel_leaves_it_open() {
    let (conn, mut peer) = plain().await;
    let (owner, mut events) = owner().await;
    let (channel, there) = open_bare(&conn, &mut peer, &owner).await;
    drop(channel);
    settle().await;
    there.data("still here");
    assert!(matches!(events.recv().await.unwrap().msg, ChannelMsg::Data { .. }));
}
