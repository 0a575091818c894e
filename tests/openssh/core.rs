//! Requests and events of one channel.

use libtest_mimic::Trial;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{CloseReason, OpenError, RequestError, SendErrorKind, StopReason};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::wire::{PtyRequest, Signal, WindowSize};
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};

use crate::common::{Echo, SOON, Tell, becomes_true, connect, exec, info, no_channels_left, open, run, soon};
use crate::kit::{Peer, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("core::a_command_tells_its_output_and_status_and_then_closes", SERVER, one_command),
        peer_test("core::stdin_reaches_the_command_and_eof_ends_it", SERVER, stdin),
        peer_test("core::output_before_the_end_is_never_lost", SERVER, output_before_the_end),
        peer_test("core::a_signal_that_ends_a_command_is_told_and_siblings_live", SERVER, ended_by_signal),
        peer_test("core::a_signal_of_ours_reaches_the_command", SERVER, our_signal),
        peer_test("core::an_accepted_variable_reaches_the_command", SERVER, env_accepted),
        peer_test("core::a_refused_variable_is_an_error_and_the_channel_goes_on", SERVER, env_refused),
        peer_test("core::a_terminal_has_its_size_and_follows_window_changes", SERVER, terminal),
        peer_test("core::a_subsystem_opens_by_name", SERVER, subsystem),
        peer_test("core::an_unknown_subsystem_is_refused", SERVER, unknown_subsystem),
        peer_test("core::a_failed_init_is_what_the_opener_gets", SERVER, failed_init),
        peer_test("core::a_behaviour_that_fails_ends_its_channel_only", SERVER, failed_behaviour),
        peer_test("core::a_session_over_max_sessions_is_refused_until_one_ends", SERVER, max_sessions),
        peer_test("core::a_session_we_closed_makes_room_at_the_server", SERVER, our_close_makes_room),
        peer_test(
            "core::a_direct_tcpip_channel_that_cannot_connect_is_refused",
            SERVER,
            direct_tcpip_refused,
        ),
    ]
}

async fn one_command() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let outcome = run(&conn, "echo out; echo err >&2; exit 3").await;
    assert_eq!(outcome.stdout, b"out\n");
    assert_eq!(outcome.stderr, b"err\n");
    assert_eq!(outcome.status, Some(3));
    assert!(outcome.signal.is_none());
    assert!(outcome.eof);
    assert!(matches!(outcome.closed, Some(CloseReason::Peer)), "{:?}", outcome.closed);
    assert!(
        matches!(outcome.terminated, Some(StopReason::Closed(CloseReason::Peer))),
        "{:?}",
        outcome.terminated
    );
    no_channels_left(&conn).await;

    let info = info(&conn).await;
    assert!(info.peer_version.starts_with("SSH-2.0-OpenSSH"), "{}", info.peer_version);
    assert_eq!(info.user, sshd.user());
    assert_eq!(info.auth_methods, ["publickey"]);
    assert_eq!(info.peer_addr, Some(sshd.addr()));
    assert_eq!(info.host_key_fingerprint, sshd.host_keys()[0].fingerprint().unwrap());
    assert_eq!((info.counters.channels_opened, info.counters.channels_closed), (1, 1));
    soon("close", conn.close()).await;
}

async fn stdin() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, events) = exec(&conn, "cat; echo done >&2").await;
    channel.send("one ").await.unwrap();
    channel.send("two").await.unwrap();
    channel.send_eof().unwrap();
    let error = channel.send("three").await.expect_err("after eof");
    assert!(matches!(error.kind, SendErrorKind::AfterEof));
    assert_eq!(error.data, "three", "the data comes back");
    let outcome = events.outcome().await;
    assert_eq!(outcome.stdout, b"one two");
    assert_eq!(outcome.stderr, b"done\n");
    assert_eq!(outcome.status, Some(0));
    let error = channel.send("four").await.expect_err("after close");
    assert!(matches!(error.kind, SendErrorKind::Closed(CloseReason::Peer)), "{error:?}");
}

async fn output_before_the_end() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    for n in 0..50 {
        let outcome = run(&conn, &format!("head -c 100000 /dev/zero; echo end {n}")).await;
        assert!(outcome.stdout.ends_with(format!("end {n}\n").as_bytes()), "round {n}");
        assert_eq!(outcome.stdout.len(), 100_000 + format!("end {n}\n").len(), "round {n}");
        assert_eq!(outcome.status, Some(0), "round {n}");
    }
}

async fn ended_by_signal() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    let outcome = run(&conn, "kill -TERM $$").await;
    let signal = outcome.signal.expect("an exit-signal");
    assert_eq!(signal.signal, Signal::Term);
    assert!(!signal.core_dumped);
    assert_eq!(outcome.status, None);
    assert!(matches!(outcome.closed, Some(CloseReason::Peer)));
    sibling.round().await;
}

async fn our_signal() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, mut events) = exec(&conn, "echo ready; exec sleep 1000").await;
    events.until("ready\n").await;
    channel.signal(Signal::Term).unwrap();
    if rustix::process::geteuid().is_root() {
        // sshd passes signals on for ordinary users only; to root's sessions it says so in its log.
        let refusal = "session signalling requires privilege separation";
        return sshd.wait_for_log(refusal, SOON).await.unwrap();
    }
    let outcome = events.outcome().await;
    assert_eq!(outcome.signal.expect("an exit-signal").signal, Signal::Term);
}

async fn env_accepted() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, events) = open(&conn).await;
    channel.setenv("FRUIT", "a pear").await.unwrap();
    channel.exec("printf %s \"$FRUIT\"").await.unwrap();
    assert_eq!(events.outcome().await.stdout, b"a pear");
}

