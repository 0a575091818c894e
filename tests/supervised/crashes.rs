//! A crash of any kind in any callback: the channel comes back, its siblings do not notice.

use std::time::Duration;

use ractor_ssh::error::{CloseReason, ConnectionError, StopReason};
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::test_util::{ScriptConfig, ScriptedChannel, ScriptedPeer, scripted};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, ConnectionRef, Escalation, Incarnation,
    Next, SupervisedRef,
};

use crate::probe::within;

/// Where it crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Nowhere,
    Factory,
    Init,
    Data,
    Eof,
    Closed,
    Msg,
    Terminate,
    Drop,
}

/// In what way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Panic,
    PanicWithAny,
    Error,
    /// It is killed in the midst of it.
    Kill,
    /// It is killed from outside while it waits there, for ever.
    KillWhileStuck,
}

pub(crate) struct Crasher {
    at: At,
    how: How,
}

impl Crasher {
    async fn here(&self, at: At, ctx: &ChannelContext<Self>) -> Result<(), BoxError> {
        if self.at != at {
            return Ok(());
        }
        match self.how {
            How::Panic => panic!("as planned"),
            How::PanicWithAny => std::panic::panic_any(42),
            How::Error => Err("as planned".into()),
            How::Kill => {
                ctx.myself().kill();
                std::future::pending().await
            }
            How::KillWhileStuck => {
                let me = ctx.myself();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    me.kill();
                });
                std::future::pending().await
            }
        }
    }
}

impl ClientChannel for Crasher {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        self.here(At::Init, ctx).await
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { .. } => self.here(At::Data, ctx).await?,
            ChannelMsg::Eof => self.here(At::Eof, ctx).await?,
            ChannelMsg::Closed { .. } => self.here(At::Closed, ctx).await?,
            _ => {}
        }
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, (): (), ctx: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        self.here(At::Msg, ctx).await?;
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, _reason: StopReason, ctx: &mut ChannelContext<Self>) {
        let _ = self.here(At::Terminate, ctx).await;
    }
}

impl Drop for Crasher {
    fn drop(&mut self) {
        // A panic within a panic would end the process.
        assert!(self.at != At::Drop || std::thread::panicking(), "as planned");
    }
}

/// The first incarnation crashes, or all of them.
fn crashers(at: At, how: How, always: bool) -> ChannelSpec<Crasher> {
    let policy = RestartPolicy::permanent().backoff(Backoff::fixed(Duration::from_secs(1)));
    let factory = move |incarnation: Incarnation| {
        let crashes = always || incarnation.number == 1;
        assert!(!(crashes && at == At::Factory), "as planned");
        Crasher { at: if crashes { at } else { At::Nowhere }, how }
    };
    ChannelSpec::new(factory).restart(policy)
}

