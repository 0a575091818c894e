//! Functions whose peer has closed, or has gone, before they have read everything; and those that end at such a moment.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::Router;
use ractor_ssh::config::Timeouts;
use ractor_ssh::error::Phase;
use ractor_ssh::session::ServerStream;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing_subscriber::filter::LevelFilter;

use crate::kit::{Peer, peer_test};
use crate::programs::{Check, piece};
use crate::support::{Anything, Served, eventually, soon};

const NONE: [Peer; 0] = [];
const SIZE: usize = 10 << 20;
const NAME: &str = "upload";
/// Longer than any test waits.
const FAR: Duration = Duration::from_secs(3600);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("a_forwarded_upload_that_ends_in_a_close_reaches_a_slow_target_whole", NONE, slow_target),
        peer_test("a_function_that_reads_late_gets_all_that_came_before_the_close", NONE, late_function),
        peer_test("a_function_that_reads_late_gets_all_that_came_before_a_disconnect", NONE, after_a_loss),
        peer_test("a_function_that_reads_nothing_after_the_close_is_dropped_at_the_limit", NONE, limit),
        peer_test("a_function_that_nothing_was_sent_to_is_dropped_with_its_channel", NONE, nothing_sent),
        peer_test("stopping_a_daemon_drops_functions_whose_channel_is_over", NONE, stop_after_close),
        peer_test("stopping_a_daemon_drops_functions_whose_connection_is_lost", NONE, stop_after_loss),
        peer_test("a_function_that_closes_its_channel_itself_loses_no_output", NONE, own_close),
        peer_test("a_function_that_ends_as_its_peer_closes_has_not_failed", NONE, ends_too_late),
    ]
}

type Client = russh::client::Handle<Anything>;
type Channel = russh::Channel<russh::client::Msg>;

/// Sends all and eof at once.
async fn send(channel: &Channel, size: usize) {
    for from in (0..size).step_by(64 << 10) {
        channel.data_bytes(piece(from, 64 << 10)).await.unwrap();
    }
    channel.eof().await.unwrap();
}

/// Closes, and waits until the daemon has seen it: it answers in order.
async fn close(client: &Client, channel: Channel) {
    channel.close().await.unwrap();
    client.send_ping().await.unwrap();
}

/// Reads slowly to the end.
async fn check(mut from: impl tokio::io::AsyncRead + Unpin) -> (usize, Option<usize>, bool) {
    let mut check = Check::default();
    let mut buffer = vec![0; 48 << 10];
    loop {
        tokio::task::yield_now().await;
        match from.read(&mut buffer).await {
            Ok(0) => return (check.seen, check.wrong, true),
            Ok(len) => check.take(&buffer[..len]),
            Err(_) => return (check.seen, check.wrong, false),
        }
    }
}

async fn slow_target() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Served::start(Router::new().forward_tcpip(|_| true)).await;
    let client = served.connect_plain().await;
    let channel = client.channel_open_direct_tcpip("127.0.0.1", port.into(), "127.0.0.1", 1).await.unwrap();
    let (target, _) = soon(listener.accept()).await.unwrap();
    soon(send(&channel, SIZE)).await;
    soon(close(&client, channel)).await;
    // It reads nothing before the channel is over.
    assert_eq!(soon(check(target)).await, (SIZE, None, true));
    eventually(|| served.daemon.sessions()[0].channels_open == 0).await;
}

