//! Ready-made channels: what they send and in which order, and what they make of any order of the peer.

use std::future::Future;
use std::io::ErrorKind;

use futures::FutureExt as _;
use ractor_ssh::ConnectionRef;
use ractor_ssh::bytes::Bytes;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{CloseReason, ConnectionError, RequestError};
use ractor_ssh::session::{Child, Command, CommandError, EnvPolicy, OnCancel, Output, Stdin};
use ractor_ssh::test_util::{ScriptConfig, ScriptedChannel, ScriptedPeer, Sent, scripted};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::wire::request::{ChannelRequest, ExitSignal, ExitStatus};
use ractor_ssh::wire::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::kit::{SECOND, assert_clean, plain, settle, within};

const MIB: usize = 1 << 20;

/// Starts a command with a peer that confirms everything.
async fn spawn(peer: &mut ScriptedPeer, command: Command) -> (Child, ScriptedChannel) {
    let (child, there) = tokio::join!(command.spawn(), confirm(peer, u32::MAX));
    (child.unwrap(), there)
}

async fn confirm(peer: &mut ScriptedPeer, window: u32) -> ScriptedChannel {
    let mut there = peer.expect_open().await.confirm_with(window, 32 << 10);
    there.expect_request("exec").await;
    there.reply(true);
    there
}

/// Runs a command to its end with a peer that does this after the start.
async fn run(
    peer: &mut ScriptedPeer,
    command: Command,
    script: impl FnOnce(&ScriptedChannel),
) -> Result<Output, CommandError> {
    let (output, _there) = tokio::join!(command.output(), async {
        let there = confirm(peer, u32::MAX).await;
        script(&there);
        there
    });
    output
}

/// Answers our close, and looks for what is left then.
async fn ended(conn: &ConnectionRef, peer: &ScriptedPeer, there: &ScriptedChannel) {
    settle().await;
    assert_eq!(names(&there.sent()).last().map(String::as_str), Some("close"));
    there.close();
    assert_clean(conn, peer).await;
}

