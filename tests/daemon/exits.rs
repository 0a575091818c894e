//! The end of a command: all output first, then the status, eof and close, whoever reads and however slowly.

use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, Timeouts};
use ractor_ssh::error::RequestError;
use ractor_ssh::session::ServerStream;
use ractor_ssh::wire::{ExitSignal, ExitStatus, Signal};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, Next, Router, ServerChannel, ServerSide, SessionRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::{Check, piece};
use crate::support::{Served, Ssh, soon};

const NONE: [Peer; 0] = [];
const PIECE: usize = 256 << 10;

pub(crate) fn trials() -> Vec<Trial> {
    let ssh = Peer::OpenSshClient;
    vec![
        peer_test("ssh_gets_64_mib_and_then_the_status_of_a_function", [ssh], big_stream),
        peer_test("ssh_gets_64_mib_and_then_the_status_of_a_behaviour_that_exits_at_once", [ssh], big_queue),
        peer_test("an_exit_waits_for_a_reader_that_pauses_for_longer_than_the_close_timeout", [ssh], pause),
        peer_test("an_exit_signal_is_told_behind_the_output", NONE, signal),
        peer_test("ssh_reports_an_exit_by_signal_as_255", [ssh], ssh_signal),
        peer_test("a_request_that_a_behaviour_leaves_unanswered_is_refused", NONE, unanswered),
        peer_test("a_behaviour_that_stops_after_its_exit_loses_nothing", NONE, stop_after_exit),
        peer_test("output_for_a_peer_that_never_reads_stays_within_the_mark", NONE, never_reads),
        peer_test("a_function_that_writes_to_a_peer_that_never_reads_waits", NONE, function_waits),
    ]
}

/// Writes so many bytes as the peer takes them, and returns 3.
async fn write(request: SessionRequest, mut stream: ServerStream) -> u32 {
    let size = request.command().parse().unwrap_or(0);
    for from in (0..size).step_by(PIECE) {
        if stream.send(piece(from, PIECE)).await.is_err() {
            return 1;
        }
    }
    3
}

/// Runs `ssh`, reads all it says after a pause, and returns its status.
async fn check_ssh(served: &Served, ssh: &Ssh, size: usize, pause: Duration) -> Option<i32> {
    let mut child = ssh
        .command(served)
        .args(["127.0.0.1", &size.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0];
    soon(stdout.read_exact(&mut first)).await.unwrap();
    tokio::time::sleep(pause).await;
    let mut check = Check::default();
    check.take(&first);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match soon(stdout.read(&mut buffer)).await.unwrap() {
            0 => break,
            len => check.take(&buffer[..len]),
        }
    }
    assert_eq!((check.seen, check.wrong), (size, None));
    soon(child.wait()).await.unwrap().code()
}

async fn big_stream() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(Router::new().exec_stream_fn(write))).await;
    assert_eq!(check_ssh(&served, &ssh, 64 << 20, Duration::ZERO).await, Some(3));
}

/// Queues all at once, exits, and stops if asked to.
struct Burst {
    size: usize,
    stop: bool,
}

impl ServerChannel for Burst {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        for from in (0..self.size).step_by(PIECE) {
            ctx.send(piece(from, PIECE))?;
        }
        ctx.exit(4)?;
        if self.stop {
            ctx.myself().stop("done");
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

fn burst(stop: bool) -> Router {
    Router::new().exec(move |request| Burst { size: request.command().parse().unwrap_or(0), stop })
}

async fn big_queue() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(burst(false))).await;
    assert_eq!(check_ssh(&served, &ssh, 64 << 20, Duration::ZERO).await, Some(4));
}

async fn pause() {
    let ssh = Ssh::new();
    let mut timeouts = Timeouts::default();
    timeouts.close = Duration::from_millis(200);
    for stop in [false, true] {
        let served = ssh.serve(|config| config.router(burst(stop)).timeouts(timeouts.clone())).await;
        assert_eq!(check_ssh(&served, &ssh, 16 << 20, Duration::from_millis(1500)).await, Some(4));
    }
}

