//! Requests that a client does not wait for: each gets its own answer, in order, among the output.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, Next, Router, ServerChannel, ServerSide};
use russh::ChannelMsg as Wire;

use crate::kit::{Peer, peer_test};
use crate::support::{Served, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("pipelined_requests_get_one_answer_each_from_a_slow_behaviour", NONE, slow_behaviour),
        peer_test("pipelined_requests_get_one_answer_each_from_a_router", NONE, by_router),
        peer_test("an_answer_keeps_its_place_among_the_output", NONE, among_output),
        peer_test("a_request_that_is_answered_late_does_not_stop_its_siblings", NONE, late_answer),
        peer_test("a_behaviour_that_dies_unanswering_does_not_stop_its_siblings", NONE, dead_behaviour),
    ]
}

/// Takes its time with each answer, refuses `B`, and says so in the output.
struct Slow(Duration);

impl ServerChannel for Slow {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        let yes = match &msg {
            ChannelMsg::Env { name, .. } => name != "B",
            ChannelMsg::Pty { .. } | ChannelMsg::Exec { .. } | ChannelMsg::Shell { .. } => true,
            ChannelMsg::Data { data, .. } => {
                ctx.send(data.clone())?;
                return Ok(Next::Continue);
            }
            _ => return Ok(Next::Continue),
        };
        if let ChannelMsg::Exec { command, .. } = &msg
            && &command[..] == b"die"
        {
            return Err("as asked".into());
        }
        tokio::time::sleep(self.0).await;
        ctx.send("before ")?;
        ctx.reply_request(yes)?;
        ctx.send("after ")?;
        Ok(Next::Continue)
    }
}

async fn slow(delay: Duration) -> Served {
    Served::with(|config| config.session_channel(move |_| Slow(delay))).await
}

/// The answers in the order they come, until there were so many.
async fn answers(channel: &mut russh::Channel<russh::client::Msg>, count: usize) -> Vec<bool> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match soon(channel.wait()).await.expect("closed early") {
            Wire::Success => seen.push(true),
            Wire::Failure => seen.push(false),
            _ => {}
        }
    }
    seen
}

async fn pipeline(served: &Served) {
    let handle = served.connect_plain().await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.request_pty(true, "vt100", 80, 24, 0, 0, &[]).await.unwrap();
    channel.set_env(true, "A", "1").await.unwrap();
    channel.set_env(false, "A", "2").await.unwrap();
    channel.set_env(true, "C", "3").await.unwrap();
    channel.request_shell(true).await.unwrap();
    channel.window_change(100, 30, 0, 0).await.unwrap();
    channel.request_shell(true).await.unwrap();
    let seen = answers(&mut channel, 5).await;
    assert_eq!(seen[..4], [true; 4]);
}

async fn slow_behaviour() {
    let served = slow(Duration::from_millis(20)).await;
    pipeline(&served).await;
    let handle = served.connect_plain().await;
    let mut channel = handle.channel_open_session().await.unwrap();
    for name in ["A", "B", "A", "B", "B"] {
        channel.set_env(true, name, "x").await.unwrap();
        channel.set_env(false, "B", "x").await.unwrap();
    }
    assert_eq!(answers(&mut channel, 5).await, [true, false, true, false, false]);
}

async fn by_router() {
    let served = Served::start(Router::new().shell(|_| Slow(Duration::ZERO))).await;
    pipeline(&served).await;
}

async fn among_output() {
    let served = slow(Duration::ZERO).await;
    let handle = served.connect_plain().await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    channel.set_env(true, "B", "x").await.unwrap();
    let mut seen = String::new();
    while seen.matches("after").count() < 2 {
        match soon(channel.wait()).await.unwrap() {
            Wire::Success => seen.push_str("yes "),
            Wire::Failure => seen.push_str("no "),
            Wire::Data { data } => seen.push_str(&String::from_utf8_lossy(&data)),
            _ => {}
        }
    }
    assert_eq!(seen, "before yes after before no after ");
}

async fn late_answer() {
    let served = slow(Duration::from_secs(6)).await;
    let handle = served.connect_plain().await;
    let mut stuck = handle.channel_open_session().await.unwrap();
    let mut sibling = handle.channel_open_session().await.unwrap();
    stuck.exec(true, "x").await.unwrap();
    sibling.data_bytes(&b"ping"[..]).await.unwrap();
    let echo =
        async { while !matches!(sibling.wait().await, Some(Wire::Data { data }) if &data[..] == b"ping") {} };
    tokio::time::timeout(Duration::from_secs(4), echo).await.expect("held up by its sibling");
    assert_eq!(answers(&mut stuck, 1).await, [true]);
}

async fn dead_behaviour() {
    let served = slow(Duration::ZERO).await;
    let handle = served.connect_plain().await;
    let mut dying = handle.channel_open_session().await.unwrap();
    dying.exec(true, "die").await.unwrap();
    soon(async { while !matches!(dying.wait().await, Some(Wire::Close) | None) {} }).await;
    let mut sibling = handle.channel_open_session().await.unwrap();
    sibling.exec(true, "x").await.unwrap();
    assert_eq!(answers(&mut sibling, 1).await, [true]);
}