fn names(sent: &[Sent]) -> Vec<String> {
    let name = |sent: &Sent| match sent {
        Sent::Request { request: ChannelRequest::Signal(signal), .. } => signal.name().to_owned(),
        Sent::Request { request, .. } => request.name().to_owned(),
        Sent::Data { .. } => "data".to_owned(),
        Sent::Eof => "eof".to_owned(),
        Sent::Close => "close".to_owned(),
        other => format!("{other:?}"),
    };
    sent.iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn output_is_whole_in_whatever_order_status_eof_and_data_come() {
    type Step = fn(&ScriptedChannel);
    let steps: [Step; 5] = [
        |there| there.data("out"),
        |there| there.stderr("err"),
        ScriptedChannel::eof,
        |there| there.exit_status(3),
        |there| there.data_typed(ractor_ssh::wire::codes::DataType::Other(7), "neither"),
    ];
    let (conn, mut peer) = plain().await;
    for order in permutations(steps.len()) {
        let output = run(&mut peer, conn.exec("x"), |there| {
            order.iter().for_each(|step| steps[*step](there));
            there.close();
        });
        let output = output.await.unwrap();
        assert_eq!((output.stdout_text(), output.stderr_text()), ("out".into(), "err".into()), "{order:?}");
        assert_eq!(output.status, ExitStatus::Code(3), "{order:?}");
    }
    assert_clean(&conn, &peer).await;
}

fn permutations(len: usize) -> Vec<Vec<usize>> {
    let Some(last) = len.checked_sub(1) else { return vec![Vec::new()] };
    let insert = |shorter: Vec<usize>| {
        (0..=last).map(move |at| {
            let mut longer = shorter.clone();
            longer.insert(at, last);
            longer
        })
    };
    permutations(last).into_iter().flat_map(insert).collect()
}

#[tokio::test(start_paused = true)]
async fn a_command_is_over_with_its_channel_and_not_before() {
    let (conn, mut peer) = plain().await;
    let (mut child, there) = spawn(&mut peer, conn.exec("x")).await;
    there.exit_status(0);
    there.eof();
    settle().await;
    assert_eq!(child.try_wait().unwrap(), None);
    there.close();
    assert_eq!(child.wait().await.unwrap(), ExitStatus::Code(0));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn no_word_about_the_end_is_missing_and_a_signal_is_a_signal() {
    let (conn, mut peer) = plain().await;
    let output = run(&mut peer, conn.exec("x"), ScriptedChannel::close).await.unwrap();
    assert_eq!(output.status, ExitStatus::Missing);
    let signal = ExitSignal::new(Signal::Segv).core_dumped(true).message("oops", "en");
    let output = run(&mut peer, conn.exec("x"), |there| {
        there.exit_signal(signal.clone());
        there.close();
    });
    assert_eq!(output.await.unwrap().status, ExitStatus::Signal(signal));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_no_end_unless_status_and_eof_were_here() {
    let what_came: [fn(&ScriptedChannel); 3] =
        [ScriptedChannel::eof, |there| there.exit_status(0), |there| there.data("half")];
    for (at, script) in what_came.into_iter().enumerate() {
        let (conn, mut peer) = plain().await;
        let (output, ()) = tokio::join!(conn.exec("x").output(), async {
            let there = confirm(&mut peer, u32::MAX).await;
            script(&there);
            settle().await;
            peer.vanish();
        });
        let error = output.unwrap_err();
        let CommandError::Interrupted { reason, partial } = &error else { panic!("{at}: {error}") };
        assert!(matches!(reason, CloseReason::Connection(ConnectionError::Lost(_))), "{at}: {reason:?}");
        assert_eq!(partial.stdout_text(), if at == 2 { "half" } else { "" });
    }
    let (conn, mut peer) = plain().await;
    let (output, ()) = tokio::join!(conn.exec("x").output(), async {
        let there = confirm(&mut peer, u32::MAX).await;
        there.data("whole");
        there.exit_status(0);
        there.eof();
        settle().await;
        peer.vanish();
    });
    assert_eq!(output.unwrap().stdout_text(), "whole");
}

#[tokio::test(start_paused = true)]
async fn a_start_costs_one_round_trip_with_its_input_behind_it() {
    let (conn, mut peer) = plain().await;
    let command = conn.exec("x").env_with("A", "1", EnvPolicy::BestEffort).stdin(Stdin::bytes("in"));
    let (output, ()) = tokio::join!(command.output(), async {
        let there = peer.expect_open().await.confirm();
        settle().await;
        assert_eq!(names(&there.sent()), ["env", "exec", "data", "eof"]);
        there.reply(false);
        there.reply(true);
        there.close();
    });
    output.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_command_is_not_started_before_what_it_requires_is_granted() {
    let (conn, mut peer) = plain().await;
    let command =
        || conn.exec("x").env("A", "1").env_with("B", "2", EnvPolicy::BestEffort).pty(Default::default());
    for refused in [Some(0), Some(1), None] {
        let (output, there) = tokio::join!(command().output(), async {
            let there = peer.expect_open().await.confirm();
            settle().await;
            assert_eq!(names(&there.sent()), ["pty-req", "env", "env"]);
            (0..3).for_each(|request| there.reply(refused != Some(request) && request != 2));
            settle().await;
            if refused.is_none() {
                assert_eq!(names(&there.sent())[3..], ["exec", "eof"]);
                there.reply(true);
                there.close();
            }
            there
        });
        match (refused, output) {
            (Some(0), Err(CommandError::Request(RequestError::Refused { request }))) => {
                assert_eq!(request, "pty-req")
            }
            (Some(_), Err(CommandError::Env { name, .. })) => assert_eq!(name, "A"),
            (None, Ok(_)) => continue,
            other => panic!("{other:?}"),
        }
        ended(&conn, &peer, &there).await;
        assert_eq!(names(&there.sent())[3..], ["close"]);
    }
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_start_is_a_typed_error_and_closes_the_channel() {
    let (conn, mut peer) = plain().await;
    let (output, there) = tokio::join!(conn.exec("x").output(), async {
        let mut there = peer.expect_open().await.confirm();
        there.expect_request("exec").await;
        there.reply(false);
        there
    });
    let error = output.unwrap_err();
    assert!(matches!(&error, CommandError::Request(RequestError::Refused { request }) if request == "exec"));
    ended(&conn, &peer, &there).await;
    assert_eq!(conn.info().await.unwrap().counters.actors_failed, 0);
}

/// Drops `work` at every point where it waits for the peer, and says what the peer had seen then.
async fn dropped_at_every_step<F: Future>(work: impl Fn(ConnectionRef) -> F, steps: &[&[&str]]) {
    for (step, seen) in steps.iter().enumerate() {
        let (conn, mut peer) = plain().await;
        let mut running = Box::pin(work(conn.clone()));
        assert!(running.as_mut().now_or_never().is_none());
        settle().await;
        let mut there = None;
        if step == 1 {
            there = Some(peer.expect_open().await.confirm());
        }
        if step == 2 {
            there = Some(peer.expect_open().await.confirm());
            settle().await;
            there.as_ref().unwrap().reply(true);
        }
        let until_settled = async {
            tokio::select! { _ = &mut running => panic!("done"), () = settle() => {} }
        };
        until_settled.await;
        drop(running);
        settle().await;
        let there = match there {
            Some(there) => there,
            None => peer.expect_open().await.confirm(),
        };
        ended(&conn, &peer, &there).await;
        assert_eq!(names(&there.sent()), *seen, "step {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn output_dropped_at_any_step_closes_the_channel() {
    let steps: &[&[&str]] = &[&["close"], &["exec", "eof", "close"], &["exec", "eof", "close"]];
    dropped_at_every_step(|conn| async move { conn.exec("x").output().await }, steps).await;
}

#[tokio::test(start_paused = true)]
async fn before_the_start_is_confirmed_every_policy_is_a_hang_up() {
    let steps: &[&[&str]] = &[&["close"], &["exec", "eof", "close"]];
    for policy in [OnCancel::Eof, OnCancel::Detach, OnCancel::term_then_kill(SECOND)] {
        let work = |conn: ConnectionRef| conn.exec("x").on_cancel(policy.clone()).output();
        dropped_at_every_step(work, steps).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_to_the_moment_in_every_phase() {
    for phase in 0..3 {
        let (conn, mut peer) = plain().await;
        let began = tokio::time::Instant::now();
        let (output, there) = tokio::join!(conn.exec("x").deadline(5 * SECOND).output(), async {
            if phase == 0 {
                return None;
            }
            let there = peer.expect_open().await.confirm();
            if phase == 2 {
                settle().await;
                there.reply(true);
                there.data("some");
            }
            Some(there)
        });
        assert_eq!(began.elapsed(), 5 * SECOND, "phase {phase}");
        let error = output.unwrap_err();
        let CommandError::Deadline { after, partial } = &error else { panic!("{error}") };
        assert_eq!(
            (*after, partial.stdout_text()),
            (5 * SECOND, if phase == 2 { "some" } else { "" }.into())
        );
        if let Some(there) = there {
            ended(&conn, &peer, &there).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_a_child_ends_it_while_nobody_waits() {
    let (conn, mut peer) = plain().await;
    let (mut child, there) = spawn(&mut peer, conn.exec("x").deadline(5 * SECOND)).await;
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(names(&there.sent()), ["exec"]);
    tokio::time::sleep(2 * SECOND).await;
    assert!(matches!(child.try_wait(), Err(CommandError::Deadline { .. })));
    ended(&conn, &peer, &there).await;
    assert_eq!(names(&there.sent()), ["exec", "close"]);
    let (child, there) = spawn(&mut peer, conn.exec("x").deadline(5 * SECOND)).await;
    child.detach();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(names(&there.sent()), ["exec", "eof"], "a detached command has no deadline");
    there.close();
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn the_signal_policy_is_term_then_kill_after_the_grace_then_close() {
    let (conn, mut peer) = plain().await;
    let policy = OnCancel::term_then_kill(3 * SECOND);
    let command = || conn.exec("x").stdin(Stdin::null()).on_cancel(policy.clone());
    let (child, there) = spawn(&mut peer, command()).await;
    drop(child);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(names(&there.sent()), ["exec", "eof", "TERM"]);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(names(&there.sent()), ["exec", "eof", "TERM", "KILL", "close"]);
    there.close();
    // A command that heeds the first signal gets no second one.
    let (child, there) = spawn(&mut peer, command()).await;
    drop(child);
    settle().await;
    there.close();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(names(&there.sent())[..3], ["exec", "eof", "TERM"]);
    assert!(!names(&there.sent()).contains(&"KILL".to_owned()));
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_deadline_passed_is_signalled_once() {
    let (conn, mut peer) = plain().await;
    let command = conn.exec("x").deadline(SECOND).on_cancel(OnCancel::term_then_kill(10 * SECOND));
    let (mut child, there) = spawn(&mut peer, command).await;
    let _stdin = child.stdin.take();
    assert!(matches!(child.wait().await, Err(CommandError::Deadline { .. })));
    drop(child);
    settle().await;
    assert_eq!(names(&there.sent()), ["exec", "TERM"]);
}

#[tokio::test(start_paused = true)]
async fn eof_and_detach_leave_the_channel_to_the_command_and_drop_its_output() {
    for (policy, sent) in [(OnCancel::Eof, "eof"), (OnCancel::Detach, "eof")] {
        let (conn, mut peer) = plain().await;
        let (child, there) = spawn(&mut peer, conn.exec("x").on_cancel(policy)).await;
        drop(child);
        for _ in 0..100 {
            there.data(vec![0; MIB]);
            settle().await;
        }
        assert_eq!(names(&there.sent()), ["exec", sent], "stdin was dropped as well");
        assert_eq!(conn.info().await.unwrap().counters.unread, 0);
        there.close();
        assert_clean(&conn, &peer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_actor_is_an_error_and_not_a_wait_for_ever() {
    let (conn, mut peer) = plain().await;
    let (mut child, there) = spawn(&mut peer, conn.exec("x")).await;
    there.data("some");
    settle().await;
    conn.actor().get_children().into_iter().for_each(|actor| actor.kill());
    let mut stdout = child.stdout.take().unwrap();
    assert_eq!(stdout.chunk().await.unwrap().unwrap(), "some");
    assert_eq!(stdout.chunk().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert!(matches!(child.wait().await, Err(CommandError::Interrupted { .. })));
    settle().await;
    assert_eq!(names(&there.sent()).last().map(String::as_str), Some("close"));
}

#[tokio::test(start_paused = true)]
async fn a_write_waits_for_room_and_what_it_took_is_sent_though_the_writer_is_dropped() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(1000);
    let (child, there) = tokio::join!(conn.exec("x").options(options).spawn(), confirm(&mut peer, 0));
    let (mut child, mut there) = (child.unwrap(), there);
    let mut stdin = child.stdin.take().unwrap();
    assert_eq!(stdin.write(&[1; 600]).await.unwrap(), 600);
    assert_eq!(stdin.write(&[2; 600]).await.unwrap(), 600);
    assert!(stdin.write(&[3; 600]).now_or_never().is_none(), "above the high-water mark");
    assert!(stdin.send(Bytes::from_static(b"four")).now_or_never().is_none());
    let mut waiting = Box::pin(stdin.write(&[5; 600]));
    // Far beyond every timeout: a command may take its time.
    let slow = tokio::time::timeout(1000 * SECOND, &mut waiting).await;
    assert!(slow.is_err());
    there.adjust_window(900);
    assert_eq!(within(SECOND, waiting).await.unwrap(), 600);
    drop(stdin);
    there.adjust_window(u32::MAX >> 1);
    let got = there.expect_bytes(1800).await;
    let all = [[1; 600], [2; 600], [5; 600]].concat();
    assert_eq!(got, all, "cancelled writes have taken nothing");
    there.expect_eof().await;
    drop(child);
    ended(&conn, &peer, &there).await;
}

#[tokio::test(start_paused = true)]
async fn writing_to_a_command_that_is_gone_is_a_broken_pipe() {
    let (conn, mut peer) = plain().await;
    let (mut child, there) = spawn(&mut peer, conn.exec("x")).await;
    let mut stdin = child.stdin.take().unwrap();
    there.close();
    settle().await;
    assert_eq!(stdin.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    stdin.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn credit_goes_back_as_the_reader_consumes() {
    let (conn, mut peer) = plain().await;
    let (mut child, there) = spawn(&mut peer, conn.exec("x")).await;
    let mut stdout = child.stdout.take().unwrap();
    (0..4).for_each(|_| there.data(vec![7; 3000]));
    settle().await;
    let unread = async || conn.info().await.unwrap().counters.unread;
    assert_eq!(unread().await, 4 * 3128);
    let mut buffer = [0; 4500];
    stdout.read_exact(&mut buffer).await.unwrap();
    assert_eq!(unread().await, 3 * 3128 - 1500, "what a packet costs goes back with its last byte");
    stdout.read_exact(&mut buffer[..1000]).await.unwrap();
    assert_eq!(unread().await, 3 * 3128 - 1500, "less than 1 KiB waits for more");
    stdout.read_exact(&mut buffer[..500]).await.unwrap();
    assert_eq!(unread().await, 2 * 3128);
    drop(stdout);
    assert_eq!(unread().await, 0);
    there.data(vec![7; 1000]);
    settle().await;
    assert_eq!(unread().await, 0, "nobody will read it");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_tiny_packets_nobody_reads_costs_its_bytes_only() {
    let (conn, mut peer) = plain().await;
    let (mut child, there) = spawn(&mut peer, conn.exec("x").unread_cap(5000)).await;
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    (0..3000).for_each(|_| there.stderr("e"));
    there.data("o");
    settle().await;
    assert!(
        conn.info().await.unwrap().counters.unread > 3000 * 128,
        "nobody reads: both may hold the peer up"
    );
    assert_eq!(stdout.read_u8().await.unwrap(), b'o');
    assert_eq!(conn.info().await.unwrap().counters.unread, 0, "stdout is read: stderr holds nobody up");
    for _ in 0..10 {
        (0..1000).for_each(|_| there.stderr("e"));
        settle().await;
        assert_eq!(conn.info().await.unwrap().counters.unread, 0);
    }
    there.eof();
    let mut got = Vec::new();
    stderr.read_to_end(&mut got).await.unwrap();
    assert_eq!((got.len(), stderr.lost()), (5000, 8000));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_a_reader_loses_nothing_however_slow_it_is() {
    let config = ScriptConfig::new().limits(|limits| limits.inbound_budget = 64 * MIB);
    let (conn, mut peer) = scripted(config).await;
    let (mut child, there) = spawn(&mut peer, conn.exec("x").unread_cap(10)).await;
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    there.data("o");
    there.stderr("e");
    assert_eq!((stdout.read_u8().await.unwrap(), stderr.read_u8().await.unwrap()), (b'o', b'e'));
    for _ in 0..8 {
        there.data(vec![1; MIB]);
        there.stderr(vec![2; MIB]);
        settle().await;
    }
    there.eof();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    stdout.read_to_end(&mut out).await.unwrap();
    stderr.read_to_end(&mut err).await.unwrap();
    assert_eq!((out.len(), err.len(), stdout.lost(), stderr.lost()), (8 * MIB, 8 * MIB, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_cancelled_wait_streams_can_be_read_again() {
    let (conn, mut peer) = plain().await;
    let (mut child, there) = spawn(&mut peer, conn.exec("x").unread_cap(3)).await;
    there.data("abcde");
    settle().await;
    assert!(child.wait().now_or_never().is_none());
    there.data("fghij");
    there.eof();
    settle().await;
    let stdout = child.stdout.as_mut().unwrap();
    let mut got = String::new();
    stdout.read_to_string(&mut got).await.unwrap();
    assert_eq!((got.as_str(), stdout.lost()), ("abcfghij", 2));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_sends_its_data_then_eof_then_close() {
    let (conn, mut peer) = plain().await;
    let (stream, mut there) =
        tokio::join!(conn.open_stream(OpenRequest::Session, ChannelOptions::new()), async {
            peer.expect_open().await.confirm_with(0, 32 << 10)
        });
    let mut stream = stream.unwrap();
    stream.write_all(b"last words").await.unwrap();
    drop(stream);
    settle().await;
    assert!(there.sent().is_empty(), "the window is shut");
    there.adjust_window(5);
    assert_eq!(there.expect_data().await, "last ");
    there.adjust_window(5);
    assert_eq!(there.expect_data().await, "words");
    there.expect_eof().await;
    there.expect_close().await;
    ended(&conn, &peer, &there).await;
}

#[tokio::test(start_paused = true)]
async fn events_hold_their_credit_until_they_are_dropped() {
    use futures::StreamExt as _;
    let (conn, mut peer) = plain().await;
    let (events, there) = tokio::join!(conn.events(OpenRequest::Session, ChannelOptions::new()), async {
        peer.expect_open().await.confirm()
    });
    let mut events = events.unwrap();
    there.data(vec![0; 872]);
    let event = events.next().await.unwrap();
    assert_eq!(event.credit.as_ref().map(ractor_ssh::Credit::bytes), Some(1000));
    assert_eq!(conn.info().await.unwrap().counters.unread, 1000);
    drop(event);
    assert_eq!(conn.info().await.unwrap().counters.unread, 0);
    there.close();
    assert!(matches!(events.next().await.unwrap().msg, ractor_ssh::ChannelMsg::Closed { .. }));
    assert!(events.next().await.is_none());
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_dropped_while_init_runs_leaves_no_channel() {
    let (conn, mut peer) = plain().await;
    let (probe, _events) = crate::kit::Probe::new();
    let probe = probe.on_init(|_| crate::kit::Act::wait(tokio::time::sleep(5 * SECOND)));
    let opening = crate::kit::opening(&conn, probe);
    let there = peer.expect_open().await.confirm();
    settle().await;
    opening.abort();
    tokio::time::sleep(6 * SECOND).await;
    ended(&conn, &peer, &there).await;
}
