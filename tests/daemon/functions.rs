//! What runs on a channel: subsystems, and functions over its stream.

use futures::{SinkExt, StreamExt};
use libtest_mimic::Trial;
use ractor_ssh::error::{RequestError, StopReason};
use ractor_ssh::session::ServerStream;
use ractor_ssh::wire::ExitStatus;
use ractor_ssh::{ExecOutput, Router};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::kit::{Peer, peer_test};
use crate::ours::{Quiet, Report, Reports};
use crate::programs::router;
use crate::support::{Served, open_when_free, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("noexist_subsystem_is_refused_and_the_channel_can_be_closed", NONE, noexist_subsystem),
        peer_test("defined_subsystem_ends_with_the_clients_close", NONE, defined_subsystem),
        peer_test("a_subsystem_can_be_a_function_over_lines", NONE, line_subsystem),
        peer_test("a_request_on_a_closed_channel_says_closed", NONE, start_subsystem_on_closed_channel),
        peer_test("without_a_route_for_it_exec_is_refused_and_the_shell_works", NONE, exec_disabled),
        peer_test("without_a_route_for_it_the_shell_is_refused_and_exec_works", NONE, exec_shell_disabled),
        peer_test("an_exec_function_reads_and_writes_line_by_line", NONE, read_write),
        peer_test("480_kb_from_an_exec_function_arrive_before_the_end", NONE, more_data),
        peer_test("an_exec_function_that_panics_closes_its_channel_only", NONE, direct_fun_error),
        peer_test("a_channel_that_ends_leaves_nothing_behind", NONE, shell_channel_tree),
        peer_test("a_handler_learns_both_addresses", NONE, peername_sockname),
        peer_test(
            "a_send_that_is_cut_off_by_the_server_ends_and_what_arrived_is_exact",
            NONE,
            interrupted_send,
        ),
    ]
}

async fn noexist_subsystem() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let refused = channel.subsystem("noexist").await;
    assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
    channel.close();
    assert!(matches!(soon(channel.wait()).await, StopReason::Closed(_)));
    soon(conn.close()).await;
}

async fn defined_subsystem() {
    let reports = Reports::default();
    let sender = reports.sender();
    let served = Served::start(Router::new().subsystem("echo", move |_| Report::new(&sender))).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.subsystem("echo").await.unwrap();
    channel.close();
    assert_eq!(reports.next().await, "closed");
    assert!(matches!(soon(channel.wait()).await, StopReason::Closed(_)));
    soon(conn.close()).await;
}

/// Answers each line in capitals, until it is told to stop.
async fn capitals(stream: ServerStream) -> u32 {
    let mut lines = stream.lines(1024);
    while let Some(Ok(line)) = lines.next().await {
        if line == "stop" {
            return 3;
        }
        if lines.send(line.to_uppercase()).await.is_err() {
            return 1;
        }
    }
    0
}

async fn line_subsystem() {
    let served = Served::start(Router::new().subsystem_fn("capitals", |_, stream| capitals(stream))).await;
    let conn = served.connect().await;
    let mut child = soon(conn.subsystem("capitals").spawn()).await.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    for word in ["one", "two", "three"] {
        stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        assert_eq!(soon(stdout.next_line()).await.unwrap().unwrap(), word.to_uppercase());
    }
    stdin.write_all(b"stop\n").await.unwrap();
    assert_eq!(soon(stdout.next_line()).await.unwrap(), None);
    assert_eq!(soon(child.wait()).await.unwrap(), ExitStatus::Code(3));
    soon(conn.close()).await;
}

async fn start_subsystem_on_closed_channel() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.close();
    soon(channel.wait()).await;
    for refused in [channel.subsystem("echo").await, channel.exec("cat").await] {
        assert!(matches!(refused, Err(RequestError::Closed(_))), "{refused:?}");
    }
    soon(conn.close()).await;
}

async fn exec_disabled() {
    let served = Served::start(Router::new().shell_fn(|_, stream| capitals(stream))).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    assert!(matches!(channel.exec("anything").await, Err(RequestError::Refused { .. })));
    channel.shell().await.unwrap();
    soon(conn.close()).await;
}

async fn exec_shell_disabled() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    assert!(matches!(channel.shell().await, Err(RequestError::Refused { .. })));
    channel.exec("cat").await.unwrap();
    soon(conn.close()).await;
}

/// A dialogue with prompts; the answer decides about the status.
async fn dialogue(mut stream: ServerStream) -> Result<u32, std::io::Error> {
    stream.write_all(b"name: ").await?;
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await?;
    stream.write_all(format!("hello {}\n", line.trim()).as_bytes()).await?;
    stream.stderr().write_all(b"bye\n").await?;
    Ok(if line.trim() == "nobody" { 255 } else { 0 })
}

