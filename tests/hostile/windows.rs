//! Flow control that a peer does not keep (RFC 4254 section 5.2): windows overrun, overflown, of nothing.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::{Limits, Timeouts};

use crate::channel::Chan;
use crate::peer::Peer;
use crate::rules::{Memory, alone, test};
use crate::target::Target;
use crate::wire::{data, number, open, request, to_channel};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        alone("a_window_overrun_a_hundred_times_costs_the_budget_and_that_channel", overrun),
        alone("a_window_overrun_on_a_channel_that_nothing_runs_on_costs_the_budget", overrun_unused),
        test("a_window_that_grows_beyond_32_bits_stays_there", overflow),
        test("a_window_of_nothing_stops_that_channel_alone", nothing),
        alone("packets_of_nothing_harm_only_who_wants_them", no_packet),
        test("the_largest_window_and_packet_are_taken_as_they_are", everything),
        alone("a_peer_that_never_reads_costs_the_outbound_mark_until_the_write_stall", deaf),
        alone("answers_that_nobody_reads_cost_no_more_than_the_write_buffer", unread_answers),
    ]
}

const MIB: usize = 1 << 20;

async fn impatient() -> Target {
    Target::with(|config| {
        let mut timeouts = Timeouts::default();
        timeouts.write_stall = Duration::from_secs(2);
        let mut limits = Limits::server();
        limits.stall_timeout = Duration::from_secs(1);
        limits.window = 256 << 10;
        limits.inbound_budget = 8 << 20;
        config.timeouts(timeouts).limits(limits)
    })
    .await
}

/// 25 MiB for a window of 256 KiB and a budget of 8 MiB.
async fn pour_into(peer: &mut Peer, chan: Chan) {
    let piece = data(chan.theirs, vec![7; 32 << 10]);
    for _ in 0..100 {
        if peer.send_all((0..8).map(|_| &piece)).await.is_err() {
            return;
        }
    }
}

async fn overrun() {
    let target = impatient().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let victim = peer.run("hoard").await.unwrap();
    let memory = Memory::now();
    pour_into(&mut peer, victim).await;
    peer.closed(victim).await.unwrap();
    peer.echo(sibling).await.unwrap();
    bystander.lives().await;
    memory.grew_at_most(32);
}

/// Nobody will ever consume it.
async fn overrun_unused() {
    let target = impatient().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let victim = peer.open().await.unwrap();
    let memory = Memory::now();
    pour_into(&mut peer, victim).await;
    peer.closed(victim).await.unwrap();
    peer.echo(sibling).await.unwrap();
    bystander.lives().await;
    memory.grew_at_most(32);
}

async fn overflow() {
    let target = Target::start().await;
    let (mut peer, sibling) = target.guest().await;
    let chan = peer.run("pour").await.unwrap();
    let grant = to_channel(number::WINDOW_ADJUST, chan.theirs).u32(u32::MAX);
    peer.send_all((0..1000).map(|_| &grant)).await.unwrap();
    let mut seen = 0;
    while seen < 8 * MIB {
        seen += peer.wait_for(number::CHANNEL_DATA).await.unwrap().len();
    }
    peer.send(to_channel(number::CHANNEL_CLOSE, chan.theirs)).await.unwrap();
    peer.closed(chan).await.unwrap();
    peer.echo(sibling).await.unwrap();
}

/// OTP: packet_size_zero. Nothing can be sent in packets of nothing; russh ends the connection of a peer that wants it.
async fn no_packet() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    for window in [0, 1, 1 << 20] {
        let (mut peer, _) = target.guest().await;
        let memory = Memory::now();
        if let Ok(Ok(chan)) = peer.try_open("session", window, 0).await
            && peer.send(request(chan.theirs, "exec", true).string("pour")).await.is_ok()
        {
            let _ = peer.answers().await;
        }
        bystander.lives().await;
        memory.grew_at_most(16);
    }
}

async fn nothing() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    for (window, max_packet) in [(0, 32 << 10), (0, 1), (1, 1), (1, u32::MAX)] {
        let chan = peer.try_open("session", window, max_packet).await.unwrap().unwrap();
        peer.send(request(chan.theirs, "exec", true).string("pour")).await.unwrap();
        assert!(peer.verdict(chan).await.unwrap());
        peer.echo(sibling).await.unwrap();
        peer.send(to_channel(number::WINDOW_ADJUST, chan.theirs).u32(3)).await.unwrap();
        let heard = peer.answers().await.unwrap();
        let bytes: usize = heard.iter().filter(|p| p[0] == number::CHANNEL_DATA).map(|p| p.len() - 9).sum();
        assert!(bytes <= 4, "{bytes} bytes for a window of {window} and packets of {max_packet}");
        peer.send(to_channel(number::CHANNEL_CLOSE, chan.theirs)).await.unwrap();
        peer.closed(chan).await.unwrap();
        peer.echo(sibling).await.unwrap();
        bystander.lives().await;
    }
}

async fn everything() {
    let target = Target::start().await;
    let (mut peer, sibling) = target.guest().await;
    let chan = peer.try_open("session", u32::MAX, u32::MAX).await.unwrap().unwrap();
    peer.send(request(chan.theirs, "exec", true).string("echo")).await.unwrap();
    assert!(peer.verdict(chan).await.unwrap());
    peer.echo(chan).await.unwrap();
    peer.send(data(chan.theirs, vec![b'x'; 200 << 10])).await.unwrap();
    let mut seen = 0;
    while seen < 200 << 10 {
        let piece = peer.wait_for(number::CHANNEL_DATA).await.unwrap();
        assert!(piece.len() <= 256 << 10, "a packet of {} bytes", piece.len());
        seen += piece.len() - 9;
    }
    peer.echo(sibling).await.unwrap();
}

async fn deaf() {
    let target = impatient().await;
    let mut bystander = target.bystander().await;
    let memory = Memory::now();
    let mut peer = Peer::logged_in(target.addr()).await;
    let addr = peer.local_addr();
    for _ in 0..8 {
        peer.send(open("session", 0, u32::MAX, 32 << 10)).await.unwrap();
    }
    let opened: Vec<u32> = {
        let mut ids = Vec::new();
        while ids.len() < 8 {
            let answer = peer.wait_for(number::OPEN_CONFIRMATION).await.unwrap();
            ids.push(u32::from_be_bytes(answer[5..9].try_into().unwrap()));
        }
        ids
    };
    peer.deaf = true;
    for id in opened {
        peer.send(request(id, "exec", false).string("pour")).await.unwrap();
    }
    target.says_why(addr, "has read nothing for").await;
    bystander.lives().await;
    memory.grew_at_most(64);
}

/// Every request costs an answer, and none is read.
async fn unread_answers() {
    let target = impatient().await;
    let mut bystander = target.bystander().await;
    for request in [
        crate::wire::Payload::new(number::GLOBAL_REQUEST).string("x").bool(true),
        open("nonsense", 1, 0, 1),
        open("session", 1, 0, 1),
        request(2, "env", true).string("A").string("b"),
    ] {
        let (mut peer, _) = target.guest().await;
        peer.open().await.unwrap();
        let addr = peer.local_addr();
        let memory = Memory::now();
        peer.deaf = true;
        // Until nothing more is taken; the answers to a million of these are 40 MiB.
        for _ in 0..100 {
            if peer.send_all((0..10_000).map(|_| &request)).await.is_err() {
                break;
            }
        }
        target.says_why(addr, "ended").await;
        bystander.lives().await;
        memory.grew_at_most(64);
    }
}
