//! Every sentence about a channel and its connection, against a scripted peer.

use std::sync::{Arc, Mutex};

use ractor_ssh::config::{ChannelOptions, Keepalive};
use ractor_ssh::observe::{Callback, ChannelInfo, ChannelState};
use ractor_ssh::test_util::{ScriptConfig, scripted};
use ractor_ssh::{ChannelMsg, ConnectionRef, Credit};
use tokio::time::sleep;

use crate::kit::{Act, Channel, Order, Probe, SECOND, open, open_window, open_with, opening, plain};

async fn only(conn: &ConnectionRef) -> ChannelInfo {
    let mut channels = conn.info().await.unwrap().channels;
    assert_eq!(channels.len(), 1, "{channels:#?}");
    channels.remove(0)
}

async fn why(conn: &ConnectionRef) -> Vec<String> {
    only(conn).await.why_stuck()
}

async fn why_not_the_connection(conn: &ConnectionRef) -> Vec<String> {
    conn.info().await.unwrap().why_stuck()
}

/// Channels that share so little that one of them can stop the reading of all.
async fn narrow() -> (ConnectionRef, ractor_ssh::test_util::ScriptedPeer) {
    scripted(ScriptConfig::new().limits(|limits| limits.inbound_budget = 1 << 20)).await
}

