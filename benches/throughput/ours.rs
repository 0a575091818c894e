//! The bench's clients with this crate: every channel is a channel actor.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::config::Limits;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::wire::codes::DataType;
use ractor_ssh::wire::keys::PrivateKey;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelRef, Client, ClientChannel, ClientConfig, ConnectionRef,
    Next,
};
use tokio::sync::oneshot;

use crate::load::SshClient;
use crate::target::{CIPHER, Failure};

/// A connection of this crate.
#[derive(Debug, Clone)]
pub(crate) struct Ours(ConnectionRef);

pub(crate) fn client(port: u16, user: &str, key: &PrivateKey) -> Client {
    let mut limits = Limits::default();
    limits.max_channels = 100_000;
    let config = ClientConfig::new("127.0.0.1", user)
        .port(port)
        .auth(Auth::new().identity(Identity::from_private_key(key.clone())))
        .host_key(HostKeyPolicy::danger_accept_anything())
        .ciphers([CIPHER])
        .limits(limits);
    Client::new(config)
}

impl SshClient for Ours {
    async fn connect(port: u16, user: &str, key: &PrivateKey) -> Result<Self, Failure> {
        Ok(Self(client(port, user, key).connect().await?))
    }

    async fn download(&self, command: String, bytes: u64) -> Result<(), Failure> {
        let (count, total) = Count::new(command);
        self.0.session_channel(count).await?;
        expect(total.await?, bytes)
    }

    async fn upload(&self, chunk: usize, bytes: usize) -> Result<(), Failure> {
        let (channel, status) = self.start("cat >/dev/null").await?;
        let block = Bytes::from(vec![0; chunk]);
        for _ in 0..bytes / chunk {
            channel.send(block.clone()).await?;
        }
        channel.send_eof()?;
        expect(status.await?, 0)
    }

    async fn upload_other_way(&self, chunk: usize, bytes: usize) -> Result<(), Failure> {
        let (source, status) = Source::new(chunk, bytes);
        self.0.session_channel(source).await?;
        expect(status.await?, 0)
    }

    async fn exec(&self, command: &'static str) -> Result<(), Failure> {
        let (_, status) = self.start(command).await?;
        expect(status.await?, 0)
    }

    async fn echo(&self, trips: usize) -> Result<Vec<Duration>, Failure> {
        let (echo, times) = Echo::new(trips);
        self.0.session_channel(echo).await?;
        Ok(times.await?)
    }

    async fn idle_channel(&self) -> Result<(), Failure> {
        self.0.session_channel(Idle).await?;
        Ok(())
    }

    async fn close(self) -> Result<(), Failure> {
        self.0.close().await;
        Ok(())
    }
}

impl Ours {
    pub(crate) const fn of(conn: ConnectionRef) -> Self {
        Self(conn)
    }

    async fn start(
        &self,
        command: &'static str,
    ) -> Result<(ChannelRef<Run>, oneshot::Receiver<u64>), Failure> {
        let (run, status) = Run::new(command);
        Ok((self.0.session_channel(run).await?, status))
    }
}

pub(crate) fn expect(got: u64, wanted: u64) -> Result<(), Failure> {
    if got == wanted { Ok(()) } else { Err(format!("got {got} instead of {wanted}").into()) }
}

/// Runs a command and tells its status when the channel is closed.
pub(crate) struct Run {
    command: &'static str,
    status: Option<u32>,
    done: Option<oneshot::Sender<u64>>,
}

impl Run {
    pub(crate) fn new(command: &'static str) -> (Self, oneshot::Receiver<u64>) {
        let (done, status) = oneshot::channel();
        (Self { command, status: None, done: Some(done) }, status)
    }
}

impl ClientChannel for Run {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec(self.command).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::ExitStatus { status } => self.status = Some(status),
            ChannelMsg::Closed { .. } => tell(&mut self.done, self.status.map_or(u64::MAX, u64::from)),
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Counts what a command prints, and tells when the channel is closed.
pub(crate) struct Count {
    command: String,
    bytes: u64,
    done: Option<oneshot::Sender<u64>>,
}

impl Count {
    pub(crate) fn new(command: String) -> (Self, oneshot::Receiver<u64>) {
        let (done, total) = oneshot::channel();
        (Self { command, bytes: 0, done: Some(done) }, total)
    }
}

impl ClientChannel for Count {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec(std::mem::take(&mut self.command)).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data_type: DataType::Normal, data } => self.bytes += data.len() as u64,
            ChannelMsg::Closed { .. } => tell(&mut self.done, self.bytes),
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Sends as long as there is room, and goes on when there is room again.
pub(crate) struct Source {
    block: Bytes,
    left: usize,
    done: Option<oneshot::Sender<u64>>,
}

impl Source {
    pub(crate) fn new(chunk: usize, bytes: usize) -> (Self, oneshot::Receiver<u64>) {
        let (done, status) = oneshot::channel();
        (Self { block: Bytes::from(vec![0; chunk]), left: bytes / chunk, done: Some(done) }, status)
    }

    fn fill(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        while self.left > 0 && ctx.is_ready() {
            ctx.send(self.block.clone())?;
            self.left -= 1;
        }
        if self.left > 0 {
            ctx.notify_when_ready();
        } else {
            ctx.send_eof()?;
        }
        Ok(())
    }
}

impl ClientChannel for Source {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec("cat >/dev/null").await?;
        self.fill(ctx)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::ReadyToSend => self.fill(ctx)?,
            ChannelMsg::ExitStatus { status } => tell(&mut self.done, u64::from(status)),
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Plays one byte to and fro.
pub(crate) struct Echo {
    times: Vec<Duration>,
    trips: usize,
    sent: Instant,
    done: Option<oneshot::Sender<Vec<Duration>>>,
}

impl Echo {
    pub(crate) fn new(trips: usize) -> (Self, oneshot::Receiver<Vec<Duration>>) {
        let (done, times) = oneshot::channel();
        (Self { times: Vec::with_capacity(trips), trips, sent: Instant::now(), done: Some(done) }, times)
    }
}

impl ClientChannel for Echo {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec("cat").await?;
        self.sent = Instant::now();
        Ok(ctx.send("x")?)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        if let ChannelMsg::Data { .. } = msg {
            let now = Instant::now();
            self.times.push(now - self.sent);
            if self.times.len() >= self.trips {
                tell(&mut self.done, std::mem::take(&mut self.times));
                return Ok(Next::Stop);
            }
            self.sent = now;
            ctx.send("x")?;
        }
        Ok(Next::Continue)
    }
}

/// Does nothing.
pub(crate) struct Idle;

impl ClientChannel for Idle {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

fn tell<T>(to: &mut Option<oneshot::Sender<T>>, what: T) {
    if let Some(to) = to.take() {
        let _ = to.send(what);
    }
}
