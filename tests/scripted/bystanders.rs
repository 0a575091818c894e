//! What one user's code or one unanswered request must not do to the rest of its connection.

use std::time::Duration;

use ractor_ssh::error::{OpenError, Phase};
use ractor_ssh::test_util::{ScriptConfig, scripted};
use ractor_ssh::wire::codes::DisconnectCode;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};

use crate::kit::{Probe, SECOND, assert_alive, open, opening, plain, settle, within};

/// Its destructor panics, wherever it runs.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a destructor of the user's");
        }
    }
}

impl ClientChannel for Explosive {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_behaviour_that_panics_when_dropped_harms_nobody() {
    let (conn, mut peer) = scripted(ScriptConfig::new().limits(|limits| limits.max_channels = 1)).await;
    let mut sibling = open(&conn, &mut peer).await;
    let refused = conn.session_channel(Explosive).await.unwrap_err();
    assert!(matches!(refused, OpenError::TooManyChannels { limit: 1 }), "{refused:?}");
    settle().await;
    assert_alive(&mut sibling).await;
    assert_eq!(conn.phase(), Phase::Up);
}

#[tokio::test(start_paused = true)]
async fn a_killed_behaviour_that_panics_when_dropped_harms_nobody() {
    let (conn, mut peer) = plain().await;
    let mut sibling = open(&conn, &mut peer).await;
    let opening = tokio::spawn({
        let conn = conn.clone();
        async move { conn.session_channel(Explosive).await }
    });
    let mut there = peer.expect_open().await.confirm();
    let here = opening.await.unwrap().unwrap();
    here.kill();
    there.expect_close().await;
    settle().await;
    assert_alive(&mut sibling).await;
    assert_eq!(conn.phase(), Phase::Up);
}

#[tokio::test(start_paused = true)]
async fn an_open_that_is_never_answered_does_not_keep_a_connection_nobody_holds() {
    let (conn, mut peer) = plain().await;
    let actor = conn.actor();
    let (probe, _events) = Probe::new();
    let opens = opening(&conn, probe);
    let _unanswered = peer.expect_open().await;
    drop(conn);
    assert!(matches!(opens.await.unwrap(), Err(OpenError::Timeout { .. })));
    assert_eq!(peer.expect_disconnect().await.0, DisconnectCode::BY_APPLICATION);
    within(20 * SECOND, actor.wait(None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_a_limit_is_possible() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let draining = tokio::spawn({
        let conn = conn.clone();
        async move { conn.shutdown(Duration::MAX).await }
    });
    settle().await;
    assert_eq!(conn.phase(), Phase::Draining);
    assert_alive(&mut channel).await;
    channel.there.close();
    draining.await.unwrap();
}
