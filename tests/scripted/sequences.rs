//! Whatever both sides do in whatever order: what was sent arrives whole and in order, one CLOSE each way, `Closed`
//! once and last, and nothing is left.

use proptest::prelude::*;
use ractor_ssh::ChannelMsg;
use ractor_ssh::bytes::Bytes;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::StopReason;
use ractor_ssh::test_util::{ScriptConfig, Sent, scripted};

use crate::kit::{
    Act, Channel, Order, Probe, SECOND, Seen, assert_alive, assert_clean, open, open_with, settle, within,
};

#[derive(Debug, Clone)]
enum Op {
    PeerData(usize),
    PeerEof,
    PeerStatus,
    PeerReply(bool),
    PeerWindow(u32),
    PeerClose,
    Send(usize),
    Notify,
    Request,
    Eof,
    Close,
    Abort,
    Stop,
    StopInside,
    Fail,
    Panic,
    Kill,
    Settle,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..300).prop_map(Op::PeerData),
        1 => Just(Op::PeerEof),
        2 => Just(Op::PeerStatus),
        3 => any::<bool>().prop_map(Op::PeerReply),
        4 => (1u32..300).prop_map(Op::PeerWindow),
        1 => Just(Op::PeerClose),
        6 => (0usize..300).prop_map(Op::Send),
        2 => Just(Op::Notify),
        2 => Just(Op::Request),
        1 => Just(Op::Eof),
        1 => Just(Op::Close),
        1 => Just(Op::Abort),
        1 => Just(Op::Stop),
        1 => Just(Op::StopInside),
        1 => Just(Op::Fail),
        1 => Just(Op::Panic),
        1 => Just(Op::Kill),
        6 => Just(Op::Settle),
    ]
}

fn bytes(len: usize, seed: &mut u8) -> Bytes {
    (0..len)
        .map(|_| {
            *seed = seed.wrapping_add(1);
            *seed
        })
        .collect()
}

async fn apply(op: Op, channel: &Channel, from_peer: &mut u8, from_us: &mut u8) {
    let Channel { here, there, .. } = channel;
    let order = |act: Act| drop(here.cast(Order::new(move |_| act)));
    match op {
        Op::PeerData(len) => there.data(bytes(len, from_peer)),
        Op::PeerEof => there.eof(),
        Op::PeerStatus => there.exit_status(0),
        Op::PeerReply(success) => there.reply(success),
        Op::PeerWindow(len) => there.adjust_window(len),
        Op::PeerClose => there.close(),
        Op::Send(len) => {
            let handle = here.clone();
            let data = bytes(len, from_us);
            // Only what is taken at once, so that the order is known.
            let sent = tokio::time::timeout(std::time::Duration::ZERO, handle.send(data.clone())).await;
            if !matches!(sent, Ok(Ok(()))) {
                *from_us = from_us.wrapping_sub(len as u8);
            }
        }
        Op::Notify => {
            let _ = here.cast(Order::new(|ctx| {
                ctx.notify_when_ready();
                Act::Go
            }));
        }
        Op::Request => {
            let handle = here.clone();
            tokio::spawn(async move { handle.shell().await });
        }
        Op::Eof => drop(here.send_eof()),
        Op::Close => here.close(),
        Op::Abort => here.abort(),
        Op::Stop => here.stop("told to"),
        Op::StopInside => order(Act::Stop),
        Op::Fail => order(Act::Fail),
        Op::Panic => order(Act::Panic),
        Op::Kill => here.kill(),
        Op::Settle => settle().await,
    }
}

/// Each byte is the one before plus one.
fn counts_up(data: &[u8]) -> bool {
    data.iter().enumerate().all(|(n, byte)| *byte == (n as u8).wrapping_add(1))
}

fn check_events(seen: &[Seen], killed: bool) {
    let mut data = Vec::new();
    let mut closed = 0;
    for event in seen {
        match event {
            Seen::Msg(ChannelMsg::Data { data: piece, .. }) => data.extend_from_slice(piece),
            Seen::Msg(ChannelMsg::Closed { .. }) => closed += 1,
            _ => {}
        }
        if closed > 0 {
            assert!(
                matches!(event, Seen::Msg(ChannelMsg::Closed { .. }) | Seen::Terminate(_)),
                "{event:?} after Closed"
            );
        }
    }
    assert!(counts_up(&data), "lost or out of order");
    assert!(closed <= 1);
    let terminated = seen.iter().filter(|event| matches!(event, Seen::Terminate(_))).count();
    assert!(terminated == 1 || (killed && terminated == 0), "terminate ran {terminated} times");
    if let Some(Seen::Terminate(StopReason::Closed(_))) = seen.last() {
        assert_eq!(closed, 1, "over without Closed");
    }
}

fn check_wire(sent: &[Sent]) {
    let mut data = Vec::new();
    let mut eof = false;
    for (n, item) in sent.iter().enumerate() {
        match item {
            Sent::Data { data: piece, .. } => {
                assert!(!eof, "data after eof");
                data.extend_from_slice(piece);
            }
            Sent::Eof => assert!(!std::mem::replace(&mut eof, true), "eof twice"),
            Sent::Close => assert_eq!(n + 1, sent.len(), "something after CLOSE"),
            _ => {}
        }
    }
    assert!(counts_up(&data), "sent out of order");
    assert_eq!(sent.last(), Some(&Sent::Close), "no CLOSE");
}

async fn scenario(high_water: usize, window: u32, ops: Vec<Op>) {
    let config = ScriptConfig::new().window(window).max_packet(50);
    let (conn, mut peer) = scripted(config).await;
    let mut sibling = open(&conn, &mut peer).await;
    let (probe, events) = Probe::new();
    let options = ChannelOptions::new().high_water(high_water);
    let mut channel = open_with(&conn, &mut peer, options, probe, events).await;
    let killed = ops.iter().any(|op| matches!(op, Op::Kill));
    let (mut from_peer, mut from_us) = (0, 0);
    for op in ops {
        apply(op, &channel, &mut from_peer, &mut from_us).await;
    }
    sibling.there.adjust_window(1000);
    assert_alive(&mut sibling).await;
    channel.here.close();
    channel.there.adjust_window(1 << 20);
    tokio::time::sleep(SECOND).await;
    channel.there.close();
    channel.here.wait().await;
    check_events(&channel.events.rest().await, killed);
    settle().await;
    check_wire(&channel.there.sent());
    sibling.there.close();
    sibling.here.wait().await;
    assert_clean(&conn, &peer).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_both_sides_loses_disorders_or_leaks(
        high_water in 1usize..200,
        window in 0u32..500,
        ops in proptest::collection::vec(op(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(within(3600 * SECOND, scenario(high_water, window, ops)));
    }
}
