//! A behaviour that is stuck when its connection is lost does not keep the next incarnation away for ever; one that is
//! slow has all the time it needs.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::error::StopReason;
use ractor_ssh::ractor::{ActorCell, ActorStatus};
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, ManagedRef, Next, SupervisedRef,
};
use tokio::sync::mpsc;

use crate::common::{Before, becomes_true, channel_up, config, eager, is_up, manage, soon, spec};
use crate::kit::{Peer, Sshd, peer_test};

const LIMIT: Duration = Duration::from_millis(400);

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("stuck::whatever_callback_it_is_in_it_is_killed_and_comes_back", SERVER, every_callback),
        peer_test("stuck::it_is_seen_what_is_waited_for", SERVER, seen),
        peer_test("stuck::nobody_is_killed_before_the_next_connection_is_up", SERVER, no_hurry),
        peer_test("stuck::who_gets_on_with_what_had_arrived_is_not_killed", SERVER, slow),
        peer_test("stuck::a_stop_wins_over_the_wait", SERVER, stop),
    ]
}

/// Where the first incarnation is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Init,
    Data,
    Closed,
    Msg,
    Terminate,
    /// It takes a while for each piece of data.
    Slow,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Stuck,
    /// So many bytes.
    Handled(usize),
    Ended,
}

struct Sticky {
    at: Option<At>,
    told: mpsc::UnboundedSender<Told>,
}

impl Sticky {
    async fn here(&self, at: At) {
        if self.at == Some(at) {
            let _ = self.told.send(Told::Stuck);
            std::future::pending().await
        }
    }
}

impl ClientChannel for Sticky {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec("for n in 1 2 3 4 5 6; do echo $n; sleep 0.03; done; exec cat").await?;
        self.here(At::Init).await;
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data, .. } if self.at == Some(At::Slow) => {
                tokio::time::sleep(LIMIT * 2 / 3).await;
                let _ = self.told.send(Told::Handled(data.len()));
            }
            ChannelMsg::Data { .. } => self.here(At::Data).await,
            ChannelMsg::Closed { .. } => self.here(At::Closed).await,
            _ => {}
        }
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, (): (), _ctx: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        self.here(At::Msg).await;
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, _reason: StopReason, _ctx: &mut ChannelContext<Self>) {
        self.here(At::Terminate).await;
        let _ = self.told.send(Told::Ended);
    }
}

async fn sticky(managed: &ManagedRef, at: At) -> (SupervisedRef<Sticky>, mpsc::UnboundedReceiver<Told>) {
    let (told, story) = mpsc::unbounded_channel();
    let spec = ChannelSpec::new(move |incarnation| Sticky {
        at: (incarnation.number == 1).then_some(at),
        told: told.clone(),
    });
    let channel = managed.supervise(spec.restart(eager()).stuck_limit(LIMIT)).await.unwrap();
    if at != At::Init {
        channel_up(&channel, 1).await;
    }
    if at == At::Msg {
        channel.cast(()).unwrap();
    }
    (channel, story)
}

fn lose(sshd: &Sshd) {
    tokio::task::block_in_place(|| sshd.kill_sessions());
}

async fn is_stuck(story: &mut mpsc::UnboundedReceiver<Told>) {
    while soon("being stuck", story.recv()).await.unwrap() != Told::Stuck {}
}

/// The actor of the only channel on the connection that is up.
async fn channel_actor(managed: &ManagedRef) -> ActorCell {
    managed.connection().await.unwrap().info().await.unwrap().channels.remove(0).actor.unwrap()
}

async fn every_callback() {
    for at in [At::Init, At::Data, At::Closed, At::Msg, At::Terminate] {
        let sshd = Sshd::builder().start().unwrap();
        let before = Before::look(sshd.port());
        let managed = manage(config(&sshd), spec()).await;
        is_up(&managed, 1).await;
        let (channel, mut story) = sticky(&managed, at).await;
        if !matches!(at, At::Closed | At::Terminate) {
            is_stuck(&mut story).await;
        }
        lose(&sshd);
        is_up(&managed, 2).await;
        let start = Instant::now();
        channel_up(&channel, 2).await;
        let took = start.elapsed();
        assert!(took > LIMIT / 2 && took < LIMIT + Duration::from_secs(5), "{at:?}: {took:?}");
        let info = channel.info();
        assert_eq!((info.incarnation, info.restarts), (2, 0), "{at:?}: {info:?}");
        // The lost connection has nothing left to wait for.
        managed.shutdown(Duration::ZERO).await;
        drop((managed, channel));
        before.is_restored().await;
    }
}

async fn seen() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec()).await;
    let (told, mut story) = mpsc::unbounded_channel();
    let spec = ChannelSpec::new(move |_| Sticky { at: Some(At::Msg), told: told.clone() });
    let channel = managed.supervise(spec.restart(eager())).await.unwrap();
    soon("the start", channel.up()).await.unwrap().cast(()).unwrap();
    is_stuck(&mut story).await;
    lose(&sshd);
    is_up(&managed, 2).await;
    let waits = "it waits for the end of incarnation 1, which is at what came before its connection was lost";
    becomes_true("it is said what is waited for", || channel.info().why_stuck() == [waits]).await;
    let held = "its behaviour has held one callback (`handle_msg`)";
    let tree = loop {
        let tree = managed.tree().await;
        if tree.to_string().contains(held) {
            break tree;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let node = tree.walk().find(|node| node.stuck == [waits]).unwrap_or_else(|| panic!("{tree}"));
    assert!(node.children[0].stuck.iter().any(|why| why.starts_with(held)), "{tree}");
    soon("the stop", managed.shutdown(Duration::ZERO)).await;
}

async fn no_hurry() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec()).await;
    let (channel, mut story) = sticky(&managed, At::Msg).await;
    let actor = channel_actor(&managed).await;
    is_stuck(&mut story).await;
    tokio::task::block_in_place(|| sshd.kill());
    tokio::time::sleep(LIMIT * 3).await;
    assert!(matches!(channel.state(), SupervisedState::Waiting));
    assert!(
        actor.get_status() < ActorStatus::Stopping,
        "it may get on with it before there is another connection"
    );
    tokio::task::block_in_place(|| sshd.restart()).unwrap();
    is_up(&managed, 2).await;
    let start = Instant::now();
    channel_up(&channel, 2).await;
    assert!(start.elapsed() > LIMIT / 2, "the time begins with the next connection: {:?}", start.elapsed());
    becomes_true("it is gone", || actor.get_status() == ActorStatus::Stopped).await;
}

async fn slow() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec()).await;
    let (channel, mut story) = sticky(&managed, At::Slow).await;
    let actor = channel_actor(&managed).await;
    becomes_true("all has arrived", || channel.current().is_some_and(|now| now.info().bytes_in == 12)).await;
    lose(&sshd);
    channel_up(&channel, 2).await;
    let mut handled = 0;
    while let Told::Handled(bytes) = soon("the end", story.recv()).await.unwrap() {
        handled += bytes;
    }
    assert_eq!(handled, 12, "and then it ended by itself");
    becomes_true("it is gone", || actor.get_status() == ActorStatus::Stopped).await;
}

async fn stop() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(config(&sshd), spec()).await;
    let (channel, mut story) = sticky(&managed, At::Msg).await;
    is_stuck(&mut story).await;
    lose(&sshd);
    is_up(&managed, 2).await;
    channel.stop();
    assert!(matches!(soon("the stop", channel.wait()).await, SupervisedState::Stopped));
    tokio::time::sleep(LIMIT * 2).await;
    assert_eq!(channel.info().incarnation, 1);
}
