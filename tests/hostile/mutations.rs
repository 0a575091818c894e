//! Valid messages, bent at random: cut, repeated, swapped, with other bytes in them. Nothing panics, and nobody but
//! the sender notices.

use std::time::Duration;

use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use ractor_ssh::DaemonConfig;

use crate::kex::{Lists, Role};
use crate::login::password;
use crate::peer::Peer;
use crate::rules::test;
use crate::target::{Bystander, PASSWORD, Target};
use crate::wire::{Payload, data, extended, login, number, open, pty, request, to_channel};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("bent_messages_after_the_login_harm_only_their_sender", after_login),
        test("bent_messages_before_the_login_harm_only_their_sender", before_login),
        test("bent_messages_in_the_clear_harm_only_their_sender", in_the_clear),
    ]
}

const CASES: u32 = 120;

/// What is done with one message of a recording.
#[derive(Debug, Clone)]
enum Bend {
    /// Sent as it is, so often.
    Repeat(usize),
    /// Ends here.
    Cut(prop::sample::Index),
    /// Has another byte here.
    Byte(prop::sample::Index, u8),
    /// Has another number here: lengths and channels are such.
    Number(prop::sample::Index, u32),
    /// Goes on with this.
    Append(Vec<u8>),
    /// Is left out.
    Omit,
    /// Is another message of the recording.
    Other(prop::sample::Index),
}

fn bend() -> impl Strategy<Value = Bend> {
    let number = prop_oneof![any::<u32>(), 0_u32..8, Just(u32::MAX), Just(1 << 31)];
    prop_oneof![
        4 => (1_usize..4).prop_map(Bend::Repeat),
        1 => any::<prop::sample::Index>().prop_map(Bend::Cut),
        2 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Bend::Byte(at, byte)),
        2 => (any::<prop::sample::Index>(), number).prop_map(|(at, number)| Bend::Number(at, number)),
        1 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Bend::Append),
        1 => Just(Bend::Omit),
        1 => any::<prop::sample::Index>().prop_map(Bend::Other),
    ]
}

/// The recording, bent message by message.
fn bent(recording: &[Payload], bends: &[Bend]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (message, bend) in recording.iter().zip(bends) {
        let mut bytes = message.0.clone();
        match bend {
            Bend::Repeat(times) => out.extend(vec![bytes.clone(); times - 1]),
            Bend::Cut(at) => bytes.truncate(1 + at.index(bytes.len())),
            Bend::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Bend::Number(at, number) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&number.to_be_bytes()[..end - at]);
            }
            Bend::Append(more) => bytes.extend_from_slice(more),
            Bend::Omit => continue,
            Bend::Other(which) => bytes.clone_from(&recording[which.index(recording.len())].0),
        }
        out.push(bytes);
    }
    out
}

/// All that a session does, on the first channels of a connection.
fn session() -> Vec<Payload> {
    let (first, second) = (2, 3);
    vec![
        open("session", 0, 1 << 20, 1 << 15),
        pty(first, 80, 24, &[3, 0, 0, 0, 0x7f, 0]),
        request(first, "env", true).string("LANG").string("C"),
        request(first, "exec", true).string("echo"),
        data(first, "some data"),
        extended(first, 1, "more data"),
        to_channel(number::WINDOW_ADJUST, first).u32(1000),
        request(first, "window-change", false).u32(132).u32(43).u32(0).u32(0),
        request(first, "signal", false).string("INT"),
        open("session", 1, 1 << 20, 1 << 15),
        request(second, "subsystem", true).string("echo"),
        Payload::new(number::GLOBAL_REQUEST).string("tcpip-forward").bool(true).string("").u32(0),
        data(second, "x"),
        to_channel(number::CHANNEL_EOF, first),
        to_channel(number::CHANNEL_CLOSE, first),
        Payload::new(number::IGNORE).string("x"),
        open("direct-tcpip", 2, 1 << 20, 1 << 15).string("localhost").u32(22).string("localhost").u32(1),
        to_channel(number::CHANNEL_CLOSE, second),
    ]
}

fn entry() -> Vec<Payload> {
    vec![
        Payload::new(number::SERVICE_REQUEST).string("ssh-userauth"),
        login("alice", "none"),
        login("alice", "publickey")
            .bool(false)
            .string("ssh-ed25519")
            .string(Payload::default().string("ssh-ed25519").string([7; 32])),
        login("alice", "keyboard-interactive").string("").string(""),
        Payload::new(number::USERAUTH_INFO_RESPONSE).u32(1).string("x"),
        password(PASSWORD),
        open("session", 0, 1 << 20, 1 << 15),
    ]
}

fn negotiation() -> Vec<Payload> {
    vec![
        Lists::honest(&Role::Client).payload(),
        Payload::new(number::ECDH_INIT).string([9; 32]),
        Payload::new(number::NEWKEYS),
    ]
}

/// Bends a recording again and again; the smallest failure is reported.
fn try_all(
    recording: &[Payload],
    mut attempt: impl AsyncFnMut(Vec<Vec<u8>>, Duration),
) -> Result<(), String> {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let bends = prop::collection::vec(bend(), recording.len());
    let attempt = std::cell::RefCell::new(&mut attempt);
    let runtime = tokio::runtime::Handle::current();
    let run = || {
        TestRunner::new(config).run(&bends, |bends| {
            let messages = bent(recording, &bends);
            let mut attempt = attempt.borrow_mut();
            runtime.block_on(attempt(messages, Duration::from_millis(15)));
            Ok::<(), TestCaseError>(())
        })
    };
    tokio::task::block_in_place(run).map_err(|error| error.to_string())
}

async fn check(bystander: &mut Bystander, before: usize, peer: &mut Peer, wait: Duration) {
    peer.ends_within(wait).await;
    bystander.lives().await;
    assert_eq!(crate::rules::panics().len(), before, "a panic");
}

async fn after_login() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let before = crate::rules::panics().len();
    let outcome = try_all(&session(), async |messages, wait| {
        let mut peer = Peer::logged_in(target.addr()).await;
        let _ = peer.send_all(messages).await;
        check(&mut bystander, before, &mut peer, wait).await;
    });
    outcome.unwrap();
}

async fn before_login() {
    // Nobody is turned away because others before it still wait for their refusal.
    let limits = |config: DaemonConfig| {
        config.max_auth_attempts(1000).max_startups(1000, 0, 1000).max_per_source(1000)
    };
    let target = Target::with(limits).await;
    let mut bystander = target.bystander().await;
    let before = crate::rules::panics().len();
    let outcome = try_all(&entry(), async |messages, wait| {
        let mut peer = Peer::keyed(target.addr()).await;
        let _ = peer.send_all(messages).await;
        check(&mut bystander, before, &mut peer, wait).await;
    });
    outcome.unwrap();
}

async fn in_the_clear() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let before = crate::rules::panics().len();
    let outcome = try_all(&negotiation(), async |messages, wait| {
        let mut peer = Peer::greeted(target.addr()).await;
        let _ = peer.send_all(messages).await;
        check(&mut bystander, before, &mut peer, wait).await;
    });
    outcome.unwrap();
}
