//! Much data, both ways, byte for byte.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::SendErrorKind;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::common::{
    Bulk, Echo, Take, Tell, becomes_true, config, connect, end_of, exec, info, no_channels_left, soon,
};
use crate::kit::{Peer, Sshd, peer_test};

const MIB: u64 = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("transfer::sixty_four_mib_go_both_ways_at_once_byte_exact", SERVER, both_ways),
        peer_test(
            "transfer::eight_downloads_and_eight_uploads_at_once_are_byte_exact",
            SERVER,
            eight_and_eight,
        ),
        peer_test("transfer::a_filter_in_a_behaviour_is_bounded_and_byte_exact", SERVER, filter),
        peer_test("transfer::a_source_in_a_behaviour_is_told_when_there_is_room", SERVER, source),
        peer_test("transfer::a_full_window_ends_a_send_in_time_and_the_channel_goes_on", SERVER, full_window),
        peer_test("transfer::senders_of_one_channel_take_turns_and_keep_their_order", SERVER, many_senders),
        peer_test("transfer::a_channel_whose_peer_does_not_read_delays_no_other", SERVER, stuck_upload),
    ]
}

async fn both_ways() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (take, end) = Take::new("cat");
    let channel = conn.session_channel(take).await.unwrap();
    let sent = Bulk::new(1, 64 * MIB).send_on(&channel).await;
    let (taken, _) = end_of(end).await;
    assert_eq!(taken.bytes, 64 * MIB);
    assert_eq!(taken.sha1, sent);
    assert_eq!(taken.status, Some(0));
}

/// `count` downloads and as many uploads of `bytes` each, all at once; all must be exact.
pub(crate) async fn load(conn: &ractor_ssh::ConnectionRef, sshd: &Sshd, count: u64, bytes: u64) {
    let mut work = JoinSet::new();
    for seed in 0..count {
        let file = sshd.directory().join(format!("bulk{seed}"));
        let sum = Bulk::new(seed, bytes).into_file(&file);
        let (take, end) = Take::new(format!("cat '{}'", file.display()));
        let download = conn.session_channel(take).await.unwrap();
        work.spawn(async move {
            let (taken, reason) = end_of(end).await;
            assert_eq!((taken.bytes, taken.sha1), (bytes, sum), "download {seed}: {reason}");
            drop(download);
        });
        let (upload, events) = exec(conn, "sha1sum").await;
        work.spawn(async move {
            let sum = Bulk::new(seed + 100, bytes).send_on(&upload).await;
            let outcome = events.outcome().await;
            assert_eq!(String::from_utf8_lossy(&outcome.stdout), format!("{sum}  -\n"), "upload {seed}");
        });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
}

async fn eight_and_eight() {
    let sshd = Sshd::builder().max_sessions(20).start().unwrap();
    let conn = connect(&sshd).await;
    load(&conn, &sshd, 8, 8 * MIB).await;
    no_channels_left(&conn).await;
}

/// Sends what it gets back again, twice.
struct Bounce {
    left: u64,
    done: Option<oneshot::Sender<()>>,
}

impl ClientChannel for Bounce {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec("cat").await?;
        ctx.send(vec![7u8; 512 * 1024])?;
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        if let ChannelMsg::Data { data, .. } = msg {
            assert!(data.iter().all(|byte| *byte == 7), "what went out comes back");
            self.left = self.left.saturating_sub(data.len() as u64);
            if self.left == 0 {
                let _ = self.done.take().expect("once").send(());
                return Ok(Next::Stop);
            }
            // Twice what came: only the framework's holding back keeps this bounded.
            ctx.send(data.clone())?;
            ctx.send(data)?;
        }
        Ok(Next::Continue)
    }
}

async fn filter() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (done, end) = oneshot::channel();
    let bounce = Bounce { left: 64 * MIB, done: Some(done) };
    let channel = conn.session_channel(bounce).await.unwrap();
    let mut end = Box::pin(soon("the bounce", end));
    let mut most = 0;
    while tokio::time::timeout(Duration::from_millis(10), &mut end).await.is_err() {
        let queued = info(&conn).await.channels.iter().map(|channel| channel.queued).max();
        most = most.max(queued.unwrap_or(0));
    }
    // High water is 1 MiB; one callback may add twice a packet to that.
    assert!(most <= (1 << 20) + 2 * 65_536, "{most} bytes were queued");
    drop(channel);
}

