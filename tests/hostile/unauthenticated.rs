//! Keys exchanged, nobody logged in: nothing of the connection protocol is there, and nobody gets in by asking oddly.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::kex::{Exchange, Lists, Role};
use crate::login::password;
use crate::packet::frame_with;
use crate::peer::Peer;
use crate::rules::{Memory, alone, test};
use crate::target::{PASSWORD, Target};
use crate::wire::{Payload, data, login, number, open, request, to_channel};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("an_open_and_an_exec_before_the_login_run_nothing", early_exec),
        test("no_message_of_the_connection_protocol_is_answered_before_the_login", every_number),
        test("a_login_before_the_service_was_requested_is_not_looked_at", no_service),
        test("odd_service_requests_are_refused_or_end_the_connection", services),
        test("malformed_logins_end_the_connection_and_let_nobody_in", malformed_logins),
        test("refused_logins_of_every_kind_end_the_connection_in_the_end", refusals),
        test("packets_that_are_forged_end_the_connection", forged),
        test("whoever_does_not_log_in_is_gone_at_the_grace_whatever_it_sends", grace),
        test("a_key_exchange_before_the_login_gives_no_more_time", rekeying_for_time),
        alone("a_flood_before_the_login_costs_no_memory", flood),
    ]
}

/// CVE-2025-32433: the open, the exec and the data of a client that has not logged in.
async fn early_exec() {
    let target = Target::start().await;
    let attack = || {
        [
            open("session", 0, 1 << 20, 1 << 15),
            request(0, "exec", true).string("echo"),
            request(1, "exec", true).string("echo"),
            request(2, "exec", true).string("echo"),
            data(0, "id\n"),
            data(2, "id\n"),
        ]
    };
    let mut before_service = Peer::keyed(target.addr()).await;
    before_service.send_all(attack()).await.unwrap();
    let mut before_login = Peer::keyed(target.addr()).await;
    before_login.ask_for_authentication().await.unwrap();
    before_login.send_all(attack()).await.unwrap();
    before_service.ask_for_authentication().await.unwrap();
    // What was sent before must not wake up later.
    for mut peer in [before_service, before_login] {
        peer.log_in().await.unwrap();
        assert_eq!(peer.answers().await.unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(target.started(), 0);
    }
    target.bystander().await.lives().await;
    assert_eq!(target.started(), 1);
}

async fn every_number() {
    let target = Target::start().await;
    let mut peer = Peer::keyed(target.addr()).await;
    for round in 0..2 {
        for number in 80..=127 {
            let body = Payload::new(number).string("session").u32(0).u32(1 << 20).u32(1 << 15);
            peer.send_all([body, to_channel(number, 0), to_channel(number, 1), Payload::new(number)])
                .await
                .unwrap();
        }
        if round == 0 {
            peer.ask_for_authentication().await.unwrap();
        }
    }
    peer.send(password("wrong")).await.unwrap();
    let first = peer.recv().await.unwrap();
    assert_eq!(first[0], number::USERAUTH_FAILURE, "something was answered before: {first:?}");
    assert_eq!(target.started(), 0);
    target.bystander().await.lives().await;
}

async fn no_service() {
    let target = Target::start().await;
    let mut peer = Peer::keyed(target.addr()).await;
    peer.send_all([login("alice", "none"), password(PASSWORD)]).await.unwrap();
    peer.send(Payload::new(number::USERAUTH_INFO_RESPONSE).u32(0)).await.unwrap();
    peer.ask_for_authentication().await.unwrap();
    assert_eq!(target.asked(), 0);
    peer.log_in().await.unwrap();
    assert_eq!(target.asked(), 1);
}

async fn services() {
    let target = Target::start().await;
    let request = |name: &str| Payload::new(number::SERVICE_REQUEST).string(name);
    let mut peer = Peer::keyed(target.addr()).await;
    peer.send_all([request("ssh-connection"), request(""), request(&"x".repeat(200 << 10))]).await.unwrap();
    peer.ask_for_authentication().await.unwrap();
    peer.send_all((0..100).map(|_| request("ssh-userauth"))).await.unwrap();
    peer.send(request("ssh-connection")).await.unwrap();
    peer.log_in().await.unwrap();
    let malformed = [
        Payload::new(number::SERVICE_REQUEST),
        Payload::new(number::SERVICE_REQUEST).lying_string(u32::MAX, "ssh-userauth"),
        request("ssh-userauth").byte(0),
        Payload::new(number::SERVICE_REQUEST).string(b"\xff\xff"),
    ];
    for payload in malformed {
        let mut peer = Peer::keyed(target.addr()).await;
        peer.send(payload).await.unwrap();
        let _ = peer.until_gone().await;
        target.says_why(peer.local_addr(), "no login").await;
    }
}

async fn malformed_logins() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let user = || Payload::new(number::USERAUTH_REQUEST).string("alice");
    let cases = [
        ("nothing", Payload::new(number::USERAUTH_REQUEST)),
        ("a user that is no text", Payload::new(number::USERAUTH_REQUEST).string(b"\xff")),
        ("another service", user().string("ssh-disconnection").string("none")),
        ("no method", user().string("ssh-connection")),
        ("half a password", login("alice", "password").bool(false).lying_string(1 << 20, "x")),
        ("a password that is no text", login("alice", "password").bool(false).string(b"\xff\xfe")),
        ("bytes behind the password", password(PASSWORD).byte(0)),
        ("bytes behind none", login("alice", "none").byte(0)),
        ("half a key", login("alice", "publickey").bool(true).string("ssh-ed25519").u32(1 << 30)),
        (
            "half a signature",
            login("alice", "publickey")
                .bool(true)
                .string("ssh-ed25519")
                .string(Payload::default().string("ssh-ed25519").string([7; 32]))
                .u32(u32::MAX),
        ),
        ("half a dialogue", login("alice", "keyboard-interactive").u32(u32::MAX)),
    ];
    for (what, payload) in cases {
        println!("{what}");
        let mut peer = Peer::keyed(target.addr()).await;
        peer.ask_for_authentication().await.unwrap();
        peer.send(payload).await.unwrap();
        let _ = peer.until_gone().await;
        target.says_why(peer.local_addr(), "authentication failed").await;
        bystander.lives().await;
    }
}

