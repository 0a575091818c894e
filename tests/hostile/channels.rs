//! After the login: messages to channels that are not there, malformed requests, answers nobody asked for. A message
//! that concerns one channel must not end the others. Where russh ends the connection all the same, the test says so:
//! then the connection ends with a reason, and other connections do not notice.

use libtest_mimic::Trial;

use crate::channel::Chan;
use crate::peer::Peer;
use crate::rules::test;
use crate::target::Target;
use crate::wire::{Payload, data, extended, number, open, pty, request, to_channel};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("messages_to_channels_that_are_not_there_harm_nobody", unknown_channels),
        test("answers_nobody_asked_for_harm_nobody", unsolicited),
        test("odd_requests_are_refused_and_harm_nobody", odd_requests),
        test("a_request_gets_an_answer_only_if_it_wants_one", answers),
        test("unknown_channel_types_and_global_requests_are_refused", unknown_types),
        test("stray_messages_of_other_layers_harm_nobody", other_layers),
        test("an_open_that_is_confirmed_or_refused_by_the_peer_ends_at_most_that_channel", false_answers),
        test("eof_and_close_in_any_number_and_order_end_that_channel_alone", endings),
        test("malformed_messages_end_their_connection_with_a_reason_and_no_other", malformed),
    ]
}

const NOWHERE: [u32; 3] = [1, 77, u32::MAX];

/// Sends these and asks for everybody's health.
async fn harmless(peer: &mut Peer, sibling: Chan, what: &str, payloads: Vec<Payload>) -> Vec<Vec<u8>> {
    println!("{what}");
    peer.send_all(payloads).await.unwrap_or_else(|gone| panic!("{what}: {gone:?}"));
    let answers = peer.answers().await.unwrap_or_else(|gone| panic!("{what}: {gone:?}"));
    peer.echo(sibling).await.unwrap_or_else(|gone| panic!("{what}: {gone:?}"));
    answers
}

async fn unknown_channels() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    for id in NOWHERE.into_iter().filter(|id| *id != sibling.theirs) {
        let cases = [
            ("WINDOW_ADJUST", to_channel(number::WINDOW_ADJUST, id).u32(1)),
            ("DATA", data(id, "x")),
            ("EXTENDED_DATA", extended(id, 1, "x")),
            ("EOF", to_channel(number::CHANNEL_EOF, id)),
            ("CLOSE", to_channel(number::CHANNEL_CLOSE, id)),
            ("SUCCESS", to_channel(number::CHANNEL_SUCCESS, id)),
            ("FAILURE", to_channel(number::CHANNEL_FAILURE, id)),
            ("OPEN_FAILURE", to_channel(number::OPEN_FAILURE, id).u32(1).string("no").string("")),
            ("exec", request(id, "exec", true).string("echo")),
            ("pty-req", pty(id, 80, 24, &[0])),
            ("env", request(id, "env", true).string("A").string("b")),
            ("subsystem", request(id, "subsystem", true).string("echo")),
            ("shell", request(id, "shell", true)),
            ("exit-status", request(id, "exit-status", false).u32(0)),
            ("an unknown request", request(id, "nonsense@example.com", true).string("x")),
        ];
        for (what, payload) in cases {
            let answers = harmless(&mut peer, sibling, what, vec![payload]).await;
            assert_eq!(answers, Vec::<Vec<u8>>::new(), "{what} to {id}");
        }
    }
    assert_eq!(target.started(), 2);
    bystander.lives().await;
}

async fn unsolicited() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let cases = [
        ("REQUEST_SUCCESS", Payload::new(number::REQUEST_SUCCESS)),
        ("REQUEST_SUCCESS with a port", Payload::new(number::REQUEST_SUCCESS).u32(22)),
        ("REQUEST_FAILURE", Payload::new(number::REQUEST_FAILURE)),
        ("CHANNEL_SUCCESS", to_channel(number::CHANNEL_SUCCESS, sibling.theirs)),
        ("CHANNEL_FAILURE", to_channel(number::CHANNEL_FAILURE, sibling.theirs)),
    ];
    for (what, payload) in cases {
        let answers = harmless(&mut peer, sibling, what, vec![payload; 500]).await;
        assert_eq!(answers, Vec::<Vec<u8>>::new(), "{what}");
    }
    bystander.lives().await;
}

