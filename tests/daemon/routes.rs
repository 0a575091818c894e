//! What runs on a channel, and what happens while that is being decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, Timeouts};
use ractor_ssh::error::{OpenError, Phase, RequestError, StopReason};
use ractor_ssh::session::ServerStream;
use ractor_ssh::wire::ExitStatus;
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ConnectionRef, ExecOutput, Next, Route, Router, ServerChannel,
    ServerSide,
};
use russh::ChannelMsg as Wire;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};

use crate::kit::{Peer, peer_test};
use crate::ours::{Quiet, Report, Reports};
use crate::programs::router;
use crate::support::{Served, eventually, open_when_free, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("a_slow_route_stalls_no_sibling_and_keeps_early_data", NONE, slow_route),
        peer_test("a_slow_init_stalls_no_sibling_and_keeps_early_data", NONE, slow_init),
        peer_test("an_open_that_is_decided_when_the_daemon_drains_is_refused", NONE, open_amid_drain),
        peer_test("a_slow_open_stalls_no_sibling", NONE, slow_open),
        peer_test("a_route_that_never_decides_refuses_at_the_request_timeout", NONE, endless_route),
        peer_test("a_route_whose_channel_is_closed_stops_deciding", NONE, closed_meanwhile),
        peer_test("who_hears_a_late_no_can_ask_for_something_else_at_once", NONE, late_no),
        peer_test("an_async_route_that_panics_refuses_and_harms_nothing", NONE, panicking_decision),
        peer_test(
            "an_opener_that_goes_before_its_open_is_decided_leaks_nothing",
            NONE,
            handler_down_before_open,
        ),
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
        peer_test("x11_and_agent_requests_are_answered_and_many_do_no_harm", NONE, x11_and_agent),
        peer_test("channels_only_a_client_takes_are_prohibited", NONE, opens_for_clients),
    ]
}

/// Echoes what comes, after an `init` that waits for a permit.
struct Echo {
    gate: Option<Arc<Semaphore>>,
}

impl ServerChannel for Echo {
    type Msg = ();

    async fn init(&mut self, _ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        if let Some(gate) = &self.gate {
            gate.acquire().await?.forget();
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data, .. } => ctx.send(data)?,
            ChannelMsg::Eof => ctx.exit(0)?,
            ChannelMsg::Exec { .. } => ctx.reply_request(true)?,
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// A sibling talks while somebody else takes long.
async fn chat(conn: &ConnectionRef, command: &str) {
    let mut stream = soon(conn.exec(command).stream()).await.unwrap();
    for number in 0..20_u8 {
        stream.send(vec![number; 100]).await.unwrap();
        let mut back = [0; 100];
        tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, [number; 100]);
    }
}

/// Sends early, has a sibling chat, opens the gate, and gets everything back.
async fn early_data(conn: &ConnectionRef, gate: &Semaphore) {
    let channel = conn.events(OpenRequest::Session, ChannelOptions::new()).await.unwrap();
    let handle = (*channel).clone();
    let asked = tokio::spawn(async move { handle.exec("slow").await });
    let sent: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    (*channel).send(sent.clone()).await.unwrap();
    channel.send_eof().unwrap();
    chat(conn, "quick").await;
    gate.add_permits(1);
    soon(asked).await.unwrap().unwrap();
    let mut got = Vec::new();
    let mut events = channel;
    while let Some(event) = soon(events.next()).await {
        if let ChannelMsg::Data { data, .. } = &event.msg {
            got.extend_from_slice(data);
        }
    }
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
}

async fn slow_route() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let served = Served::start(Router::new().decide(move |request| {
        let wait = Arc::clone(&wait);
        async move {
            if request.command() == "slow" {
                wait.acquire().await.unwrap().forget();
            }
            Route::run(Echo { gate: None })
        }
    }))
    .await;
    let conn = served.connect().await;
    early_data(&conn, &gate).await;
    soon(conn.close()).await;
}

async fn slow_init() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let served = Served::start(
        Router::new()
            .exec(move |request| Echo { gate: (request.command() == "slow").then(|| Arc::clone(&wait)) }),
    )
    .await;
    let conn = served.connect().await;
    early_data(&conn, &gate).await;
    soon(conn.close()).await;
}

fn to(host: &str, port: u16) -> OpenRequest {
    OpenRequest::DirectTcpip {
        host: host.to_owned(),
        port,
        originator_host: "127.0.0.1".to_owned(),
        originator_port: 1,
    }
}

async fn open_amid_drain() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let served = Served::start(router().direct_tcpip_async(move |_| {
        let wait = Arc::clone(&wait);
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            wait.acquire().await.unwrap().forget();
            Ok(Echo { gate: None })
        }
    }))
    .await;
    let conn = served.connect().await;
    let mut cat = soon(conn.exec("cat").stream()).await.unwrap();
    cat.send("x").await.unwrap();
    assert_eq!(&soon(cat.chunk()).await.unwrap().unwrap()[..], b"x");
    let opening = tokio::spawn({
        let conn = conn.clone();
        async move { conn.open_stream(to("slow", 7), ChannelOptions::new()).await }
    });
    eventually(|| asked.load(Ordering::SeqCst) == 1).await;
    let daemon = served.daemon.clone();
    let draining = tokio::spawn(async move { daemon.shutdown(Duration::from_secs(20)).await });
    eventually(|| served.daemon.sessions().iter().all(|session| session.phase == Phase::Draining)).await;
    gate.add_permits(1);
    let refused = soon(opening).await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("prohibited"), "{refused}");
    cat.send("still served").await.unwrap();
    assert_eq!(&soon(cat.chunk()).await.unwrap().unwrap()[..], b"still served");
    assert!(soon(cat.finish()).await.unwrap().success());
    soon(draining).await.unwrap();
}