async fn signal() {
    let run = |_, mut stream: ServerStream| async move {
        let _ = stream.write_all(b"last words").await;
        ExitSignal::new(Signal::Term)
    };
    let served = Served::start(Router::new().exec_stream_fn(run)).await;
    let conn = served.connect().await;
    let output = soon(conn.exec("x").output()).await.unwrap();
    assert_eq!(output.stdout, b"last words");
    assert_eq!(output.status.signal().map(|exit| &exit.signal), Some(&Signal::Term));
    soon(conn.close()).await;
}

async fn ssh_signal() {
    let ssh = Ssh::new();
    let run = |_, _| async { ExitSignal::new(Signal::Kill) };
    let served = ssh.serve(|config| config.router(Router::new().exec_stream_fn(run))).await;
    let output = soon(ssh.command(&served).args(["127.0.0.1", "x"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255));
}

/// Answers nothing.
struct Mute;

impl ServerChannel for Mute {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn unanswered() {
    let served = Served::with(|config| config.session_channel(|_| Mute)).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    for answer in [soon(channel.setenv("A", "b")).await, soon(channel.exec("x")).await] {
        assert!(matches!(answer, Err(RequestError::Refused { .. })), "{answer:?}");
    }
    soon(conn.close()).await;
}

async fn stop_after_exit() {
    let served = Served::start(burst(true)).await;
    let conn = served.connect().await;
    let output = soon(conn.exec((4 << 20).to_string()).output()).await.unwrap();
    assert!(output.stdout == piece(0, 4 << 20), "{} bytes", output.stdout.len());
    assert_eq!(output.status, ExitStatus::Code(4));
    soon(conn.close()).await;
}

const MARK: usize = 512 << 10;

/// Writes without end, as long as it is told that there is room; reports how much is queued.
struct Endless(mpsc::UnboundedSender<(usize, u64)>);

impl Endless {
    fn produce(&self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        while ctx.is_ready() {
            ctx.send(vec![0; 64 << 10])?;
            let info = ctx.info();
            let _ = self.0.send((info.queued, info.bytes_out));
        }
        ctx.notify_when_ready();
        Ok(())
    }
}

impl ServerChannel for Endless {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        self.produce(ctx)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        if matches!(msg, ChannelMsg::ReadyToSend) {
            self.produce(ctx)?;
        }
        Ok(Next::Continue)
    }
}

/// What russh's client takes without anybody reading from it: its window, and what its queue of 100 packets lets pass.
const TAKEN: u64 = 32 << 20;

async fn never_reads() {
    let (report, mut reports) = mpsc::unbounded_channel();
    let served = Served::with(|config| {
        config
            .router(Router::new().exec(move |_| Endless(report.clone())))
            .channel_options(ChannelOptions::new().high_water(MARK))
    })
    .await;
    let handle = served.connect_plain().await;
    let channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    let (mut most, mut left) = (0, 0);
    // It stands still when nothing was written for a second.
    while let Ok(Some((queued, out))) = tokio::time::timeout(Duration::from_secs(1), reports.recv()).await {
        most = most.max(queued);
        left = out;
    }
    assert!(most >= MARK, "the mark was never reached: {most}");
    assert!(most <= MARK + (64 << 10), "{most} bytes queued");
    assert!(left < TAKEN, "{left} bytes left");
    drop(channel);
}

async fn function_waits() {
    let (report, mut reports) = mpsc::unbounded_channel();
    let run = move |_, mut stream: ServerStream| {
        let report = report.clone();
        async move {
            let mut written = 0_u64;
            while stream.send(vec![0; 64 << 10]).await.is_ok() {
                written += 64 << 10;
                let _ = report.send(written);
            }
            0
        }
    };
    let served = Served::with(|config| {
        config
            .router(Router::new().exec_stream_fn(run))
            .channel_options(ChannelOptions::new().high_water(MARK))
    })
    .await;
    let handle = served.connect_plain().await;
    let channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    let mut written = 0;
    while let Ok(Some(so_far)) = tokio::time::timeout(Duration::from_secs(1), reports.recv()).await {
        written = so_far;
    }
    assert!(written >= MARK as u64 && written < TAKEN, "{written}");
    drop(channel);
    drop(handle);
    // The channel ends with its connection, and so does the function.
    soon(served.daemon.stop()).await;
    // The daemon's handle keeps the route.
    drop(served);
    soon(async { while reports.recv().await.is_some() {} }).await;
}
