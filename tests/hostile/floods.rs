//! Very much of what is allowed once: it costs its sender time, and nobody else anything.
//!
//! How much is too much is the business of limits, and a limit may end the connection. What these tests ask for
//! holds with any limits: the flooder is served on or ended, memory is bounded, others are served as before.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::Keepalive;
use ractor_ssh::{Rate, SessionLimits};

use crate::kex::{Exchange, Lists, Role};
use crate::peer::Peer;
use crate::rules::{Memory, alone, test};
use crate::target::Target;
use crate::wire::{Payload, data, extended, number, open, pty, request, to_channel};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        alone("a_million_packets_of_one_byte_are_served_in_bounded_memory", tiny),
        alone("empty_and_extended_data_without_end_cost_no_memory", empty),
        alone("twenty_thousand_opens_get_no_more_channels_than_allowed", opens),
        alone("ten_thousand_channels_opened_and_closed_leave_nothing_behind", cycles),
        alone("requests_without_end_cost_no_more_than_their_budget", requests),
        alone("messages_for_nobody_without_end_cost_no_memory", ignored),
        test("a_flood_of_kexinit_ends_the_connection", kexinits),
        test("key_exchanges_again_and_again_harm_nobody", rekeys),
        test("channel_messages_in_the_middle_of_a_key_exchange_end_the_connection", amid_kex),
        test("a_peer_that_stops_amid_a_key_exchange_is_found_dead_by_the_keepalive", stopped_kex),
        test("a_disconnect_with_junk_ends_that_connection_alone", disconnects),
    ]
}

const PACKET: u32 = 32 << 10;

/// Whether it was ended for it or not: nobody else notices.
async fn flood(target: &Target, payload: &Payload, count: usize, mebibytes: usize) {
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let memory = Memory::now();
    peer.counts = Some(Default::default());
    let sent = peer.send_all((0..count).map(|_| payload)).await;
    bystander.lives().await;
    if sent.is_ok() && peer.answers().await.is_ok() {
        peer.echo(sibling).await.unwrap();
    } else {
        target.says_why(peer.local_addr(), "ended").await;
    }
    bystander.lives().await;
    memory.grew_at_most(mebibytes);
}

async fn tiny() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    for (command, count) in [("wait", 1_000_000), ("echo", 100_000)] {
        let (mut peer, sibling) = target.guest().await;
        let chan = peer.run(command).await.unwrap();
        let memory = Memory::now();
        peer.counts = Some(Default::default());
        let piece = data(chan.theirs, "x");
        for _ in 0..10 {
            peer.send_all((0..count / 10).map(|_| &piece)).await.unwrap();
            bystander.lives().await;
        }
        peer.echo(sibling).await.unwrap();
        memory.grew_at_most(96);
    }
}

async fn empty() {
    let target = Target::start().await;
    // The first channel of a guest is its sibling, number 2 with russh; it runs an echo.
    flood(&target, &data(2, ""), 100_000, 64).await;
    flood(&target, &extended(2, 1, ""), 100_000, 64).await;
    flood(&target, &extended(2, 7, "x"), 100_000, 64).await;
}

async fn opens() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let memory = Memory::now();
    peer.counts = Some(Default::default());
    let sent = peer.send_all((0..20_000).map(|n| open("session", n, 0, PACKET))).await;
    if sent.is_ok() && peer.answers().await.is_ok() && peer.echo(sibling).await.is_ok() {
        let counts = peer.counts.take().unwrap();
        let confirmed = counts.get(&number::OPEN_CONFIRMATION).copied().unwrap_or_default();
        let refused = counts.get(&number::OPEN_FAILURE).copied().unwrap_or_default();
        assert!(confirmed <= 63, "{confirmed} channels");
        assert_eq!(confirmed + refused, 20_000, "every open has an answer");
        // As few as there are, as many can be had: they are all taken.
        assert_eq!(peer.try_open("session", 0, PACKET).await.unwrap(), Err(4));
    } else {
        target.says_why(peer.local_addr(), "ended").await;
    }
    bystander.lives().await;
    memory.grew_at_most(32);
}

async fn cycles() {
    const COUNT: usize = 10_000;
    const WAVE: usize = 40;
    let mut limits = SessionLimits::default();
    limits.opens = Rate::unlimited();
    let target = Target::with(|config| config.session_limits(limits)).await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let memory = Memory::now();
    for _ in 0..COUNT / WAVE {
        peer.send_all((0..WAVE).map(|_| open("session", 7, 0, PACKET))).await.unwrap();
        let mut waiting = WAVE;
        while waiting > 0 {
            let answer = peer
                .wait_where(|p| [number::OPEN_CONFIRMATION, number::OPEN_FAILURE].contains(&p[0]))
                .await
                .unwrap();
            waiting -= 1;
            if answer[0] == number::OPEN_CONFIRMATION {
                let theirs = u32::from_be_bytes(answer[5..9].try_into().unwrap());
                peer.send(to_channel(number::CHANNEL_CLOSE, theirs)).await.unwrap();
            }
        }
    }
    peer.echo(sibling).await.unwrap();
    bystander.lives().await;
    // 4 KiB each would be 40.
    memory.grew_at_most(24);
}

