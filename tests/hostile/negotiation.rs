//! The first key exchange, in the clear (RFC 4253 sections 6 to 8): framing, lists, order, strictness.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::kex::{Exchange, Lists, Role};
use crate::packet::{frame, frame_with};
use crate::peer::Peer;
use crate::rules::{Memory, alone, test};
use crate::target::Target;
use crate::wire::{Payload, Reader, login, number, open};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_packet_of_an_impossible_length_or_padding_ends_the_connection", framing),
        test("a_malformed_kexinit_ends_the_connection", malformed),
        test("lists_without_a_common_algorithm_end_the_connection", nothing_in_common),
        test("no_compression_is_offered_so_there_is_nothing_to_inflate_before_the_login", no_compression),
        alone("huge_and_countless_algorithm_names_cost_no_memory_and_no_log", huge_lists),
        test("messages_out_of_order_end_the_key_exchange", out_of_order),
        test("public_values_that_are_none_end_the_key_exchange", public_values),
        test("with_strict_key_exchange_nothing_may_come_between", strictness),
        test("without_strict_key_exchange_ignored_messages_may_come_between", leniency),
        test("a_wrong_guess_is_ignored_and_a_right_one_taken", guesses),
        test("a_key_exchange_that_stops_in_the_middle_ends_with_its_timeout", standstill),
    ]
}

/// Sends this after the greeting, and expects the end, with a reason in the log.
async fn ends(target: &Target, what: &str, bytes: &[u8]) {
    let mut peer = Peer::greeted(target.addr()).await;
    let addr = peer.local_addr();
    let start = Instant::now();
    let _ = peer.send_raw(bytes).await;
    let _ = peer.until_gone().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{what}: {:?}", start.elapsed());
    target.says_why(addr, "key exchange failed").await;
}

async fn framing() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let ignore = Payload::new(number::IGNORE).string("x").0;
    let mut too_much_padding = frame(&ignore);
    too_much_padding[4] = 255;
    let mut long = (300_u32 << 10).to_be_bytes().to_vec();
    long.resize(300 << 10, 0);
    let cases: [(&str, Vec<u8>); 6] = [
        ("length 2^32-1", vec![0xff; 64]),
        ("length 2^31", [&[0x80, 0, 0, 0][..], &[0; 60]].concat()),
        ("300 KiB", long),
        ("more padding than packet", too_much_padding),
        ("length 0", vec![0; 64]),
        ("a payload of nothing but a lying string", frame(&Payload::new(number::KEXINIT).u32(u32::MAX).0)),
    ];
    for (what, bytes) in cases {
        println!("{what}");
        ends(&target, what, &bytes).await;
        bystander.lives().await;
    }
    // Allowed to be odd, as long as it says what it means: the daemon may take it or leave it.
    for padding in [0, 1, 3, 5, 200] {
        let mut peer = Peer::greeted(target.addr()).await;
        let _ = peer.send_raw(&frame_with(&ignore, padding)).await;
        peer.ends_within(Duration::from_millis(30)).await;
        bystander.lives().await;
    }
}

async fn malformed() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let honest = Lists::honest(&Role::Client).payload().0;
    for cut in [1, 2, 16, 17, 18, 20, 21, 30, 60, honest.len() - 5, honest.len() - 1] {
        ends(&target, &format!("cut to {cut} bytes"), &frame(&honest[..cut])).await;
    }
    let start = Payload(honest[..17].to_vec());
    let lying = start.clone().lying_string(u32::MAX, "curve25519-sha256").0;
    let no_text = start.clone().string(b"\xff\xfe\xfd").raw([0; 64]).0;
    let empty_names = start.clone().string(",,,,").raw([0; 64]).0;
    let all_empty = start.raw([0; 50]).0;
    let trailing = [&honest[..], b"more"].concat();
    let cases = [
        ("a list longer than the packet", lying),
        ("names that are no text", no_text),
        ("empty names", empty_names),
        ("empty lists", all_empty),
        ("bytes behind the end", trailing),
    ];
    for (what, payload) in cases {
        ends(&target, what, &frame(&payload)).await;
    }
    bystander.lives().await;
}