async fn slow_open() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let served = Served::start(router().direct_tcpip_async(move |open| {
        let wait = Arc::clone(&wait);
        async move {
            wait.acquire().await.unwrap().forget();
            match open.port {
                7 => Ok(Echo { gate: None }),
                _ => Err(OpenFailureReason::ResourceShortage),
            }
        }
    }))
    .await;
    let conn = served.connect().await;
    let open = |port| {
        let conn = conn.clone();
        tokio::spawn(async move { conn.open_stream(to("slow", port), ChannelOptions::new()).await })
    };
    let (accepted, refused) = (open(7), open(8));
    chat(&conn, "cat").await;
    assert!(!accepted.is_finished() && !refused.is_finished());
    gate.add_permits(2);
    let mut stream = soon(accepted).await.unwrap().unwrap();
    stream.send("hello").await.unwrap();
    assert_eq!(&soon(stream.chunk()).await.unwrap().unwrap()[..], b"hello");
    let refused = soon(refused).await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("resource shortage"), "{refused}");
    soon(conn.close()).await;
}

async fn endless_route() {
    let served = Served::with(|config| {
        let mut timeouts = Timeouts::default();
        timeouts.request = Duration::from_millis(300);
        config.router(router().decide(|_| async { std::future::pending::<Route>().await })).timeouts(timeouts)
    })
    .await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let refused = soon(channel.shell()).await;
    assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
    soon(channel.exec("cat")).await.unwrap();
    soon(conn.close()).await;
}

/// Says when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

async fn closed_meanwhile() {
    let (sender, mut dropped) = mpsc::unbounded_channel();
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let routes = Router::new().decide(move |_| {
        let guard = Dropped(sender.clone());
        let _ = asked.send(());
        async move {
            let _guard = guard;
            std::future::pending::<Route>().await
        }
    });
    let served = Served::with(|config| config.router(routes).max_channels(1)).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let waiting = channel.clone();
    let request = tokio::spawn(async move { waiting.shell().await });
    soon(was_asked.recv()).await.unwrap();
    channel.close();
    soon(dropped.recv()).await.unwrap();
    assert!(matches!(soon(request).await.unwrap(), Err(RequestError::Closed(_))));
    open_when_free(&conn).await;
    soon(conn.close()).await;
}

async fn late_no() {
    let served = Served::start(router().decide(|_| async {
        tokio::task::yield_now().await;
        Route::refuse()
    }))
    .await;
    let conn = served.connect().await;
    for _ in 0..200 {
        let channel = conn.session_channel(Quiet).await.unwrap();
        let refused = soon(channel.shell()).await;
        assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
        soon(channel.exec("cat")).await.unwrap();
        channel.close();
        soon(channel.wait()).await;
    }
    soon(conn.close()).await;
}

async fn panicking_decision() {
    let served = Served::start(router().decide(|_| async { panic!("planted") })).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let refused = soon(channel.shell()).await;
    assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
    soon(channel.exec("cat")).await.unwrap();
    soon(conn.close()).await;
}

async fn handler_down_before_open() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let routes = Router::new().session_async(move |_| {
        let (wait, first) = (Arc::clone(&wait), count.fetch_add(1, Ordering::SeqCst) == 1);
        async move {
            if first {
                wait.acquire().await.unwrap().forget();
            }
            Ok(Echo { gate: None })
        }
    });
    let served = Served::with(|config| config.router(routes).max_channels(2)).await;
    let conn = served.connect().await;
    let mut sibling = soon(conn.exec("cat").stream()).await.unwrap();
    let opening = tokio::spawn({
        let conn = conn.clone();
        async move { conn.session_channel(Quiet).await }
    });
    soon(async {
        while asked.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await
        }
    })
    .await;
    opening.abort();
    assert!(soon(opening).await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    // The place is free again when the late confirmation was answered by a close.
    open_when_free(&conn).await;
    sibling.send("still here").await.unwrap();
    assert_eq!(&soon(sibling.chunk()).await.unwrap().unwrap()[..], b"still here");
    soon(conn.close()).await;
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

async fn x11_and_agent() {
    let reports = Reports::default();
    let sender = reports.sender();
    let whole = Served::with(|config| config.session_channel(move |_| Report::new(&sender))).await;
    let routed = Served::start(router()).await;
    for (served, display) in [(&routed, false), (&whole, true)] {
        let handle = served.connect_plain().await;
        let mut channel = handle.channel_open_session().await.unwrap();
        let answer = async |channel: &mut russh::Channel<russh::client::Msg>| match soon(channel.wait())
            .await
            .unwrap()
        {
            Wire::Success => true,
            Wire::Failure => false,
            other => panic!("{other:?}"),
        };
        // More than fit into russh's own queue of a channel.
        for _ in 0..150 {
            channel.request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00ff", 0).await.unwrap();
            assert_eq!(answer(&mut channel).await, display);
            channel.agent_forward(true).await.unwrap();
            assert!(!answer(&mut channel).await);
        }
    }
    assert!(reports.next().await.starts_with("X11"));
}

async fn opens_for_clients() {
    let served = Served::start(router()).await;
    let handle = served.connect_plain().await;
    let refused = soon(handle.channel_open_x11("127.0.0.1", 6000)).await;
    let Err(russh::Error::ChannelOpenFailure(reason)) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, russh::ChannelOpenFailure::AdministrativelyProhibited);
    let conn = served.connect().await;
    let refused = conn.open_channel(to("127.0.0.1", 1), ChannelOptions::new(), Quiet).await;
    let Err(OpenError::Refused { reason, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, OpenFailureReason::AdministrativelyProhibited);
    soon(conn.close()).await;
}
