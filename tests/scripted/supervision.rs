//! A channel actor is a ractor actor: it can be registered, monitored, linked and grouped.

use std::time::Duration;

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::StopReason;
use ractor_ssh::ractor::{
    self, Actor, ActorCell, ActorProcessingErr, ActorRef, ActorStatus, SupervisionEvent, pg,
};
use tokio::sync::mpsc;

use crate::kit::{
    Act, Order, Probe, SECOND, assert_alive, assert_clean, closed, open, open_with, plain, settle, within,
};

/// Tells how the actors it watches end.
struct Watcher;

#[derive(Debug)]
enum Ended {
    Terminated(ractor::ActorId, Option<String>),
    Failed(ractor::ActorId, String),
}

impl Actor for Watcher {
    type Msg = ActorCell;
    type State = mpsc::UnboundedSender<Ended>;
    type Arguments = mpsc::UnboundedSender<Ended>;

    async fn pre_start(
        &self,
        _myself: ActorRef<ActorCell>,
        tell: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(tell)
    }

    async fn handle(
        &self,
        myself: ActorRef<ActorCell>,
        whom: ActorCell,
        _tell: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        myself.monitor(whom);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<ActorCell>,
        event: SupervisionEvent,
        tell: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                let _ = tell.send(Ended::Terminated(who.get_id(), reason));
            }
            SupervisionEvent::ActorFailed(who, error) => {
                let _ = tell.send(Ended::Failed(who.get_id(), error.to_string()));
            }
            _ => {}
        }
        Ok(())
    }
}

async fn watcher() -> (ActorRef<ActorCell>, mpsc::UnboundedReceiver<Ended>) {
    let (tell, told) = mpsc::unbounded_channel();
    let (watcher, _) = Actor::spawn(None, Watcher, tell).await.unwrap();
    (watcher, told)
}

#[tokio::test(start_paused = true)]
async fn a_monitor_learns_how_a_channel_ended() {
    let (conn, mut peer) = plain().await;
    let (watcher, mut told) = watcher().await;
    for failing in [false, true] {
        let channel = open(&conn, &mut peer).await;
        watcher.cast(channel.here.actor()).unwrap();
        settle().await;
        channel.here.cast(Order::new(move |_| if failing { Act::Fail } else { Act::Stop })).unwrap();
        let id = channel.here.actor().get_id();
        match (within(SECOND, told.recv()).await.unwrap(), failing) {
            (Ended::Terminated(who, Some(reason)), false) => {
                assert_eq!(who, id);
                assert!(reason.contains("stopped by the behaviour"), "{reason}");
            }
            (Ended::Failed(who, error), true) => {
                assert_eq!(who, id);
                assert!(error.contains("told to fail"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_can_be_found_in_a_process_group_until_it_ends() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let group = format!("scripted-{:?}", channel.here.actor().get_id());
    pg::join(group.clone(), vec![channel.here.actor()]);
    assert_eq!(pg::get_members(&group).len(), 1);
    channel.there.close();
    closed(&mut channel).await;
    channel.here.wait().await;
    settle().await;
    assert!(pg::get_members(&group).is_empty());
}

#[tokio::test(start_paused = true)]
async fn channel_actors_are_children_of_their_connection() {
    let (conn, mut peer) = plain().await;
    let mut one = open(&conn, &mut peer).await;
    let two = open(&conn, &mut peer).await;
    let mut children: Vec<_> = conn.actor().get_children().iter().map(ActorCell::get_id).collect();
    children.sort();
    let mut expected = vec![one.here.actor().get_id(), two.here.actor().get_id()];
    expected.sort();
    assert_eq!(children, expected);
    one.there.close();
    closed(&mut one).await;
    settle().await;
    assert_eq!(conn.actor().get_children().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_bound_to_an_actor_ends_with_it() {
    let (conn, mut peer) = plain().await;
    for late in [false, true] {
        let (owner, _told) = watcher().await;
        let bound = owner.get_cell();
        if late {
            owner.stop(None);
            within(SECOND, bound.wait(None)).await.unwrap();
        }
        let (probe, events) = Probe::new();
        let probe = probe.on_init(move |ctx| {
            ctx.close_with(&bound);
            Act::Go
        });
        let mut channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
        if !late {
            assert_alive(&mut channel).await;
            owner.stop(None);
        }
        channel.there.expect_close().await;
        channel.there.close();
        assert!(matches!(channel.here.wait().await, StopReason::Stopped(_)));
    }
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn actors_of_others_may_be_linked_to_a_connection_and_end_without_harm() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let (foreign, _told) = watcher().await;
    foreign.link(conn.actor());
    foreign.kill();
    settle().await;
    assert_alive(&mut channel).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_monitored_tells_when_it_ends() {
    let (conn, peer) = plain().await;
    let (watcher, mut told) = watcher().await;
    watcher.cast(conn.actor()).unwrap();
    settle().await;
    peer.vanish();
    let ended = within(SECOND, told.recv()).await.unwrap();
    assert!(matches!(ended, Ended::Terminated(..)), "{ended:?}");
    assert_eq!(conn.actor().get_status(), ActorStatus::Stopped);
}

#[tokio::test(start_paused = true)]
async fn calls_and_casts_reach_the_behaviour_in_the_order_sent() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    for n in 0..100 {
        let tell = tell.clone();
        let order = Order::new(move |_| {
            tell.send(n).unwrap();
            Act::Go
        });
        channel.here.cast(order).unwrap();
    }
    let last = channel.here.call(
        |port: ractor::RpcReplyPort<u32>| {
            Order::new(move |_| {
                port.send(7).unwrap();
                Act::Go
            })
        },
        Duration::from_secs(1),
    );
    assert_eq!(last.await.unwrap(), 7);
    for n in 0..100 {
        assert_eq!(told.try_recv().unwrap(), n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_behaviour_may_send_to_itself_and_to_others_from_its_callbacks() {
    let (conn, mut peer) = plain().await;
    let mut one = open(&conn, &mut peer).await;
    let mut two = open(&conn, &mut peer).await;
    let other = two.here.clone();
    one.here
        .cast(Order::new(move |ctx| {
            ctx.myself()
                .cast(Order::new(|ctx| {
                    ctx.send("from myself").unwrap();
                    Act::Go
                }))
                .unwrap();
            other
                .cast(Order::new(|ctx| {
                    ctx.send("from a sibling").unwrap();
                    Act::Go
                }))
                .unwrap();
            Act::Go
        }))
        .unwrap();
    assert_eq!(one.there.expect_data().await, "from myself");
    assert_eq!(two.there.expect_data().await, "from a sibling");
}
