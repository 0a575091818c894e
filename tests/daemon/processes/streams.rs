//! Input, output and status of commands.

use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::Router;
use ractor_ssh::session::Stdin;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::{processes, run, served, served_to_us, text, until};
use crate::kit::{Peer, peer_test};
use crate::programs::{Check, piece};
use crate::support::{Ssh, soon};

const NONE: [Peer; 0] = [];

pub(super) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshClient];
    vec![
        peer_test("process::ssh_gets_both_outputs_apart_and_the_status", needs, apart),
        peer_test("process::every_status_arrives", needs, statuses),
        peer_test("process::16_mib_go_up_and_come_down_byte_for_byte", needs, big),
        peer_test("process::16_mib_pass_through_cat_with_both_ends_busy", NONE, both_ways),
        peer_test("process::the_last_output_is_never_lost_to_the_end", NONE, last_output),
        peer_test("process::a_process_that_reads_late_gets_all_of_its_input", NONE, late_reader),
        peer_test("process::input_nobody_reads_is_dropped_and_holds_nothing_up", NONE, unread_input),
        peer_test("process::a_command_may_be_any_bytes", NONE, any_bytes),
        peer_test("process::output_nobody_reads_stops_the_process", needs, unread_output),
        peer_test("process::a_reader_that_pauses_after_the_end_loses_nothing", NONE, slow_reader),
        peer_test("process::thirty_sessions_share_a_connection", needs, control_master),
        peer_test("process::without_a_route_nothing_runs", needs, nothing),
    ]
}

async fn apart() {
    let (ssh, served) = served(&processes()).await;
    let output = run(&ssh, &served, &["127.0.0.1", "cat; echo err >&2; exit 7"], b"in\0\xff\n").await;
    assert_eq!(output.stdout, b"in\0\xff\n");
    assert_eq!(text(&output.stderr), "err\n");
    assert_eq!(output.status.code(), Some(7));
}

async fn statuses() {
    let (ssh, served) = served(&processes()).await;
    for status in [0, 1, 42, 127, 254] {
        let output = run(&ssh, &served, &["127.0.0.1", &format!("exit {status}")], b"").await;
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
    let output = run(&ssh, &served, &["127.0.0.1", "no-such-program"], b"").await;
    assert_eq!(output.status.code(), Some(127), "{output:?}");
}

async fn big() {
    const SIZE: usize = 16 << 20;
    let (ssh, served) = served(&processes()).await;
    let file = ssh.directory().join("input");
    std::fs::write(&file, piece(0, SIZE)).unwrap();
    let local = tokio::process::Command::new("sha256sum").arg(&file).output().await.unwrap();
    let sum = text(&local.stdout).split(' ').next().unwrap().to_owned();
    assert_eq!(sum.len(), 64);
    let mut up = ssh.command(&served);
    up.args(["127.0.0.1", "sha256sum"]).stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let output = soon(up.output()).await.unwrap();
    assert_eq!(text(&output.stdout), format!("{sum}  -\n"), "{}", text(&output.stderr));
    let down = run(&ssh, &served, &["127.0.0.1", &format!("cat '{}'", file.display())], b"").await;
    let mut check = Check::default();
    check.take(&down.stdout);
    assert_eq!((check.seen, check.wrong), (SIZE, None));
    assert!(down.status.success());
}

async fn both_ways() {
    const SIZE: usize = 16 << 20;
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let output = soon(conn.exec("cat").stdin(Stdin::bytes(piece(0, SIZE))).output()).await.unwrap();
    let mut check = Check::default();
    check.take(&output.stdout);
    assert_eq!((check.seen, check.wrong, output.status.code()), (SIZE, None, Some(0)));
    soon(conn.close()).await;
}

async fn last_output() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    for _ in 0..50 {
        let output = soon(conn.exec("echo a; echo b >&2; head -c 100000 /dev/zero").output()).await.unwrap();
        assert_eq!(
            (output.stdout.len(), &*output.stderr, output.status.code()),
            (100_002, &b"b\n"[..], Some(0))
        );
    }
    soon(conn.close()).await;
}

async fn late_reader() {
    const SIZE: usize = 8 << 20;
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let command = conn.exec("sleep 0.5; wc -c").stdin(Stdin::bytes(vec![b'x'; SIZE]));
    let output = soon(command.output()).await.unwrap();
    assert_eq!(output.stdout_text().trim(), SIZE.to_string());
    soon(conn.close()).await;
}

