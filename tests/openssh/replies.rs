//! Answers: each reaches the one who asked, late ones reach nobody, and nobody waits for another's.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{OpenError, RequestError};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};
use tokio::sync::oneshot;

use crate::common::{Echo, Tell, becomes_true, connect, info, no_channels_left, open, run, soon};
use crate::kit::{Peer, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("replies::answers_reach_their_own_callers", SERVER, own_callers),
        peer_test("replies::a_late_answer_is_not_given_to_the_next_request", SERVER, late_answer),
        peer_test("replies::an_open_that_is_confirmed_too_late_is_closed", SERVER, late_open),
        peer_test("replies::a_request_that_was_given_up_keeps_the_order", SERVER, given_up),
        peer_test("replies::a_slow_init_does_not_hold_up_its_siblings", SERVER, slow_init),
    ]
}

async fn own_callers() {
    let sshd = Sshd::builder().config("AcceptEnv GOOD_*").start().unwrap();
    let conn = connect(&sshd).await;
    let (one, one_events) = open(&conn).await;
    let (two, two_events) = open(&conn).await;
    let (a, b, c, d, e) = tokio::join!(
        one.setenv("GOOD_A", "a"),
        one.setenv("BAD_B", "b"),
        two.setenv("BAD_C", "c"),
        one.setenv("GOOD_D", "d"),
        conn.rekey(),
    );
    a.unwrap();
    assert!(matches!(b, Err(RequestError::Refused { .. })), "{b:?}");
    assert!(matches!(c, Err(RequestError::Refused { .. })), "{c:?}");
    d.unwrap();
    e.unwrap();
    one.exec("echo $GOOD_A$BAD_B$GOOD_D").await.unwrap();
    two.exec("echo [$BAD_C]").await.unwrap();
    assert_eq!(one_events.outcome().await.stdout, b"ad\n");
    assert_eq!(two_events.outcome().await.stdout, b"[]\n");
}

async fn late_answer() {
    let sshd = Sshd::builder().config("AcceptEnv NONE").start().unwrap();
    let conn = connect(&sshd).await;
    let (tell, events) = Tell::new();
    let options = ChannelOptions::new().request_timeout(Duration::from_millis(200));
    let channel = conn.open_channel(OpenRequest::Session, options, tell).await.unwrap();
    let stopped = sshd.stop_cont();
    let late = soon("the deadline", channel.setenv("REFUSED", "later")).await;
    assert!(matches!(&late, Err(RequestError::Timeout { request, .. }) if request == "env"), "{late:?}");
    drop(stopped);
    // The refusal of the first is on its way, or still to come.
    soon("accepted", async { while channel.exec("echo mine").await.is_err() {} }).await;
    assert_eq!(events.outcome().await.stdout, b"mine\n");
}

async fn late_open() {
    let sshd = Sshd::builder().max_sessions(1).start().unwrap();
    let conn = connect(&sshd).await;
    let stopped = sshd.stop_cont();
    let options = ChannelOptions::new().open_timeout(Duration::from_millis(200));
    let late = soon("the deadline", conn.open_channel(OpenRequest::Session, options, Tell::new().0)).await;
    assert!(matches!(late, Err(OpenError::Timeout { .. })), "{late:?}");
    drop(stopped);
    no_channels_left(&conn).await;
    assert_eq!(run(&conn, "echo room").await.stdout, b"room\n");
}

async fn given_up() {
    let sshd = Sshd::builder().config("AcceptEnv GOOD_*").start().unwrap();
    let conn = connect(&sshd).await;
    for micros in (0..2000).step_by(100) {
        let (channel, events) = open(&conn).await;
        let refused = channel.setenv("BAD", "x");
        let _ = tokio::time::timeout(Duration::from_micros(micros), refused).await;
        channel.setenv("GOOD_ONE", "1").await.unwrap();
        let refused = channel.setenv("BAD", "x").await;
        assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
        channel.exec("echo $GOOD_ONE").await.unwrap();
        assert_eq!(events.outcome().await.stdout, b"1\n");
    }
}

/// Waits in `init` until it is told to go on.
struct Slow(Option<oneshot::Receiver<()>>);

impl ClientChannel for Slow {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        // Within the budgets: without an end it would hold up its connection.
        ctx.exec("head -c 2000000 /dev/zero; exec cat").await?;
        if let Some(go) = self.0.take() {
            go.await?;
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        assert!(matches!(msg, ChannelMsg::Data { .. }), "what came during init comes first: {msg:?}");
        Ok(Next::Stop)
    }
}

async fn slow_init() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    let (go, wait) = oneshot::channel();
    let opening = tokio::spawn({
        let conn = conn.clone();
        async move { conn.session_channel(Slow(Some(wait))).await }
    });
    becomes_true("data waits for it", || async {
        info(&conn).await.channels.iter().any(|channel| channel.unread > 1 << 20)
    })
    .await;
    for _ in 0..20 {
        sibling.round().await;
    }
    assert!(!opening.is_finished());
    go.send(()).unwrap();
    let channel = soon("init", opening).await.unwrap().unwrap();
    let reason = soon("the end", channel.wait()).await;
    assert!(reason.is_normal(), "{reason:?}");
    sibling.round().await;
}
