//! What the tests against a server share: how to connect, and small behaviours that say what they saw.
//!
//! Knows the crate's public API only.

use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use ractor_ssh::auth::{Auth, IdentityFile};
use ractor_ssh::bytes::Bytes;
use ractor_ssh::error::{CloseReason, StopReason};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::observe::{ConnectionInfo, Counters};
use ractor_ssh::wire::ExitSignal;
use ractor_ssh::wire::codes::DataType;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelRef, Client, ClientChannel, ClientConfig, ConnectionRef,
    Next,
};
use sha1::{Digest as _, Sha1};
use tokio::sync::{mpsc, oneshot, watch};

use crate::kit::{Peer, Sshd, peer_test};
pub(crate) use crate::kit::{SOON, soon};

/// How to reach a server of the kit: its user, its key, its known host.
pub(crate) fn config(sshd: &Sshd) -> ClientConfig {
    ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(Auth::new().identity_file(IdentityFile::new(sshd.identity())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])))
}

pub(crate) async fn connect(sshd: &Sshd) -> ConnectionRef {
    Client::new(config(sshd)).connect().await.unwrap()
}

/// Waits for a change somebody else makes.
///
/// # Panics
/// After [`SOON`].
pub(crate) async fn becomes_true<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let end = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < end, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn info(conn: &ConnectionRef) -> ConnectionInfo {
    soon("info", conn.info()).await.unwrap()
}

pub(crate) async fn counters(conn: &ConnectionRef) -> Counters {
    info(conn).await.counters
}

/// Waits until nothing is left of any channel, on the wire or as an actor.
pub(crate) async fn no_channels_left(conn: &ConnectionRef) {
    becomes_true("all channels are gone", || async {
        info(conn).await.channels.is_empty() && conn.actor().get_children().is_empty()
    })
    .await;
}

// ---- a behaviour that tells everything ------------------------------------------------------------------

/// Passes every event on, and tells how it was ended.
pub(crate) struct Tell {
    to: mpsc::UnboundedSender<ChannelMsg>,
    ended: Option<oneshot::Sender<StopReason>>,
}

/// What a [`Tell`] has told.
pub(crate) struct Events {
    events: mpsc::UnboundedReceiver<ChannelMsg>,
    ended: oneshot::Receiver<StopReason>,
}

/// Everything of one channel, up to its end.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) eof: bool,
    pub(crate) status: Option<u32>,
    pub(crate) signal: Option<ExitSignal>,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) terminated: Option<StopReason>,
}

impl Tell {
    pub(crate) fn new() -> (Self, Events) {
        let (to, events) = mpsc::unbounded_channel();
        let (ended, end) = oneshot::channel();
        (Self { to, ended: Some(ended) }, Events { events, ended: end })
    }
}

impl ClientChannel for Tell {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        let _ = self.to.send(msg);
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, reason: StopReason, _ctx: &mut ChannelContext<Self>) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(reason);
        }
    }
}

impl Events {
    /// The next event; `None` after `Closed`.
    pub(crate) async fn next(&mut self) -> Option<ChannelMsg> {
        soon("the next event", self.events.recv()).await
    }

    /// Ordinary data until `text` is in it.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            match self.next().await {
                Some(ChannelMsg::Data { data, .. }) => seen.extend_from_slice(&data),
                other => panic!("no {text:?} but {other:?} after {:?}", String::from_utf8_lossy(&seen)),
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Everything up to the end. `Closed` is the last event, and the only one of its kind.
    pub(crate) async fn outcome(mut self) -> Outcome {
        let mut all = Outcome::default();
        while let Some(event) = self.next().await {
            assert!(all.closed.is_none(), "{event:?} after `Closed`");
            match event {
                ChannelMsg::Data { data_type: DataType::Normal, data } => all.stdout.extend_from_slice(&data),
                ChannelMsg::Data { data, .. } => all.stderr.extend_from_slice(&data),
                ChannelMsg::Eof => all.eof = true,
                ChannelMsg::ExitStatus { status } => all.status = Some(status),
                ChannelMsg::ExitSignal(signal) => all.signal = Some(signal),
                ChannelMsg::Closed { reason } => all.closed = Some(reason),
                other => panic!("{other:?} was not expected"),
            }
        }
        all.terminated = soon("terminate", &mut self.ended).await.ok();
        all
    }
}

/// A channel on which nothing runs yet.
pub(crate) async fn open(conn: &ConnectionRef) -> (ChannelRef<Tell>, Events) {
    let (tell, events) = Tell::new();
    (soon("open", conn.session_channel(tell)).await.unwrap(), events)
}

/// A channel with a command.
pub(crate) async fn exec(conn: &ConnectionRef, command: &str) -> (ChannelRef<Tell>, Events) {
    let (channel, events) = open(conn).await;
    soon("exec", channel.exec(command.to_owned())).await.unwrap();
    (channel, events)
}

/// Runs a command to its end.
pub(crate) async fn run(conn: &ConnectionRef, command: &str) -> Outcome {
    exec(conn, command).await.1.outcome().await
}

/// `cat`, to see whether a connection is alive.
pub(crate) struct Echo {
    channel: ChannelRef<Tell>,
    events: Events,
    count: u64,
}

impl Echo {
    pub(crate) async fn start(conn: &ConnectionRef) -> Self {
        let (channel, events) = exec(conn, "cat").await;
        let mut echo = Self { channel, events, count: 0 };
        echo.round().await;
        echo
    }

    /// One line there and back.
    pub(crate) async fn round(&mut self) {
        let line = self.send().await;
        self.events.until(&line).await;
    }