async fn open_hanging(conn: &ConnectionRef, peer: &mut ractor_ssh::test_util::ScriptedPeer) -> Channel {
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|_, _| Act::Hang);
    open_with(conn, peer, ChannelOptions::new(), probe, events).await
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_a_channel_that_works_or_rests() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    channel.there.data("a word");
    channel.here.send("another").await.unwrap();
    channel.there.expect_data().await;
    sleep(1_000 * SECOND).await;
    assert_eq!(why(&conn).await, [""; 0]);
    assert_eq!(why_not_the_connection(&conn).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_open_without_an_answer() {
    let (conn, mut peer) = plain().await;
    let _opening = opening(&conn, Probe::new().0);
    let _unanswered = peer.expect_open().await;
    sleep(5 * SECOND).await;
    assert_eq!(why(&conn).await, ["the peer has not confirmed the open for 5 s"]);
    assert_eq!(only(&conn).await.state, ChannelState::Opening);
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_does_not_return_and_what_waits_for_it() {
    let (conn, mut peer) = plain().await;
    let channel = open_hanging(&conn, &mut peer).await;
    channel.there.data(vec![0; 1 << 20]);
    channel.there.data(vec![0; 1 << 20]);
    sleep(12 * SECOND).await;
    assert_eq!(
        why(&conn).await,
        ["its behaviour has held one callback (`handle_ssh_msg`) for 12 s while 2.0 MiB wait"]
    );
    assert_eq!(only(&conn).await.callback.unwrap().callback, Callback::HandleSshMsg);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_handled_for_too_long_and_a_killed_actor_that_is_at_nothing_any_more() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    channel.here.cast(Order::new(|_| Act::Hang)).unwrap();
    sleep(3 * SECOND).await;
    assert_eq!(why(&conn).await, ["its behaviour has held one callback (`handle_msg`) for 3 s"]);
    channel.here.kill();
    sleep(SECOND / 2).await;
    assert_eq!(only(&conn).await.callback, None);
}

#[tokio::test(start_paused = true)]
async fn a_paused_connection_its_culprit_and_the_sibling_that_suffers() {
    let (conn, mut peer) = narrow().await;
    let slow = open_hanging(&conn, &mut peer).await;
    let sibling = open(&conn, &mut peer).await;
    slow.there.data(vec![0; 600 << 10]);
    slow.there.data(vec![0; 600 << 10]);
    sleep(3 * SECOND).await;
    let (slow, sibling) = (slow.here.info(), sibling.here.info());
    assert_eq!(
        slow.why_stuck(),
        [
            "its behaviour has held one callback (`handle_ssh_msg`) for 3 s while 1.1 MiB wait; reading of the whole \
          connection has been paused for 3 s because of it"
        ]
    );
    let culprit = slow.id;
    assert_eq!(
        sibling.why_stuck(),
        [format!("reading of the whole connection has been paused for 3 s because of channel {culprit}")]
    );
    assert!(slow.is_culprit() && !sibling.is_culprit());
    assert_eq!((slow.pauses, sibling.pauses), (1, 0));
    assert_eq!(
        why_not_the_connection(&conn).await,
        [format!(
            "reading has been paused for 3 s: 1.1 MiB of 1.0 MiB are unread; channel {culprit} holds 1.1 MiB of it"
        )]
    );
    assert_eq!(conn.info().await.unwrap().pause.unwrap().culprit, Some(culprit));
}

#[tokio::test(start_paused = true)]
async fn credit_that_is_not_given_back() {
    let (conn, mut peer) = plain().await;
    let kept: Arc<Mutex<Option<Credit>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(move |_, ctx| {
        *keep.lock().unwrap() = ctx.hold_credit();
        Act::Go
    });
    let channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.there.data(vec![0; 1 << 20]);
    sleep(4 * SECOND).await;
    assert_eq!(
        why(&conn).await,
        ["1.0 MiB were handed out 4 s ago or earlier, and their credit was not given back"]
    );
    kept.lock().unwrap().take();
    assert_eq!(why(&conn).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_one_channel() {
    let (conn, mut peer) = plain().await;
    let channel = open_window(&conn, &mut peer, ChannelOptions::new(), (1 << 10, 1 << 10)).await;
    channel.here.send(vec![0; 300 << 10]).await.unwrap();
    sleep(30 * SECOND).await;
    assert_eq!(
        why(&conn).await,
        ["the peer's window is empty: it has not read for 30 s while 299.0 KiB wait to be sent"]
    );
    channel.there.adjust_window(1 << 10);
    sleep(2 * SECOND).await;
    assert_eq!(
        why(&conn).await,
        ["the peer's window is empty: it has not read for 2 s while 298.0 KiB wait to be sent"]
    );
    channel.here.close();
    sleep(3 * SECOND).await;
    assert_eq!(
        why(&conn).await,
        [
            "closing, but what is queued goes first: the peer's window is empty: it has not read for 5 s while 298.0 \
          KiB wait to be sent"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_at_all() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    peer.stop_reading(true);
    channel.here.send_eof().unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(why(&conn).await, ["the transport has not taken a message for 2 s"]);
    peer.stop_reading(false);
    sleep(SECOND).await;
    assert_eq!(why(&conn).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn data_that_is_held_back_until_the_output_has_left() {
    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_msg(|msg, ctx| {
        if let ChannelMsg::Data { data, .. } = msg {
            ctx.send(data.clone()).unwrap();
        }
        Act::Go
    });
    let options = ChannelOptions::new().high_water(1 << 10);
    let (opening, there) = tokio::join!(
        conn.open_channel(ractor_ssh::wire::open::OpenRequest::Session, options, probe),
        async { peer.expect_open().await.confirm_with(0, 1 << 10) }
    );
    let channel = Channel { here: opening.unwrap(), events, there };
    channel.there.data(vec![0; 2 << 10]);
    channel.there.data(vec![0; 512]);
    sleep(2 * SECOND).await;
    assert_eq!(
        why(&conn).await,
        [
            "640 B are held back from its behaviour until its own output has left",
            "the peer's window is empty: it has not read for 2 s while 2.0 KiB wait to be sent"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    let here = channel.here.clone();
    let asking = tokio::spawn(async move { here.exec("sleep 1").await });
    sleep(3 * SECOND).await;
    assert_eq!(why(&conn).await, ["it has waited for the answer to `exec` for 3 s"]);
    assert_eq!(only(&conn).await.command.as_deref(), Some("sleep 1"));
    asking.abort();
    sleep(SECOND).await;
    assert_eq!(why(&conn).await, ["the peer has not answered `exec` for 4 s; whoever asked has given up"]);
    channel.there.reply(true);
    assert_eq!(why(&conn).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_init_and_a_terminate_that_do_not_return() {
    let (conn, mut peer) = plain().await;
    let (probe, _events) = Probe::new();
    let _opening = opening(&conn, probe.on_init(|_| Act::Hang));
    let there = peer.expect_open().await.confirm();
    sleep(2 * SECOND).await;
    assert_eq!(why(&conn).await, ["its behaviour has been in `init` for 2 s"]);
    drop(there);

    let (conn, mut peer) = plain().await;
    let (probe, events) = Probe::new();
    let probe = probe.on_terminate(Act::Hang);
    let channel = open_with(&conn, &mut peer, ChannelOptions::new(), probe, events).await;
    channel.here.stop("enough");
    sleep(2 * SECOND).await;
    let said = why(&conn).await;
    assert_eq!(said[0], "its behaviour has been in `terminate` for 2 s");
}

#[tokio::test(start_paused = true)]
async fn a_close_without_an_answer() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    channel.here.stop("enough");
    sleep(3 * SECOND).await;
    let seen = only(&conn).await;
    assert_eq!(seen.state, ChannelState::Closing);
    assert_eq!(seen.why_stuck(), ["closing: the peer's CLOSE has been missing for 3 s"]);
    channel.there.close();
    sleep(SECOND).await;
    assert!(conn.info().await.unwrap().channels.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_exchange_that_does_not_end() {
    let (conn, peer) = plain().await;
    peer.answer_rekeys(false);
    let asking = conn.clone();
    let _asking = tokio::spawn(async move { asking.rekey().await });
    sleep(4 * SECOND).await;
    assert_eq!(why_not_the_connection(&conn).await, ["the key exchange has not ended for 4 s"]);
    peer.answer_rekeys(true);
    sleep(SECOND).await;
    assert_eq!(why_not_the_connection(&conn).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_gives_no_sign_of_life() {
    let (conn, peer) = scripted(ScriptConfig::new().keepalive(Keepalive::new(10 * SECOND, 5))).await;
    peer.answer_pings(false);
    sleep(25 * SECOND).await;
    assert_eq!(
        why_not_the_connection(&conn).await,
        ["the peer has said nothing for 25 s; keepalive questions without an answer: 2"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_waits_for_channels() {
    let (conn, mut peer) = plain().await;
    let _channel = open(&conn, &mut peer).await;
    let draining = conn.clone();
    let _draining = tokio::spawn(async move { draining.shutdown(30 * SECOND).await });
    sleep(18 * SECOND).await;
    assert_eq!(
        why_not_the_connection(&conn).await,
        ["draining: channels that have not ended: 1; time left: 12 s"]
    );
}