/// A supervised channel that nothing happens to.
async fn sibling(conn: &ConnectionRef, peer: &mut ScriptedPeer) -> (SupervisedRef<Crasher>, ScriptedChannel) {
    let sibling = conn.supervise(crashers(At::Nowhere, How::Panic, false)).await.unwrap();
    let remote = peer.expect_open().await.confirm();
    within(sibling.up()).await.unwrap();
    (sibling, remote)
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_any_kind_in_any_callback_is_survived_and_siblings_do_not_notice() {
    let (conn, mut peer) = scripted(ScriptConfig::new()).await;
    let (sibling, mut sibling_remote) = sibling(&conn, &mut peer).await;
    for at in [At::Factory, At::Init, At::Data, At::Eof, At::Closed, At::Msg, At::Terminate, At::Drop] {
        for how in [How::Panic, How::PanicWithAny, How::Error, How::Kill, How::KillWhileStuck] {
            if matches!(at, At::Factory | At::Drop) && how != How::Panic {
                continue;
            }
            let channel = conn.supervise(crashers(at, how, false)).await.unwrap();
            let mut first = None;
            if at != At::Factory {
                let remote = peer.expect_open().await.confirm();
                if at != At::Init {
                    let running = within(channel.up()).await.unwrap();
                    match at {
                        At::Data => remote.data("x"),
                        At::Eof => remote.eof(),
                        At::Closed => remote.close(),
                        At::Msg => running.cast(()).unwrap(),
                        At::Terminate | At::Drop => running.stop("to see it end"),
                        _ => unreachable!(),
                    }
                }
                first = Some(remote);
            }
            let mut second = peer.expect_open().await.confirm();
            within(async {
                let mut states = channel.states();
                let up = |s: &SupervisedState| matches!(s, SupervisedState::Up { incarnation: 2 });
                states.wait_for(up).await.unwrap();
            })
            .await;
            if let Some(mut first) = first {
                first.expect_close().await;
                first.close();
            }
            assert_eq!(channel.info().restarts, 1, "{at:?}, {how:?}");
            channel.stop();
            second.expect_close().await;
            second.close();
            assert!(matches!(within(channel.wait()).await, SupervisedState::Stopped));
        }
    }
    sibling.cast(()).unwrap();
    sibling_remote.data("x");
    let info = sibling.info();
    assert_eq!((info.incarnation, info.restarts), (1, 0));
    assert!(sibling_remote.try_next().is_none(), "not a word was sent on it");
    within(async {
        while conn.info().await.unwrap().channels.len() != 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_in_any_callback_reaches_the_intensity_and_escalates() {
    for at in [At::Factory, At::Init, At::Data, At::Msg, At::Terminate] {
        let (conn, mut peer) = scripted(ScriptConfig::new()).await;
        let (sibling, _sibling_remote) = sibling(&conn, &mut peer).await;
        let policy = RestartPolicy::permanent()
            .backoff(Backoff::fixed(Duration::from_secs(1)))
            .intensity(3, Duration::from_secs(60));
        let spec = crashers(at, How::Panic, true).restart(policy).on_give_up(Escalation::Connection);
        let channel = conn.supervise(spec).await.unwrap();
        let mut remotes = Vec::new();
        for _ in 0..4 {
            if at == At::Factory {
                break;
            }
            let remote = peer.expect_open().await.confirm();
            if at != At::Init {
                let running = within(channel.up()).await.unwrap();
                match at {
                    At::Data => remote.data("x"),
                    At::Msg => running.cast(()).unwrap(),
                    _ => running.stop("to see it end"),
                }
                within(async { channel.states().wait_for(|state| !state.is_up()).await.unwrap().is_up() })
                    .await;
            }
            remotes.push(remote);
        }
        match within(channel.wait()).await {
            SupervisedState::GaveUp { restarts: 3, .. } => {}
            other => panic!("{at:?}: {other}"),
        }
        assert_eq!((channel.info().incarnation, channel.info().escalations), (4, 1), "{at:?}");
        assert!(matches!(within(conn.closed()).await, ConnectionError::Closed));
        match within(sibling.wait()).await {
            SupervisedState::Down(ConnectionError::Closed) => {}
            other => panic!("{at:?}: {other}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_behaviour_that_is_stuck_after_its_channel_stalled_is_killed_and_comes_back() {
    use ractor_ssh::config::{ChannelOptions, SlowConsumer};
    let (conn, mut peer) = scripted(ScriptConfig::new()).await;
    let (sibling, _sibling_remote) = sibling(&conn, &mut peer).await;
    // Stuck with its first data; what follows is over its budget, and it is cut off.
    let spec = ChannelSpec::new(|incarnation: Incarnation| Stuck(incarnation.number == 1))
        .options(ChannelOptions::new().receive_budget(1_000).slow_consumer(SlowConsumer::Fail));
    let channel = conn.supervise(spec).await.unwrap();
    let remote = peer.expect_open().await.confirm();
    within(channel.up()).await.unwrap();
    remote.data("x");
    tokio::time::sleep(Duration::from_secs(1)).await;
    remote.data(vec![0; 2_000]);
    let _second = peer.expect_open().await.confirm();
    within(async {
        let up = |s: &SupervisedState| matches!(s, SupervisedState::Up { incarnation: 2 });
        channel.states().wait_for(up).await.unwrap().is_up()
    })
    .await;
    let last = channel.info().last.unwrap().to_string();
    assert_eq!((last.as_str(), sibling.info().incarnation), ("killed", 1));
}

struct Stuck(bool);

impl ClientChannel for Stuck {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        if self.0 && matches!(msg, ChannelMsg::Data { .. }) {
            std::future::pending::<()>().await;
        }
        assert!(!matches!(msg, ChannelMsg::Closed { reason: CloseReason::Peer }), "nobody closes it");
        Ok(Next::Continue)
    }
}