async fn refusals() {
    let target = Target::with(|config| config.max_auth_attempts(3)).await;
    let key = Payload::default().string("ssh-ed25519").string([7; 32]);
    let kinds = [
        login("alice", "publickey").bool(false).string("ssh-ed25519").string(&key),
        login("alice", "publickey").bool(false).string("ssh-nonsense").string(&key),
        login("alice", "hostbased").string("x"),
        login("alice", "keyboard-interactive").string("").string(""),
        login("alice", "none"),
        login(&"a".repeat(100 << 10), "none"),
        login("alice", "password").bool(true).string("old").string("new"),
        login(&"a".repeat(100 << 10), "password").bool(false).string(PASSWORD),
    ];
    for payload in kinds {
        let mut peer = Peer::keyed(target.addr()).await;
        peer.ask_for_authentication().await.unwrap();
        for _ in 0..20 {
            if peer.send(&payload).await.is_err() {
                break;
            }
        }
        let _ = peer.until_gone().await;
        target.says_why(peer.local_addr(), "no login").await;
    }
    assert_eq!(target.asked(), 0, "no callback is asked about a name that long");
    target.bystander().await.lives().await;
}

async fn forged() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let payload = Payload::new(number::IGNORE).string("xxxx").0;
    type Forge = fn(&mut Peer, &[u8]) -> Vec<u8>;
    let cases: [(&str, Forge); 7] = [
        ("a wrong MAC", |peer, payload| {
            let packet = crate::packet::frame(payload);
            peer.outgoing.seal(packet, |tag| tag[0] ^= 1)
        }),
        ("a number that was left out", |peer, payload| {
            peer.outgoing.sequence += 1;
            peer.outgoing.pack(payload)
        }),
        ("no encryption", |_, payload| crate::packet::frame(payload)),
        ("a length of 2^32-1", |peer, _| peer.outgoing.seal(vec![0xff; 64], |_| {})),
        ("a length of 0", |peer, _| peer.outgoing.seal(vec![0; 64], |_| {})),
        ("more padding than packet", |peer, payload| {
            let mut packet = crate::packet::frame(payload);
            packet[4] = 255;
            peer.outgoing.seal(packet, |_| {})
        }),
        ("half a block, then noise", |peer, payload| {
            let packet = peer.outgoing.seal(frame_with(payload, 4), |_| {});
            [packet, vec![0xa5; 4096]].concat()
        }),
    ];
    for (what, forge) in cases {
        println!("{what}");
        let mut peer = Peer::keyed(target.addr()).await;
        let bytes = forge(&mut peer, &payload);
        let _ = peer.send_raw(&bytes).await;
        let _ = peer.until_gone().await;
        target.says_why(peer.local_addr(), "failed").await;
        bystander.lives().await;
    }
}

async fn brief() -> (Target, Duration) {
    let grace = Duration::from_millis(700);
    (Target::with(|config| config.login_grace(grace)).await, grace)
}

async fn grace() {
    let (target, grace) = brief().await;
    let noise = [
        Payload::new(number::IGNORE).string("x"),
        Payload::new(number::GLOBAL_REQUEST).string("keepalive@openssh.com").bool(true),
        Payload::new(number::SERVICE_REQUEST).string("ssh-userauth"),
    ];
    for payload in noise {
        let start = Instant::now();
        let mut peer = Peer::connect(target.addr()).await;
        peer.greet().await.unwrap();
        Exchange::run(&mut peer).await.unwrap();
        peer.ask_for_authentication().await.unwrap();
        while peer.send(&payload).await.is_ok() && !peer.ends_within(Duration::from_millis(20)).await {}
        let kept = start.elapsed();
        assert!(kept >= grace && kept < grace * 4, "{kept:?}");
        target.says_why(peer.local_addr(), "was not done in").await;
    }
}

async fn rekeying_for_time() {
    let (target, grace) = brief().await;
    let start = Instant::now();
    let mut peer = Peer::connect(target.addr()).await;
    peer.greet().await.unwrap();
    Exchange::run(&mut peer).await.unwrap();
    while Exchange::run(&mut peer).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let kept = start.elapsed();
    assert!(kept < grace * 4, "{kept:?}");
    // And one that begins and is not continued.
    let mut peer = Peer::keyed(target.addr()).await;
    let start = Instant::now();
    peer.send(Lists::honest(&Role::Client).payload()).await.unwrap();
    let _ = peer.until_gone().await;
    assert!(start.elapsed() < grace * 4, "{:?}", start.elapsed());
}

/// 64 MiB of what is not answered, by four peers at once.
async fn flood() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let memory = Memory::now();
    let mut floods = tokio::task::JoinSet::new();
    for number in [number::IGNORE, number::GLOBAL_REQUEST, number::CHANNEL_OPEN, number::PING] {
        let addr = target.addr();
        floods.spawn(async move {
            let mut peer = Peer::keyed(addr).await;
            peer.ask_for_authentication().await.unwrap();
            let payload = Payload::new(number).string(vec![7; 32 << 10]);
            let _ = peer.send_all((0..512).map(|_| &payload)).await;
        });
    }
    while let Some(done) = floods.join_next().await {
        done.unwrap();
        bystander.lives().await;
    }
    memory.grew_at_most(32);
}