async fn nothing_in_common() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let change: [fn(&mut Lists); 6] = [
        |lists| lists.kex = "diffie-hellman-group1-sha1".into(),
        |lists| lists.host_key = "ssh-dss".into(),
        |lists| lists.cipher = "arcfour,3des-cbc,none".into(),
        |lists| lists.mac = "none,hmac-md5".into(),
        |lists| lists.compression = "zlib".into(),
        |lists| lists.compression = "zlib@openssh.com".into(),
    ];
    for change in change {
        let mut lists = Lists::honest(&Role::Client);
        change(&mut lists);
        ends(&target, &format!("{lists:?}"), &frame(&lists.payload().0)).await;
    }
    bystander.lives().await;
}

async fn no_compression() {
    let target = Target::start().await;
    let mut peer = Peer::greeted(target.addr()).await;
    let kexinit = peer.wait_for(number::KEXINIT).await.unwrap();
    let mut reader = Reader(&kexinit[17..]);
    let lists: Vec<String> = (0..10).map(|_| reader.text()).collect();
    assert_eq!(lists[6..8], ["none", "none"]);
    assert!(lists[0].contains("kex-strict-s-v00@openssh.com"), "{}", lists[0]);
    assert!(!lists[2..6].iter().any(|list| list.split(',').any(|name| name == "none")), "{lists:?}");
}

async fn huge_lists() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let one = "x".repeat(250 << 10);
    let many = vec!["ab"; 80_000].join(",");
    let some = "longish@example.com,".repeat(800) + "x";
    let memory = Memory::now();
    for _ in 0..20 {
        for list in [&one, &many, &some] {
            let mut lists = Lists::honest(&Role::Client);
            lists.kex.clone_from(list);
            ends(&target, "huge", &frame(&lists.payload().0)).await;
        }
    }
    memory.grew_at_most(64);
    bystander.lives().await;
}

async fn out_of_order() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let kexinit = || Lists::honest(&Role::Client).payload();
    let first = [
        ("NEWKEYS first", Payload::new(number::NEWKEYS)),
        ("a public value first", Payload::new(number::ECDH_INIT).string([9; 32])),
        ("a reply first", Payload::new(number::ECDH_REPLY).string("")),
        ("a service request in the clear", Payload::new(number::SERVICE_REQUEST).string("ssh-userauth")),
        ("a login in the clear", login("alice", "none")),
        ("a channel in the clear", open("session", 0, 1 << 20, 1 << 15)),
        ("a global request in the clear", Payload::new(number::GLOBAL_REQUEST).string("x").bool(true)),
    ];
    for (what, payload) in first {
        ends(&target, what, &frame(&payload.0)).await;
    }
    let second = [
        ("NEWKEYS without new keys", Payload::new(number::NEWKEYS)),
        ("a second KEXINIT", kexinit()),
        ("a login after KEXINIT", login("alice", "none")),
        ("a group exchange nobody agreed on", Payload::new(34).u32(1024).u32(2048).u32(8192)),
    ];
    for (what, payload) in second {
        let bytes = [frame(&kexinit().0), frame(&payload.0)].concat();
        ends(&target, what, &bytes).await;
    }
    // After the public values: a second one, and NEWKEYS with something behind it.
    for third in [Payload::new(number::ECDH_INIT).string([9; 32]), Payload::new(number::NEWKEYS).byte(1)] {
        let init = Payload::new(number::ECDH_INIT).string([9; 32]);
        let bytes = [frame(&kexinit().0), frame(&init.0), frame(&third.0)].concat();
        ends(&target, "after the public values", &bytes).await;
    }
    assert_eq!((target.started(), target.asked()), (1, 1), "only the bystander");
    bystander.lives().await;
}

async fn public_values() {
    let target = Target::start().await;
    let init = || Payload::new(number::ECDH_INIT);
    let cases = [
        ("a point of low order", init().string([0; 32])),
        ("too short", init().string([9; 31])),
        ("too long", init().string([9; 33])),
        ("empty", init().string("")),
        ("no string", init()),
        ("a lying string", init().lying_string(u32::MAX, [9; 32])),
        ("bytes behind it", init().string([9; 32]).byte(0)),
        ("200 KiB", init().string(vec![9; 200 << 10])),
    ];
    for (what, payload) in cases {
        let kexinit = Lists::honest(&Role::Client).payload();
        ends(&target, what, &[frame(&kexinit.0), frame(&payload.0)].concat()).await;
    }
    target.bystander().await.lives().await;
}