/// More than all budgets together: it would not end if any of it stayed.
async fn unread_input() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let mut child =
        conn.exec("exec <&-; echo closed; sleep 0.3").stdin(Stdin::piped()).spawn().await.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = tokio::spawn(async move {
        let piece = vec![0; 1 << 20];
        for _ in 0..100 {
            if stdin.write_all(&piece).await.is_err() {
                break;
            }
        }
    });
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!((output.stdout_text().trim(), output.status.code()), ("closed", Some(0)));
    feeding.await.unwrap();
    soon(conn.close()).await;
}

async fn any_bytes() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let output = soon(conn.exec(b"printf %s '\xff\xfe'").output()).await.unwrap();
    assert_eq!((&*output.stdout, output.status.code()), (&b"\xff\xfe"[..], Some(0)));
    let refused = soon(conn.exec(b"echo a\0b").output()).await.unwrap();
    assert_eq!((refused.stdout.len(), refused.status.code()), (0, Some(1)));
    assert!(refused.stderr_text().contains("cannot start"), "{refused:?}");
    soon(conn.close()).await;
}

/// What the process has written, as the kernel counts it, stops growing far below what it wants to write.
async fn unread_output() {
    let (ssh, served) = served(&processes()).await;
    let mut command = ssh.command(&served);
    command.args(["127.0.0.1", "echo $$; exec head -c 2000000000 /dev/zero"]);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::with_capacity(64, child.stdout.take().unwrap());
    let mut pid = String::new();
    soon(lines.read_line(&mut pid)).await.unwrap();
    let io = format!("/proc/{}/io", pid.trim());
    let written = || {
        let io = std::fs::read_to_string(&io).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let mut last = (0, 0);
    let stopped = until("the process stops", || {
        let now = written();
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        let stopped = (last.1 >= 50 && now > 0).then_some(now);
        async move { stopped }
    })
    .await;
    assert!(stopped < 16 << 20, "{stopped} bytes went somewhere");
    // It goes on when somebody reads.
    let mut some = vec![0; 32 << 20];
    soon(lines.read_exact(&mut some)).await.unwrap();
    child.kill().await.unwrap();
}

/// The process ends long before its output is read; the pause is longer than what a close waits for a peer.
async fn slow_reader() {
    let mut timeouts = ractor_ssh::config::Timeouts::default();
    timeouts.close = Duration::from_millis(200);
    let router = Router::new().processes(processes());
    let served = crate::support::Served::with(|config| config.timeouts(timeouts).router(router)).await;
    let conn = served.connect_plain().await;
    let mut channel = conn.channel_open_session().await.unwrap();
    channel.exec(true, "head -c 6000000 /dev/zero; exit 9").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (mut len, mut status) = (0, None);
    while let Some(msg) = soon(channel.wait()).await {
        match msg {
            russh::ChannelMsg::Data { data } => len += data.len(),
            russh::ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            _ => {}
        }
    }
    assert_eq!((len, status), (6_000_000, Some(9)));
}

async fn control_master() {
    let (ssh, served) = served(&processes()).await;
    let socket = ssh.directory().join("master");
    let mut master = ssh.command(&served);
    master.args(["-M", "-N", "-S"]).arg(&socket).arg("127.0.0.1");
    let mut master = master.spawn().unwrap();
    until("the master's socket", || async { socket.exists().then_some(()) }).await;
    let mut sessions = tokio::task::JoinSet::new();
    for number in 0..30 {
        let mut session = ssh.command(&served);
        session.arg("-S").arg(&socket).args(["127.0.0.1", &format!("cat; exit {number}")]);
        session.stdin(Stdio::piped());
        sessions.spawn(async move {
            let mut child = session.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(number.to_string().as_bytes()).await.unwrap();
            drop(stdin);
            let output = soon(child.wait_with_output()).await.unwrap();
            assert_eq!((text(&output.stdout), output.status.code()), (number.to_string(), Some(number)));
        });
    }
    while let Some(done) = sessions.join_next().await {
        done.unwrap();
    }
    master.kill().await.unwrap();
}

async fn nothing() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config).await;
    let output = run(&ssh, &served, &["127.0.0.1", "true"], b"").await;
    assert_eq!(output.status.code(), Some(255), "{output:?}");
}