async fn env_refused() {
    let sshd = Sshd::builder().config("AcceptEnv ONLY_THIS").start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, events) = open(&conn).await;
    let error = channel.setenv("OTHER", "x").await.expect_err("not in AcceptEnv");
    assert!(matches!(&error, RequestError::Refused { request } if request == "env"), "{error:?}");
    channel.setenv("ONLY_THIS", "y").await.unwrap();
    channel.exec("printf %s \"$ONLY_THIS$OTHER\"").await.unwrap();
    assert_eq!(events.outcome().await.stdout, b"y");
}

async fn terminal() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, mut events) = open(&conn).await;
    channel.ptty_alloc(PtyRequest::new("xterm").size(100, 40)).await.unwrap();
    channel.exec("stty size; echo $TERM; while read line; do stty size; done").await.unwrap();
    let first = events.until("xterm\r\n").await;
    assert!(first.starts_with("40 100\r\n"), "{first:?}");
    channel.window_change(WindowSize::new(120, 50)).unwrap();
    channel.send("\n").await.unwrap();
    events.until("50 120\r\n").await;
    channel.send([4].as_slice()).await.unwrap();
    assert_eq!(events.outcome().await.status, Some(0), "ctrl-d ends the terminal's input");
}

async fn subsystem() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, mut events) = open(&conn).await;
    channel.subsystem("sftp").await.unwrap();
    // SSH_FXP_INIT, version 3.
    channel.send([0, 0, 0, 5, 1, 0, 0, 0, 3].as_slice()).await.unwrap();
    match events.next().await {
        Some(ChannelMsg::Data { data, .. }) => assert_eq!(data[4..9], [2, 0, 0, 0, 3], "SSH_FXP_VERSION"),
        other => panic!("{other:?}"),
    }
    channel.send_eof().unwrap();
    assert_eq!(events.outcome().await.status, Some(0));
}

async fn unknown_subsystem() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, _events) = open(&conn).await;
    let error = channel.subsystem("no-such-thing").await.expect_err("unknown");
    assert!(matches!(&error, RequestError::Refused { request } if request == "subsystem"), "{error:?}");
    channel.close();
    no_channels_left(&conn).await;
}

struct FailsInInit;

impl ClientChannel for FailsInInit {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec("sleep 1000").await?;
        Err("on purpose".into())
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn failed_init() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    match conn.session_channel(FailsInInit).await {
        Err(OpenError::Init(text)) => assert!(text.contains("on purpose"), "{text}"),
        other => panic!("{other:?}"),
    }
    becomes_true("only the sibling is left", || async { info(&conn).await.channels.len() == 1 }).await;
    sibling.round().await;
}

/// Fails, or panics, at the first event.
struct FailsLater {
    panics: bool,
}

impl ClientChannel for FailsLater {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec("echo; sleep 1000").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        assert!(!self.panics, "on purpose");
        Err("on purpose".into())
    }
}

async fn failed_behaviour() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    let failing = conn.session_channel(FailsLater { panics: false }).await.unwrap();
    assert!(matches!(soon("the end", failing.wait()).await, StopReason::Failed { .. }));
    let panicking = conn.session_channel(FailsLater { panics: true }).await.unwrap();
    assert!(matches!(soon("the end", panicking.wait()).await, StopReason::Panicked { .. }));
    let (killed, _events) = exec(&conn, "sleep 1000").await;
    killed.kill();
    assert!(matches!(soon("the end", killed.wait()).await, StopReason::Killed));
    becomes_true("only the sibling is left", || async { info(&conn).await.channels.len() == 1 }).await;
    assert_eq!(info(&conn).await.counters.actors_failed, 3);
    sibling.round().await;
}

async fn max_sessions() {
    let sshd = Sshd::builder().max_sessions(2).start().unwrap();
    let conn = connect(&sshd).await;
    let mut first = Echo::start(&conn).await;
    let (second, events) = exec(&conn, "cat").await;
    for _ in 0..3 {
        match conn.session_channel(Tell::new().0).await {
            Err(OpenError::Refused { reason, description }) => {
                assert_eq!(reason, OpenFailureReason::ConnectFailed, "what sshd says in this case");
                assert_eq!(description, "open failed");
            }
            other => panic!("{other:?}"),
        }
    }
    becomes_true("they are counted", || async { info(&conn).await.counters.opens_failed == 3 }).await;
    second.send_eof().unwrap();
    assert_eq!(events.outcome().await.status, Some(0));
    // sshd counts a session until it has swept up after our answer to its CLOSE.
    becomes_true("there is room", || async { conn.session_channel(Tell::new().0).await.is_ok() }).await;
    first.round().await;
}

async fn our_close_makes_room() {
    let sshd = Sshd::builder().max_sessions(1).start().unwrap();
    let conn = connect(&sshd).await;
    for round in 0..50 {
        let (channel, _events) = open(&conn).await;
        match round % 4 {
            0 => channel.close(),
            1 => channel.abort(),
            2 => channel.stop("enough"),
            _ => channel.kill(),
        }
        no_channels_left(&conn).await;
    }
    let counters = info(&conn).await.counters;
    assert_eq!((counters.channels_opened, counters.channels_closed), (50, 50));
}

async fn direct_tcpip_refused() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let request = OpenRequest::DirectTcpip {
        host: "127.0.0.1".into(),
        port,
        originator_host: "127.0.0.1".into(),
        originator_port: 1,
    };
    match conn.open_channel(request, ChannelOptions::new(), Tell::new().0).await {
        Err(OpenError::Refused { reason, description }) => {
            assert_eq!(reason, OpenFailureReason::ConnectFailed);
            assert_eq!(description, "Connection refused");
        }
        other => panic!("{other:?}"),
    }
}