/// Tells of the end of what holds it, however it comes.
struct Told(mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A daemon whose function reads when it may, and reports what came; it says when it begins and when it is gone.
struct Upload {
    served: Served,
    may_read: watch::Sender<bool>,
    reports: mpsc::UnboundedReceiver<(usize, Option<usize>, bool)>,
    told: mpsc::UnboundedReceiver<()>,
}

impl Upload {
    async fn start(close: Duration) -> Self {
        let (may_read, reading) = watch::channel(false);
        let (report, reports) = mpsc::unbounded_channel();
        let (tell, begins_and_ends) = mpsc::unbounded_channel();
        let run = move |_, stream: ServerStream| {
            let (mut reading, report, told) = (reading.clone(), report.clone(), Told(tell.clone()));
            async move {
                // It runs.
                let _ = told.0.send(());
                let _ = reading.wait_for(|may| *may).await;
                let _ = report.send(check(stream).await);
                0
            }
        };
        let mut timeouts = Timeouts::default();
        timeouts.close = close;
        let routes = Router::new().subsystem_fn(NAME, run);
        let served = Served::with(|config| config.router(routes).timeouts(timeouts)).await;
        Self { served, may_read, reports, told: begins_and_ends }
    }

    /// A client that has sent so much to a function that runs.
    async fn sent(&mut self, size: usize) -> (Client, Channel) {
        let client = self.served.connect_plain().await;
        let mut channel = client.channel_open_session().await.unwrap();
        channel.request_subsystem(true, NAME).await.unwrap();
        // Its answer.
        while !matches!(soon(channel.wait()).await, Some(russh::ChannelMsg::Success)) {}
        soon(self.told.recv()).await.unwrap();
        if size > 0 {
            soon(send(&channel, size)).await;
        }
        (client, channel)
    }

    fn phase(&self) -> Option<Phase> {
        self.served.daemon.sessions().first().map(|session| session.phase)
    }
}

async fn late_function() {
    let mut upload = Upload::start(Timeouts::default().close).await;
    let (client, channel) = upload.sent(SIZE).await;
    soon(close(&client, channel)).await;
    upload.may_read.send_replace(true);
    assert_eq!(soon(upload.reports.recv()).await, Some((SIZE, None, true)));
    eventually(|| upload.served.daemon.sessions()[0].channels_open == 0).await;
}

async fn after_a_loss() {
    let mut upload = Upload::start(Timeouts::default().close).await;
    let (client, channel) = upload.sent(SIZE).await;
    client.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    eventually(|| upload.phase() == Some(Phase::Down)).await;
    drop((client, channel));
    upload.may_read.send_replace(true);
    assert_eq!(soon(upload.reports.recv()).await, Some((SIZE, None, true)));
    eventually(|| upload.phase().is_none()).await;
}

async fn limit() {
    const LIMIT: Duration = Duration::from_millis(300);
    let mut upload = Upload::start(LIMIT).await;
    let (client, channel) = upload.sent(1 << 20).await;
    let began = Instant::now();
    soon(close(&client, channel)).await;
    soon(upload.told.recv()).await.unwrap();
    assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
    eventually(|| upload.served.daemon.sessions()[0].channels_open == 0).await;
}

async fn nothing_sent() {
    let mut upload = Upload::start(FAR).await;
    let (client, channel) = upload.sent(0).await;
    soon(close(&client, channel)).await;
    soon(upload.told.recv()).await.unwrap();
}

async fn stop_after_close() {
    let mut upload = Upload::start(FAR).await;
    let (client, channel) = upload.sent(1 << 20).await;
    soon(close(&client, channel)).await;
    assert_eq!(upload.served.daemon.sessions()[0].channels_open, 1);
    soon(upload.served.daemon.stop()).await;
    soon(upload.told.recv()).await.unwrap();
    drop(client);
}

async fn stop_after_loss() {
    let mut upload = Upload::start(FAR).await;
    let (client, channel) = upload.sent(1 << 20).await;
    drop((client, channel));
    eventually(|| upload.phase() == Some(Phase::Down)).await;
    soon(upload.served.daemon.stop()).await;
    soon(upload.told.recv()).await.unwrap();
}

async fn own_close() {
    let run = |_, mut stream: ServerStream| async move {
        let _ = stream.send(piece(0, 8 << 20)).await;
        stream.channel().close();
        0
    };
    let served = Served::start(Router::new().exec_stream_fn(run)).await;
    let client = served.connect_plain().await;
    let mut channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    let mut check = Check::default();
    while let Some(msg) = soon(channel.wait()).await {
        if let russh::ChannelMsg::Data { data } = msg {
            check.take(&data);
        }
    }
    assert_eq!((check.seen, check.wrong), (8 << 20, None));
}

/// What is logged as an error while this runs, on one thread.
async fn errors_of<F: Future<Output = ()> + 'static>(work: fn() -> F) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
            Ok(line.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let logged = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::ERROR)
        .with_writer(move || writer.clone())
        .finish();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tracing::subscriber::with_default(logged, || runtime.block_on(work()));
    };
    tokio::task::spawn_blocking(run).await.unwrap();
    let lines = lines.0.lock().unwrap();
    String::from_utf8_lossy(&lines).into_owned()
}

async fn ends_too_late() {
    let errors = errors_of(|| async {
        for _ in 0..20 {
            let (ended, mut ends) = mpsc::unbounded_channel();
            let run = move |_, stream: ServerStream| {
                let ended = Told(ended.clone());
                async move {
                    // It runs.
                    let _ = ended.0.send(());
                    // It ends as soon as the channel is closed, before its actor has been told.
                    while stream.channel().closed().is_none() {
                        tokio::task::yield_now().await;
                    }
                    0
                }
            };
            let served = Served::start(Router::new().exec_stream_fn(run)).await;
            let client = served.connect_plain().await;
            let channel = client.channel_open_session().await.unwrap();
            channel.exec(true, "x").await.unwrap();
            soon(ends.recv()).await.unwrap();
            channel.close().await.unwrap();
            soon(ends.recv()).await.unwrap();
            soon(served.daemon.stop()).await;
        }
    });
    assert_eq!(errors.await, "");
}