    /// As [`round`](Self::round), but false if it takes longer than `limit`; the line may still come back.
    pub(crate) async fn round_within(&mut self, limit: Duration) -> bool {
        let line = self.send().await;
        tokio::time::timeout(limit, self.events.until(&line)).await.is_ok()
    }

    /// What is still under way comes back.
    pub(crate) async fn catches_up(&mut self) {
        self.events.until(&format!("<{}>\n", self.count)).await;
    }

    async fn send(&mut self) -> String {
        self.count += 1;
        let line = format!("<{}>\n", self.count);
        soon("send", self.channel.send(line.clone())).await.unwrap();
        line
    }
}

// ---- a behaviour that takes much and keeps nothing ------------------------------------------------------

/// What a [`Take`] took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) bytes: u64,
    pub(crate) sha1: String,
    pub(crate) status: Option<u32>,
}

/// How a [`Take`] ended.
pub(crate) type End = (Taken, CloseReason);

/// Runs a command, sums its output, and works only while it is awake.
pub(crate) struct Take {
    command: String,
    hash: Sha1,
    bytes: u64,
    status: Option<u32>,
    awake: watch::Receiver<bool>,
    done: Option<oneshot::Sender<End>>,
}

impl Take {
    /// One that is always awake.
    pub(crate) fn new(command: impl Into<String>) -> (Self, oneshot::Receiver<End>) {
        let (_, awake) = watch::channel(true);
        Self::while_awake(command, awake)
    }

    /// One whose callbacks wait while `awake` is false.
    pub(crate) fn while_awake(
        command: impl Into<String>,
        awake: watch::Receiver<bool>,
    ) -> (Self, oneshot::Receiver<End>) {
        let (done, end) = oneshot::channel();
        let command = command.into();
        (Self { command, hash: Sha1::new(), bytes: 0, status: None, awake, done: Some(done) }, end)
    }
}

impl ClientChannel for Take {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec(self.command.clone()).await?;
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data, .. } => {
                let _ = self.awake.wait_for(|awake| *awake).await;
                self.bytes += data.len() as u64;
                self.hash.update(&data);
            }
            ChannelMsg::ExitStatus { status } => self.status = Some(status),
            ChannelMsg::Closed { reason } => {
                let sha1 = hex(self.hash.clone());
                let taken = Taken { bytes: self.bytes, sha1, status: self.status };
                let _ = self.done.take().expect("`Closed` comes once").send((taken, reason));
            }
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Waits for the end of a [`Take`].
pub(crate) async fn end_of(end: oneshot::Receiver<End>) -> End {
    let limit = Duration::from_secs(50);
    tokio::time::timeout(limit, end).await.expect("the channel ends in time").expect("with `Closed`")
}

// ---- bytes to move --------------------------------------------------------------------------------------

const BLOCK: usize = 256 * 1024;

/// Bytes without repetition a swap or a loss could hide in.
pub(crate) struct Bulk {
    block: Vec<u8>,
    number: u64,
    left: u64,
    hash: Sha1,
}

impl Bulk {
    pub(crate) fn new(seed: u64, bytes: u64) -> Self {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let block = (0..BLOCK)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_le_bytes()[7]
            })
            .collect();
        Self { block, number: 0, left: bytes, hash: Sha1::new() }
    }

    /// The next piece.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        self.number += 1;
        for (at, chunk) in (0u64..).zip(self.block.chunks_mut(4096)) {
            chunk[..8].copy_from_slice(&(self.number << 16 | at).to_le_bytes());
        }
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(BLOCK);
        self.left -= len as u64;
        let piece = Bytes::copy_from_slice(&self.block[..len]);
        self.hash.update(&piece);
        Some(piece)
    }

    /// The sum of all pieces so far.
    pub(crate) fn sha1(&self) -> String {
        hex(self.hash.clone())
    }

    /// Writes it all into a file; returns the sum.
    pub(crate) fn into_file(mut self, path: &std::path::Path) -> String {
        use std::io::Write as _;
        let mut file = std::fs::File::create(path).unwrap();
        while let Some(piece) = self.next() {
            file.write_all(&piece).unwrap();
        }
        self.sha1()
    }

    /// Sends it all, then eof; returns the sum.
    pub(crate) async fn send_on<C: ClientChannel>(mut self, channel: &ChannelRef<C>) -> String {
        while let Some(piece) = self.next() {
            channel.send(piece).await.unwrap();
        }
        channel.send_eof().unwrap();
        self.sha1()
    }
}

fn hex(hash: Sha1) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

// ---- measuring the process ------------------------------------------------------------------------------

const ALONE: &str = "OPENSSH_TRIAL_ALONE";

/// A test that looks at its whole process, and so runs in one of its own.
pub(crate) fn alone<B, F>(name: &'static str, body: B) -> Trial
where
    B: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    if std::env::var_os(ALONE).is_some() {
        return peer_test(name, Peer::OpenSshServer, body);
    }
    peer_test(name, Peer::OpenSshServer, move || async move {
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(ALONE, "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.success() && said.contains("1 passed") {
            Ok(())
        } else {
            Err(Failed::from(format!("{said}\n{}", String::from_utf8_lossy(&output.stderr))))
        }
    })
}

/// A field of `/proc/self/status` in bytes.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// How much of this process is in memory now.
pub(crate) fn resident() -> u64 {
    memory("VmRSS")
}

/// The most of this process that ever was in memory.
pub(crate) fn peak_resident() -> u64 {
    memory("VmHWM")
}

/// What this process has open.
pub(crate) fn open_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect()
}
