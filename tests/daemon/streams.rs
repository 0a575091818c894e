//! Everything streaming at once: nothing stops, nothing is lost.

use libtest_mimic::Trial;
use ractor_ssh::bytes::Bytes;
use ractor_ssh::config::{Limits, RekeyLimit};
use ractor_ssh::wire::codes::DataType;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, Client, ClientChannel, ConnectionRef, Next};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use crate::kit::{Peer, peer_test};
use crate::programs::{Check, piece, router};
use crate::support::{Served, soon};

const NONE: [Peer; 0] = [];
const CHANNELS: usize = 8;
const SIZE: usize = 8 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("eight_channels_stream_8_mib_both_ways_over_small_buffers", NONE, small_buffers),
        peer_test("the_daemons_key_exchanges_survive_eight_streams_both_ways", NONE, rekeying),
        peer_test("the_daemons_key_exchanges_survive_eight_fast_uploads", NONE, rekeying_uploads),
        peer_test("our_daemon_alone_keeps_two_way_streams_of_plain_russh_going", NONE, plain_client),
        peer_test("a_slow_reader_gets_all_of_a_big_answer", NONE, slow_reader),
    ]
}

/// Sends a generated stream, checks the one that comes back, and reports.
struct Both {
    sent: usize,
    check: Check,
    theirs: String,
    report: mpsc::UnboundedSender<(Check, String)>,
}

impl Both {
    fn produce(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        while self.sent < SIZE && ctx.is_ready() {
            ctx.send(piece(self.sent, 64 << 10))?;
            self.sent += 64 << 10;
        }
        if self.sent < SIZE {
            ctx.notify_when_ready()
        } else {
            ctx.send_eof()?
        }
        Ok(())
    }
}

impl ClientChannel for Both {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec(format!("both {SIZE}")).await?;
        self.produce(ctx)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data_type: DataType::Normal, data } => self.check.take(&data),
            ChannelMsg::Data { data, .. } => self.theirs.push_str(&String::from_utf8_lossy(&data)),
            ChannelMsg::ReadyToSend => self.produce(ctx)?,
            ChannelMsg::Closed { .. } => {
                let _ = self.report.send((std::mem::take(&mut self.check), std::mem::take(&mut self.theirs)));
            }
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Streams both ways on all channels and looks at every byte.
async fn stream(conn: &ConnectionRef) {
    let (report, mut reports) = mpsc::unbounded_channel();
    for _ in 0..CHANNELS {
        let report = report.clone();
        let behaviour = Both { sent: 0, check: Check::default(), theirs: String::new(), report };
        conn.session_channel(behaviour).await.unwrap();
    }
    for _ in 0..CHANNELS {
        let (check, theirs) = soon(reports.recv()).await.unwrap();
        assert_eq!((check.seen, check.wrong), (SIZE, None));
        assert_eq!(theirs, format!("{SIZE} None"));
    }
}

async fn small_buffers() {
    let served = Served::start(router()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 << 10).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let io = socket.connect(served.daemon.local_addr()).await.unwrap();
    io.set_nodelay(true).unwrap();
    let conn = soon(Client::new(served.client_config()).connect_stream(io)).await.unwrap();
    stream(&conn).await;
    soon(conn.close()).await;
}

/// A daemon that asks for new keys after so many bytes. russh ends a connection when more than twice the window arrives
/// between its KEXINIT and the peer's, on all channels together: here that can never be.
async fn rekeying_after(bytes: u64, at_most: u32) -> Served {
    let limit = RekeyLimit::new(bytes, std::time::Duration::from_secs(3600));
    let mut limits = Limits::server();
    limits.window = at_most;
    Served::with(|config| config.router(router()).rekey(limit).limits(limits)).await
}

async fn rekeying() {
    let served = rekeying_after(8 << 20, (CHANNELS * SIZE).try_into().unwrap()).await;
    let conn = served.connect().await;
    stream(&conn).await;
    let rekeys = conn.info().await.unwrap().counters.rekeys;
    assert!(rekeys >= 4, "{rekeys} key exchanges");
    soon(conn.close()).await;
}

/// The daemon asks for new keys in the middle of what the client has under way.
async fn rekeying_uploads() {
    const UPLOAD: usize = 48 << 20;
    let served = rekeying_after(24 << 20, (CHANNELS * UPLOAD / 2).try_into().unwrap()).await;
    let handle = served.connect_plain().await;
    let chunk = Bytes::from(vec![7; 1 << 20]);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..CHANNELS {
        let channel = handle.channel_open_session().await.unwrap();
        channel.exec(true, "count").await.unwrap();
        let (mut read, write) = channel.split();
        let chunk = chunk.clone();
        running.spawn(async move {
            for _ in 0..UPLOAD >> 20 {
                write.data_bytes(chunk.clone()).await.unwrap();
            }
            write.eof().await.unwrap();
        });
        running.spawn(async move {
            let mut answer = Vec::new();
            while let Some(msg) = read.wait().await {
                if let russh::ChannelMsg::Data { data } = msg {
                    answer.extend_from_slice(&data);
                }
            }
            assert_eq!(String::from_utf8_lossy(&answer), UPLOAD.to_string());
        });
    }
    while let Some(done) = soon(running.join_next()).await {
        done.unwrap();
    }
}

async fn plain_client() {
    let served = Served::start(router()).await;
    let handle = served.connect_plain().await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..CHANNELS {
        let channel = handle.channel_open_session().await.unwrap();
        channel.exec(true, format!("both {SIZE}")).await.unwrap();
        let (mut read, write) = channel.split();
        running.spawn(async move {
            for from in (0..SIZE).step_by(64 << 10) {
                write.data_bytes(piece(from, 64 << 10)).await.unwrap();
            }
            write.eof().await.unwrap();
            None
        });
        running.spawn(async move {
            let mut check = Check::default();
            while let Some(msg) = read.wait().await {
                if let russh::ChannelMsg::Data { data } = msg {
                    check.take(&data);
                }
            }
            Some(check)
        });
    }
    while let Some(done) = soon(running.join_next()).await {
        if let Some(check) = done.unwrap() {
            assert_eq!((check.seen, check.wrong), (SIZE, None));
        }
    }
}

/// Takes a piece a time, with pauses that add up to more than the close timeout.
async fn slow_reader() {
    const ANSWER: usize = 3 << 20;
    let served = Served::with(|config| {
        let mut timeouts = ractor_ssh::config::Timeouts::default();
        timeouts.close = std::time::Duration::from_millis(300);
        let answer =
            ractor_ssh::Router::new().exec_fn(|_| async { ractor_ssh::ExecOutput::ok(piece(0, ANSWER)) });
        config.router(answer).timeouts(timeouts)
    })
    .await;
    let config = russh::client::Config { window_size: 64 << 10, ..Default::default() };
    let addr = served.daemon.local_addr();
    let mut handle = russh::client::connect(config.into(), addr, crate::support::Anything).await.unwrap();
    let key = std::sync::Arc::new(served.identity.clone());
    let key = russh::keys::PrivateKeyWithHashAlg::new(key, None);
    assert!(handle.authenticate_publickey(crate::support::USER, key).await.unwrap().success());
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    let mut check = Check::default();
    let mut status = None;
    soon(async {
        while let Some(msg) = channel.wait().await {
            match msg {
                russh::ChannelMsg::Data { data } => {
                    check.take(&data);
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                russh::ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                _ => {}
            }
        }
    })
    .await;
    assert_eq!((check.seen, check.wrong, status), (ANSWER, None, Some(0)));
}