async fn odd_requests() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let chan = peer.open().await.unwrap();
    let id = chan.theirs;
    let no = vec![number::CHANNEL_FAILURE];
    let silence = Vec::new();
    let cases = [
        (
            "exit-signal",
            request(id, "exit-signal", false).string("KILL").bool(false).string("").string(""),
            &silence,
        ),
        ("exit-status", request(id, "exit-status", false).u32(1), &silence),
        ("exit-status that wants an answer", request(id, "exit-status", true).u32(1), &no),
        (
            "x11-req",
            request(id, "x11-req", true).bool(false).string("MIT-MAGIC-COOKIE-1").string("00").u32(0),
            &no,
        ),
        ("auth-agent-req", request(id, "auth-agent-req@openssh.com", true), &no),
        ("an empty name", request(id, "", true), &no),
        ("an unknown name", request(id, "nonsense@example.com", true).string([0xff; 99]), &no),
        ("an unknown name, quietly", request(id, "nonsense@example.com", false), &silence),
        ("a long name", request(id, &"n".repeat(100 << 10), true), &no),
        ("break", request(id, "break", true).u32(500), &no),
        ("a subsystem of no name", request(id, "subsystem", true).string(""), &no),
        ("a subsystem of a long name", request(id, "subsystem", true).string("s".repeat(100 << 10)), &no),
        ("a shell where there is none", request(id, "shell", true), &no),
        ("a command that is no text", request(id, "exec", true).string(b"\xff\xfe\x00"), &no),
        ("an empty command", request(id, "exec", true).string(""), &no),
        ("a huge command", request(id, "exec", true).string(vec![b'x'; 250 << 10]), &no),
        ("a signal without a process", request(id, "signal", false).string("KILL"), &silence),
        ("a signal of a long name", request(id, "signal", false).string("K".repeat(100 << 10)), &silence),
        ("a new size without a terminal", request(id, "window-change", false).raw([0xff; 16]), &silence),
        ("extended data of type 7", extended(id, 7, "x"), &silence),
        ("extended data of type 2^32-1", extended(sibling.theirs, u32::MAX, "x"), &silence),
    ];
    for (what, payload, expected) in cases {
        let answers = harmless(&mut peer, sibling, what, vec![payload]).await;
        let numbers: Vec<u8> = answers
            .iter()
            .filter(|answer| answer[1..5] == chan.ours.to_be_bytes())
            .map(|answer| answer[0])
            .collect();
        assert_eq!(numbers, *expected, "{what}");
    }
    // Still good for something.
    peer.send(request(id, "exec", true).string("echo")).await.unwrap();
    assert!(peer.verdict(chan).await.unwrap());
    peer.echo(chan).await.unwrap();
    bystander.lives().await;
}

async fn answers() {
    let target = Target::start().await;
    let (mut peer, sibling) = target.guest().await;
    let quiet = peer.open().await.unwrap();
    let id = quiet.theirs;
    let quietly = vec![
        request(id, "env", false).string("A").string("b"),
        request(id, "shell", false),
        request(id, "subsystem", false).string("nonsense"),
        request(id, "exec", false).string("echo"),
    ];
    let answers = harmless(&mut peer, sibling, "no answer wanted", quietly).await;
    assert_eq!(answers, Vec::<Vec<u8>>::new());
    peer.echo(quiet).await.unwrap();
    let again = vec![request(id, "exec", true).string("echo"); 100];
    let answers = harmless(&mut peer, sibling, "a command again and again", again).await;
    assert_eq!(answers.len(), 100);
    assert!(answers.iter().all(|answer| answer[0] == number::CHANNEL_FAILURE));
    assert_eq!(target.started(), 2);
}