fn ignored() -> [Payload; 3] {
    [
        Payload::new(number::IGNORE).string("x"),
        Payload::new(number::DEBUG).bool(true).string("x").string(""),
        Payload::new(number::UNIMPLEMENTED).u32(0),
    ]
}

/// What CVE-2023-48795 ("Terrapin") needs, and CVE-2025-46712.
async fn strictness() {
    let target = Target::start().await;
    for between in ignored() {
        let kexinit = Lists::honest(&Role::Client).payload();
        let before = [frame(&between.0), frame(&kexinit.0)].concat();
        ends(&target, "before KEXINIT", &before).await;
        let after = [frame(&kexinit.0), frame(&between.0)].concat();
        ends(&target, "after KEXINIT", &after).await;

        let mut peer = Peer::greeted(target.addr()).await;
        let mut exchange = Exchange::begin(&mut peer, &Lists::honest(&Role::Client)).await.unwrap();
        exchange.hear_theirs(&mut peer).await.unwrap();
        exchange.exchange_keys(&mut peer).await.unwrap();
        peer.send(&between).await.unwrap();
        let _ = peer.until_gone().await;
        target.says_why(peer.local_addr(), "key exchange failed").await;
    }
    target.bystander().await.lives().await;
}

async fn leniency() {
    let target = Target::start().await;
    let mut lists = Lists::honest(&Role::Client);
    lists.kex = "curve25519-sha256".into();
    let mut peer = Peer::greeted(target.addr()).await;
    peer.send_all(ignored()).await.unwrap();
    let mut exchange = Exchange::begin(&mut peer, &lists).await.unwrap();
    peer.send_all(ignored()).await.unwrap();
    exchange.hear_theirs(&mut peer).await.unwrap();
    exchange.exchange_keys(&mut peer).await.unwrap();
    peer.send_all(ignored()).await.unwrap();
    exchange.change_keys(&mut peer).await.unwrap();
    peer.ask_for_authentication().await.unwrap();
    peer.log_in().await.unwrap();
}

async fn guesses() {
    let target = Target::start().await;
    for (kex, wrong) in [("guess@example.com,curve25519-sha256", true), ("mlkem768x25519-sha256", false)] {
        let mut lists = Lists::honest(&Role::Client);
        lists.guess_follows = true;
        let strict = ",kex-strict-c-v00@openssh.com";
        lists.kex = format!("{kex}{strict}");
        let mut peer = Peer::greeted(target.addr()).await;
        let mut exchange = Exchange::begin(&mut peer, &lists).await.unwrap();
        peer.send(Payload::new(number::ECDH_INIT).string("a guess")).await.unwrap();
        if !wrong {
            // Taken for what it is: no public value of that method.
            let _ = peer.until_gone().await;
            target.says_why(peer.local_addr(), "key exchange failed").await;
            continue;
        }
        exchange.hear_theirs(&mut peer).await.unwrap();
        exchange.exchange_keys(&mut peer).await.unwrap();
        exchange.change_keys(&mut peer).await.unwrap();
        peer.ask_for_authentication().await.unwrap();
        peer.log_in().await.unwrap();
    }
}

async fn standstill() {
    let limit = Duration::from_millis(400);
    let target = Target::with(|config| {
        let mut timeouts = ractor_ssh::config::Timeouts::default();
        timeouts.kex = limit;
        config.timeouts(timeouts)
    })
    .await;
    let honest = frame(&Lists::honest(&Role::Client).payload().0);
    for bytes in [&[][..], &honest[..7], &honest[..], &frame(&[number::IGNORE, 0, 0, 0, 0])] {
        let start = Instant::now();
        let mut peer = Peer::greeted(target.addr()).await;
        peer.send_raw(bytes).await.unwrap();
        let _ = peer.until_gone().await;
        let kept = start.elapsed();
        assert!(kept >= limit && kept < limit * 10, "{kept:?}");
        target.says_why(peer.local_addr(), "was not done in").await;
    }
}