/// Makes data from nothing, and looks at the room there is.
struct Source {
    bulk: Bulk,
    done: Option<oneshot::Sender<(String, Vec<u8>)>>,
    printed: Vec<u8>,
}

impl Source {
    fn pour(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        while ctx.is_ready() {
            match self.bulk.next() {
                Some(piece) => ctx.send(piece)?,
                None => return Ok(ctx.send_eof()?),
            }
        }
        ctx.notify_when_ready();
        Ok(())
    }
}

impl ClientChannel for Source {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec("sha1sum").await?;
        self.pour(ctx)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::ReadyToSend => self.pour(ctx)?,
            ChannelMsg::Data { data, .. } => self.printed.extend_from_slice(&data),
            ChannelMsg::Closed { .. } => {
                let result = (self.bulk.sha1(), std::mem::take(&mut self.printed));
                let _ = self.done.take().expect("once").send(result);
            }
            _ => {}
        }
        Ok(Next::Continue)
    }
}

async fn source() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (done, end) = oneshot::channel();
    let source = Source { bulk: Bulk::new(5, 32 * MIB), done: Some(done), printed: Vec::new() };
    let _channel = conn.session_channel(source).await.unwrap();
    let (sent, printed) = soon("the end", end).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&printed), format!("{sent}  -\n"));
}

async fn full_window() {
    let sshd = Sshd::builder().start().unwrap();
    let mut timeouts = ractor_ssh::config::Timeouts::default();
    timeouts.send = Duration::from_millis(300);
    let config = config(&sshd).timeouts(timeouts);
    let conn = ractor_ssh::Client::new(config).connect().await.unwrap();
    let go = sshd.directory().join("go");
    let wait = format!("until [ -e '{}' ]; do sleep 0.05; done; wc -c", go.display());
    let (channel, events) = exec(&conn, &wait).await;
    let mut sent = 0;
    let refused = loop {
        match channel.send(vec![0u8; 256 * 1024]).await {
            Ok(()) => sent += 256 * 1024,
            Err(error) => break error,
        }
        assert!(sent < 32 * MIB, "nobody reads, and yet {sent} bytes were taken");
    };
    assert!(matches!(refused.kind, SendErrorKind::Timeout { .. }), "{refused:?}");
    assert_eq!(refused.data.len(), 256 * 1024, "the data comes back whole");
    std::fs::write(&go, "").unwrap();
    soon("room", async { while channel.send("end").await.is_err() {} }).await;
    channel.send_eof().unwrap();
    let outcome = events.outcome().await;
    assert_eq!(String::from_utf8_lossy(&outcome.stdout).trim(), (sent + 3).to_string());
}

async fn many_senders() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let options = ChannelOptions::new().high_water(64);
    let (tell, events) = Tell::new();
    let channel = conn.open_channel(OpenRequest::Session, options, tell).await.unwrap();
    channel.exec("cat").await.unwrap();
    let mut work = JoinSet::new();
    for sender in 0..16 {
        let channel = channel.clone();
        work.spawn(async move {
            for n in 0..100 {
                channel.send(format!("{sender} {n}\n")).await.unwrap();
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    channel.send_eof().unwrap();
    let outcome = events.outcome().await;
    let text = String::from_utf8(outcome.stdout).unwrap();
    let mut next = [0; 16];
    for line in text.lines() {
        let (sender, n) = line.split_once(' ').unwrap();
        let (sender, n): (usize, usize) = (sender.parse().unwrap(), n.parse().unwrap());
        assert_eq!(n, next[sender], "sender {sender}");
        next[sender] += 1;
    }
    assert_eq!(next, [100; 16]);
}

async fn stuck_upload() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    let (stuck, _events) = exec(&conn, "sleep 1000").await;
    let sender = stuck.clone();
    let pouring = tokio::spawn(async move {
        let mut taken = 0u64;
        while sender.send(vec![0u8; 64 * 1024]).await.is_ok() {
            taken += 64 * 1024;
        }
        taken
    });
    // The window of sshd's sessions.
    becomes_true("the stuck channel's window is shut", || async {
        info(&conn).await.channels.iter().any(|channel| channel.bytes_out >= 2 * MIB && channel.queued > 0)
    })
    .await;
    for _ in 0..50 {
        sibling.round().await;
    }
    stuck.abort();
    let taken = soon("the sender is released", pouring).await.unwrap();
    assert!(taken < 16 * MIB, "{taken}");
    sibling.round().await;
}