async fn unknown_types() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let long = "k".repeat(100 << 10);
    for (kind, code) in [("", 3), ("nonsense@example.com", 3), (long.as_str(), 3)] {
        let refused = peer.try_open(kind, 1 << 20, 1 << 15).await.unwrap();
        assert_eq!(refused, Err(code), "{} bytes of kind", kind.len());
    }
    let address = || Payload::default().string("127.0.0.1").u32(1).string("127.0.0.1").u32(1);
    for (kind, rest) in [
        ("direct-tcpip", address()),
        ("forwarded-tcpip", address()),
        ("x11", Payload::default().string("127.0.0.1").u32(1)),
        ("direct-streamlocal@openssh.com", Payload::default().string("/tmp/x").string("").u32(0)),
        ("auth-agent@openssh.com", Payload::default()),
    ] {
        peer.send(open(kind, 5, 1 << 20, 1 << 15).raw(rest)).await.unwrap();
        // russh refuses a type it does not know twice: a late second refusal is passed over.
        let refusal = |p: &[u8]| p[0] == number::OPEN_FAILURE && p[1..5] == 5_u32.to_be_bytes();
        peer.wait_where(refusal).await.unwrap();
    }
    let global = |name: &str| Payload::new(number::GLOBAL_REQUEST).string(name).bool(true);
    for (what, payload) in [
        ("an unknown request", global("nonsense@example.com").raw([0xff; 99])),
        ("no name", global("")),
        ("a long name", global(&long)),
        ("a forwarding", global("tcpip-forward").string("0.0.0.0").u32(0)),
        ("no forwarding", global("cancel-tcpip-forward").string("").u32(0)),
        ("a socket", global("streamlocal-forward@openssh.com").string("/tmp/x")),
        ("no more sessions", global("no-more-sessions@openssh.com")),
    ] {
        println!("{what}");
        peer.send(payload).await.unwrap();
        let answer = peer.wait_where(|p| p[0] != number::OPEN_FAILURE).await.unwrap();
        assert_eq!(answer[0], number::REQUEST_FAILURE, "{what}");
    }
    peer.echo(sibling).await.unwrap();
    bystander.lives().await;
}

async fn other_layers() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let cases = [
        ("IGNORE", Payload::new(number::IGNORE).string(vec![7; 30_000])),
        ("IGNORE without anything", Payload::new(number::IGNORE)),
        ("DEBUG", Payload::new(number::DEBUG).bool(true).string(b"\x1b[2J\xff").string("")),
        ("UNIMPLEMENTED", Payload::new(number::UNIMPLEMENTED).u32(9)),
        ("a service request", Payload::new(number::SERVICE_REQUEST).string("ssh-userauth")),
        ("SERVICE_ACCEPT", Payload::new(number::SERVICE_ACCEPT).string("ssh-userauth")),
        ("EXT_INFO", Payload::new(number::EXT_INFO).u32(u32::MAX)),
        ("another login", crate::login::password("wrong")),
        ("USERAUTH_SUCCESS", Payload::new(number::USERAUTH_SUCCESS)),
        ("USERAUTH_FAILURE", Payload::new(number::USERAUTH_FAILURE).string("password").bool(false)),
        ("an answer to no question", Payload::new(number::USERAUTH_INFO_RESPONSE).u32(u32::MAX)),
        ("a ping", Payload::new(number::PING).string("x")),
        ("message 0", Payload::new(0)),
        ("message 255", Payload::new(255).raw([0xff; 100])),
    ];
    for (what, payload) in cases {
        harmless(&mut peer, sibling, what, vec![payload]).await;
    }
    for number in (101..=191).chain(193..=254) {
        harmless(&mut peer, sibling, "a number without a meaning", vec![Payload::new(number).u32(0)]).await;
    }
    assert_eq!(target.asked(), 2);
    bystander.lives().await;
}

async fn false_answers() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let victim = peer.run("echo").await.unwrap();
    let confirmation =
        to_channel(number::OPEN_CONFIRMATION, victim.theirs).u32(victim.ours).u32(1 << 20).u32(1 << 15);
    // More often than anything inside holds.
    harmless(&mut peer, sibling, "an open channel confirmed again", vec![confirmation; 500]).await;
    peer.echo(victim).await.unwrap();
    let refusal = to_channel(number::OPEN_FAILURE, victim.theirs).u32(1).string("no").string("");
    harmless(&mut peer, sibling, "an open channel refused", vec![refusal; 500]).await;
    // The slot of the channel that was refused comes back with the connection at the latest.
    let another = peer.run("echo").await.unwrap();
    peer.echo(another).await.unwrap();
    bystander.lives().await;
    // russh takes this for the end of the protocol.
    let unknown = to_channel(number::OPEN_CONFIRMATION, 4711).u32(0).u32(0).u32(0);
    peer.send(unknown).await.unwrap();
    let _ = peer.until_gone().await;
    target.says_why(peer.local_addr(), "protocol error").await;
    bystander.lives().await;
}