async fn requests() {
    let target = Target::start().await;
    let unused = 3;
    for (payload, count) in [
        (request(unused, "env", true).string("NAME").string("value"), 100_000),
        (request(unused, "env", false).string("N".repeat(1000)).string("v".repeat(1000)), 10_000),
        (request(2, "exec", true).string("echo"), 20_000),
        (request(2, "window-change", false).raw([0xff; 16]), 20_000),
        (request(2, "signal", false).string("S".repeat(1000)), 10_000),
        (pty(unused, u32::MAX, u32::MAX, &[0]), 10_000),
        (Payload::new(number::GLOBAL_REQUEST).string("x").bool(true), 50_000),
        (Payload::new(number::GLOBAL_REQUEST).string("tcpip-forward").bool(true).string("").u32(0), 20_000),
    ] {
        flood(&target, &payload, count, 64).await;
    }
    // On a channel that nothing runs on yet.
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let chan = peer.open().await.unwrap();
    let memory = Memory::now();
    peer.counts = Some(Default::default());
    for payload in [
        request(chan.theirs, "env", true).string("N".repeat(1000)).string("v".repeat(1000)),
        request(chan.theirs, "window-change", false).raw([0xff; 16]),
        request(chan.theirs, "signal", false).string("S".repeat(1000)),
        pty(chan.theirs, u32::MAX, u32::MAX, &[1, 0xff, 0xff, 0xff, 0xff].repeat(100)),
    ] {
        if peer.send_all((0..10_000).map(|_| &payload)).await.is_err() {
            target.says_why(peer.local_addr(), "ended").await;
            break;
        }
        peer.answers().await.unwrap();
        peer.echo(sibling).await.unwrap();
        bystander.lives().await;
    }
    memory.grew_at_most(64);
}

async fn ignored() {
    let target = Target::start().await;
    for payload in [
        Payload::new(number::IGNORE).string("x"),
        Payload::new(number::DEBUG).bool(true).string("x").string(""),
        Payload::new(number::UNIMPLEMENTED).u32(0),
        Payload::new(number::PING).string("x"),
        Payload::new(number::REQUEST_SUCCESS),
        Payload::new(number::REQUEST_FAILURE),
        to_channel(number::CHANNEL_CLOSE, 99),
        data(99, "x"),
    ] {
        flood(&target, &payload, 50_000, 32).await;
    }
}

async fn kexinits() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, _) = target.guest().await;
    let kexinit = Lists::honest(&Role::Client).payload();
    let sent = peer.send_all((0..10_000).map(|_| &kexinit)).await;
    assert!(sent.is_err() || peer.answers().await.is_err());
    target.says_why(peer.local_addr(), "protocol error").await;
    bystander.lives().await;
}

async fn rekeys() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    for _ in 0..100 {
        if Exchange::run(&mut peer).await.is_err() {
            target.says_why(peer.local_addr(), "ended").await;
            break;
        }
        peer.echo(sibling).await.unwrap();
    }
    bystander.lives().await;
}

async fn amid_kex() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    for payload in [
        data(2, "x"),
        open("session", 9, 0, PACKET),
        request(2, "exec", true).string("echo"),
        Payload::new(number::GLOBAL_REQUEST).string("x").bool(true),
    ] {
        let (mut peer, _) = target.guest().await;
        Exchange::begin(&mut peer, &Lists::honest(&Role::Client)).await.unwrap();
        let _ = peer.send(payload).await;
        let _ = peer.until_gone().await;
        target.says_why(peer.local_addr(), "protocol error").await;
        bystander.lives().await;
    }
    // NEWKEYS out of the blue, and public values.
    for payload in [Payload::new(number::NEWKEYS), Payload::new(number::ECDH_INIT).string([9; 32])] {
        let (mut peer, _) = target.guest().await;
        let _ = peer.send(payload).await;
        let lives = peer.answers().await.is_ok();
        if !lives {
            target.says_why(peer.local_addr(), "protocol error").await;
        }
        bystander.lives().await;
    }
}

async fn stopped_kex() {
    let target = Target::with(|config| config.keepalive(Keepalive::new(Duration::from_millis(300), 2))).await;
    let (mut peer, _) = target.guest().await;
    let chan = peer.run("pour").await.unwrap();
    peer.send(Lists::honest(&Role::Client).payload()).await.unwrap();
    let _ = peer.until_gone().await;
    target.says_why(peer.local_addr(), "ended").await;
    let _ = chan;
}

async fn disconnects() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let disconnect = || Payload::new(number::DISCONNECT);
    for payload in [
        disconnect(),
        disconnect().u32(u32::MAX).string([0xff; 100]).string([0xff; 100]),
        disconnect().u32(11).string("x".repeat(200 << 10)).string(""),
        disconnect().u32(2).lying_string(u32::MAX, "x"),
        disconnect().u32(11).string("\x1b[2J\x07\r\nroot logged in").string("en"),
    ] {
        let (mut peer, _) = target.guest().await;
        peer.send(payload).await.unwrap();
        let _ = peer.until_gone().await;
        target.says_why(peer.local_addr(), "ended").await;
        bystander.lives().await;
    }
    let mut peer = Peer::keyed(target.addr()).await;
    peer.send(disconnect().u32(u32::MAX).string([0xff; 100])).await.unwrap();
    let _ = peer.until_gone().await;
    target.says_why(peer.local_addr(), "no login").await;
}