async fn read_write() {
    let run = |_, stream| async { dialogue(stream).await.unwrap_or(1) };
    let served = Served::start(Router::new().exec_stream_fn(run)).await;
    let conn = served.connect().await;
    for (name, status) in [("world", 0), ("nobody", 255)] {
        let mut child = soon(conn.exec("dialogue").spawn()).await.unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut prompt = [0; 6];
        soon(stdout.read_exact(&mut prompt)).await.unwrap();
        assert_eq!(&prompt, b"name: ");
        let mut stdin = child.stdin.take().unwrap();
        // The line comes in two pieces.
        for piece in [name, "\n"] {
            stdin.send(piece).await.unwrap();
        }
        let mut rest = String::new();
        soon(stdout.read_to_string(&mut rest)).await.unwrap();
        assert_eq!(rest, format!("hello {name}\n"));
        let output = soon(child.wait_with_output()).await.unwrap();
        assert_eq!(output.status, ExitStatus::Code(status));
        assert_eq!(output.stderr, b"bye\n");
    }
    soon(conn.close()).await;
}

async fn more_data() {
    let served = Served::start(Router::new().exec_stream_fn(|_, mut stream: ServerStream| async move {
        for from in (0..480_000).step_by(1000) {
            if stream.write_all(&crate::programs::piece(from, 1000)).await.is_err() {
                return 1;
            }
        }
        0
    }))
    .await;
    let conn = served.connect().await;
    let output = soon(conn.exec("x").output()).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
    assert!(output.stdout == crate::programs::piece(0, 480_000), "{} bytes", output.stdout.len());
    soon(conn.close()).await;
}

async fn direct_fun_error() {
    let served = Served::start(Router::new().exec_fn(|request| async move {
        assert_ne!(request.command(), "panic");
        ExecOutput::ok("fine")
    }))
    .await;
    let conn = served.connect().await;
    let broken = soon(conn.exec("panic").output()).await.unwrap();
    assert_eq!(broken.status, ExitStatus::Missing);
    assert_eq!(soon(conn.exec("x").output()).await.unwrap().stdout, b"fine");
    soon(conn.close()).await;
}

async fn shell_channel_tree() {
    let reports = Reports::default();
    let sender = reports.sender();
    let routes = router().shell(move |_| Report::new(&sender));
    let served = Served::with(|config| config.router(routes).max_channels(2)).await;
    let conn = served.connect().await;
    let mut sibling = soon(conn.exec("cat").stream()).await.unwrap();
    for _ in 0..100 {
        let channel = open_when_free(&conn).await;
        channel.shell().await.unwrap();
        channel.close();
        assert_eq!(reports.next().await, "closed");
        soon(channel.wait()).await;
    }
    sibling.send("x").await.unwrap();
    assert_eq!(&soon(sibling.chunk()).await.unwrap().unwrap()[..], b"x");
    soon(conn.close()).await;
}

async fn peername_sockname() {
    let tells = |request: ractor_ssh::SessionRequest| async move {
        ExecOutput::ok(format!("{:?} {:?}", request.peer, request.local))
    };
    let served = Served::start(Router::new().exec_fn(tells)).await;
    let conn = served.connect().await;
    let info = conn.info().await.unwrap();
    let output = soon(conn.exec("x").output()).await.unwrap();
    let expected = format!("{:?} {:?}", info.local_addr, Some(served.daemon.local_addr()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    soon(conn.close()).await;
}

/// Takes so many bytes, says how many were as expected, and closes without reading on.
async fn take(mut stream: ServerStream, count: usize) -> u32 {
    let mut check = crate::programs::Check::default();
    let mut buffer = vec![0; count];
    if stream.read_exact(&mut buffer).await.is_err() {
        return 1;
    }
    check.take(&buffer);
    if check.wrong.is_none() { 0 } else { 2 }
}

async fn interrupted_send() {
    let run = |request: ractor_ssh::SessionRequest, stream| async move {
        take(stream, request.command().parse().unwrap_or(0)).await
    };
    let served = Served::start(Router::new().exec_stream_fn(run)).await;
    let conn = served.connect().await;
    for count in [4 << 10, 4 << 20] {
        let mut child = soon(conn.exec(count.to_string()).spawn()).await.unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sending = tokio::spawn(async move {
            for from in (0..10 << 20).step_by(64 << 10) {
                if stdin.send(crate::programs::piece(from, 64 << 10)).await.is_err() {
                    return true;
                }
            }
            stdin.drained().await.is_err()
        });
        assert_eq!(soon(child.wait()).await.unwrap(), ExitStatus::Code(0));
        // russh grants window on receipt: all may have left before the close. But the sender must not hang.
        soon(sending).await.unwrap();
    }
    assert_eq!(soon(conn.exec("0").status()).await.unwrap(), ExitStatus::Code(0));
    soon(conn.close()).await;
}