async fn endings() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    let eof = |chan: Chan| to_channel(number::CHANNEL_EOF, chan.theirs);
    let close = |chan: Chan| to_channel(number::CHANNEL_CLOSE, chan.theirs);
    type Script = fn(Chan, Payload, Payload) -> Vec<Payload>;
    let scripts: [(&str, Script); 7] = [
        ("CLOSE twice", |_, _, close| vec![close; 2]),
        ("CLOSE a hundred times", |_, _, close| vec![close; 100]),
        ("EOF a hundred times", |_, eof, close| [vec![eof; 100], vec![close]].concat()),
        ("data after EOF", |chan, eof, close| vec![eof, data(chan.theirs, "late"), close]),
        ("data after CLOSE", |chan, _, close| {
            vec![close, data(chan.theirs, "late"), extended(chan.theirs, 1, "x")]
        }),
        ("EOF after CLOSE", |_, eof, close| vec![close, eof]),
        ("a request after CLOSE", |chan, _, close| {
            vec![close, request(chan.theirs, "exec", true).string("echo"), to_channel(93, chan.theirs).u32(1)]
        }),
    ];
    for (what, script) in scripts {
        for command in ["echo", "wait", "pour", "hoard"] {
            println!("{what} on {command}");
            let chan = peer.run(command).await.unwrap();
            let started = target.started();
            peer.send_all(script(chan, eof(chan), close(chan))).await.unwrap();
            peer.closed(chan).await.unwrap();
            peer.echo(sibling).await.unwrap();
            assert_eq!(target.started(), started);
        }
        bystander.lives().await;
    }
}

/// russh decodes these for the whole connection, and an error of its decoder is the end of that connection.
async fn malformed() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let id = 2;
    let modes = |modes: &[u8]| pty(id, 80, 24, modes);
    let cases = [
        ("an exec of half a string", request(id, "exec", true).lying_string(1 << 20, "echo")),
        ("an exec with bytes behind it", request(id, "exec", true).string("echo").byte(0)),
        ("an env without a value", request(id, "env", true).string("A")),
        ("an env that is no text", request(id, "env", true).string("A").string(b"\xff")),
        ("half a subsystem", request(id, "subsystem", true).u32(99)),
        ("a pty-req without modes", request(id, "pty-req", true).string("xterm").u32(80)),
        ("half a mode", modes(&[1, 0, 0])),
        ("an opcode from 160 on without a value", modes(&[160])),
        ("too many modes", modes(&[1, 0, 0, 0, 0].repeat(200))),
        ("a request without a name", to_channel(number::CHANNEL_REQUEST, id)),
        (
            "a request of a name that is no text",
            to_channel(number::CHANNEL_REQUEST, id).string(b"\xff").bool(true),
        ),
        ("a signal without a name", request(id, "signal", false)),
        ("a new size of half a number", request(id, "window-change", false).raw([0; 3])),
        ("data of half a string", to_channel(number::CHANNEL_DATA, id).u32(u32::MAX)),
        ("data without a channel", Payload::new(number::CHANNEL_DATA)),
        ("half a window", to_channel(number::WINDOW_ADJUST, id).raw([0, 0])),
        ("a CLOSE with bytes behind it", to_channel(number::CHANNEL_CLOSE, id).byte(0)),
        ("an OPEN without a window", Payload::new(number::CHANNEL_OPEN).string("session").u32(0)),
        (
            "an OPEN of a kind that is no text",
            Payload::new(number::CHANNEL_OPEN).string(b"\xff").raw([0; 12]),
        ),
        ("a global request without a name", Payload::new(number::GLOBAL_REQUEST)),
    ];
    for (what, payload) in cases {
        let (mut peer, sibling) = target.guest().await;
        assert_eq!(peer.open().await.map(|chan| chan.theirs), Ok(sibling.theirs + 1));
        let addr = peer.local_addr();
        let _ = peer.send(payload).await;
        peer.answers().await.expect_err(what);
        target.says_why(addr, "protocol error").await;
        bystander.lives().await;
    }
}
