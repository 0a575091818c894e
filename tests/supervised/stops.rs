//! A stop wins, whenever it comes, and leaves no channel.

use std::time::Duration;

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{OpenError, StopReason};
use ractor_ssh::supervised::{NotUp, SupervisedState};
use ractor_ssh::supervision::RestartPolicy;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, Next};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::peer::{Opens, Peer};
use crate::probe::{PAUSE, Say, Told, is_backoff, permanent, state, within};

#[tokio::test(start_paused = true)]
async fn a_stop_while_up_terminates_the_behaviour_and_closes_the_channel() {
    let peer = Peer::connect().await;
    let (spec, mut story) = permanent();
    let channel = peer.conn.supervise(spec).await.unwrap();
    channel.up().await.unwrap();
    channel.stop();
    assert!(matches!(channel.cast(Say::Note(1)).unwrap_err().reason, NotUp::Over { .. }), "at once");
    assert!(matches!(channel.wait().await, SupervisedState::Stopped));
    assert_eq!(story.recv().await, Some(Told::Init(1, None)));
    assert!(matches!(story.recv().await, Some(Told::Terminated(1, _))));
    peer.sees(|seen| seen.closed == 1).await;
    peer.channels(0).await;
    channel.stop();
    assert_eq!(peer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_pause_wins() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec).await.unwrap();
    channel.up().await.unwrap().kill();
    state(&channel, is_backoff).await;
    channel.stop();
    assert!(matches!(channel.wait().await, SupervisedState::Stopped));
    tokio::time::sleep(PAUSE * 10).await;
    assert_eq!(peer.asked(), 1, "nothing was opened after the stop");
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_an_open_wins_and_the_channel_confirmed_late_is_closed() {
    let peer = Peer::connect().await;
    peer.opens(Opens::Hold);
    let (spec, mut story) = permanent();
    let channel = peer.conn.supervise(spec).await.unwrap();
    peer.sees(|seen| seen.held == 1).await;
    channel.stop();
    assert!(matches!(channel.wait().await, SupervisedState::Stopped));
    peer.confirm_held().await;
    peer.sees(|seen| seen.closed == 1).await;
    peer.channels(0).await;
    assert!(story.recv().await.is_none(), "no behaviour was started");
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_the_last_address_stops_the_channel() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec).await.unwrap();
    channel.up().await.unwrap();
    let mut states = channel.states();
    let clone = channel.clone();
    drop(channel);
    assert!(clone.state().is_up());
    drop(clone);
    assert!(matches!(*states.wait_for(|s| s.is_final()).await.unwrap(), SupervisedState::Stopped));
    peer.channels(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_killed_takes_its_channel_along() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let channel = peer.conn.supervise(spec).await.unwrap();
    channel.up().await.unwrap();
    channel.supervisor().kill();
    assert!(matches!(channel.wait().await, SupervisedState::Stopped));
    peer.channels(0).await;
    assert!(channel.cast(Say::Note(1)).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_specification_with_wrong_values_is_refused_by_field() {
    let peer = Peer::connect().await;
    let (spec, _story) = permanent();
    let wrong = [
        (spec.clone().options(ChannelOptions::new().receive_budget(0)), "receive_budget"),
        (spec.clone().stuck_limit(Duration::ZERO), "stuck_limit"),
        (spec.restart(RestartPolicy::permanent().intensity(1, Duration::ZERO)), "intensity"),
    ];
    for (spec, field) in wrong {
        match peer.conn.supervise(spec).await {
            Err(OpenError::Config(error)) => assert_eq!(error.field, field),
            other => panic!("{other:?}"),
        }
    }
}

/// Each of its callbacks takes so long.
struct Long(Duration, mpsc::UnboundedSender<StopReason>);

impl ClientChannel for Long {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, (): (), _ctx: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        tokio::time::sleep(self.0).await;
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, reason: StopReason, _ctx: &mut ChannelContext<Self>) {
        tokio::time::sleep(self.0).await;
        let _ = self.1.send(reason);
    }
}

/// Stops one that is in a callback, and says what its `terminate` told at its end, and when its channel was closed.
async fn stop_in_callback(each: Duration) -> (Option<StopReason>, Duration) {
    let peer = Peer::connect().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let spec = ChannelSpec::new(move |_| Long(each, tell.clone())).stuck_limit(Duration::from_secs(60));
    let channel = peer.conn.supervise(spec).await.unwrap();
    channel.up().await.unwrap();
    channel.cast(()).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let start = Instant::now();
    channel.stop();
    assert!(matches!(channel.wait().await, SupervisedState::Stopped));
    peer.sees(|seen| seen.closed == 1).await;
    let closed = start.elapsed();
    peer.channels(0).await;
    drop(channel);
    (within(told.recv()).await, closed)
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_one_that_is_stuck_in_a_callback_closes_its_channel_when_the_limit_is_over() {
    let (told, closed) = stop_in_callback(Duration::MAX).await;
    assert!(told.is_none(), "{told:?}");
    assert!(closed >= Duration::from_secs(60) && closed < Duration::from_secs(61), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_callbacks_of_which_each_keeps_the_limit() {
    let (told, closed) = stop_in_callback(Duration::from_secs(55)).await;
    assert!(matches!(told, Some(StopReason::Stopped(_))), "{told:?}");
    assert!(closed < Duration::from_secs(60), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_one_that_is_stuck_in_init_closes_its_channel_when_the_limit_is_over() {
    let peer = Peer::connect().await;
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let spec = ChannelSpec::new(move |_| {
        let (tell, told) = oneshot::channel();
        let begun = begun.clone();
        tokio::spawn(async move { begun.send(told.await.is_ok()) });
        Slow { begun: Some(tell), go: None }
    });
    let channel = peer.conn.supervise(spec).await.unwrap();
    assert_eq!(has_begun.recv().await, Some(true));
    let start = Instant::now();
    channel.stop();
    assert!(matches!(channel.wait().await, SupervisedState::Stopped));
    peer.sees(|seen| seen.closed == 1).await;
    assert!(start.elapsed() >= Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(61), "{:?}", start.elapsed());
    peer.channels(0).await;
}

/// Tells that `init` runs, and waits in it, for ever if there is nothing to wait for.
struct Slow {
    begun: Option<oneshot::Sender<()>>,
    go: Option<oneshot::Receiver<()>>,
}

impl ClientChannel for Slow {
    type Msg = ();

    async fn init(&mut self, _ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        let _ = self.begun.take().unwrap().send(());
        match self.go.take() {
            Some(go) => drop(go.await),
            None => std::future::pending().await,
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_that_is_dropped_while_init_runs_leaves_no_channel() {
    let peer = Peer::connect().await;
    let (begun, has_begun) = oneshot::channel();
    let (go, gone) = oneshot::channel();
    let conn = peer.conn.clone();
    let slow = Slow { begun: Some(begun), go: Some(gone) };
    let open = tokio::spawn(async move { conn.session_channel(slow).await });
    has_begun.await.unwrap();
    open.abort();
    assert!(open.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    peer.sees(|seen| seen.closed == 1).await;
    peer.channels(0).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_that_is_dropped_with_its_answer_on_the_way_leaves_no_channel() {
    let peer = Peer::connect().await;
    let (begun, has_begun) = oneshot::channel();
    let (go, gone) = oneshot::channel();
    let slow = Slow { begun: Some(begun), go: Some(gone) };
    let mut open = Box::pin(peer.conn.session_channel(slow));
    tokio::select! {
        biased;
        _ = &mut open => panic!("it waits in init"),
        begun = has_begun => begun.unwrap(),
    }
    go.send(()).unwrap();
    // The answer is sent while nobody looks at the future.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(open);
    peer.sees(|seen| seen.closed == 1).await;
    peer.channels(0).await;
}
