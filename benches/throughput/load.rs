//! What is measured, how much of it, and the common shape of the clients.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ractor_ssh::wire::keys::PrivateKey;
use tokio::task::JoinSet;

use crate::kept::Kept;
use crate::ours::Ours;
use crate::plain::Plain;
use crate::target::{Failure, Target};

const MIB: f64 = 1_048_576.0;

/// A client under measurement, logged in.
pub(crate) trait SshClient: Clone + Send + Sync + Sized + 'static {
    fn connect(port: u16, user: &str, key: &PrivateKey)
    -> impl Future<Output = Result<Self, Failure>> + Send;
    fn download(&self, command: String, bytes: u64) -> impl Future<Output = Result<(), Failure>> + Send;
    /// From outside of the channel, with back-pressure.
    fn upload(&self, chunk: usize, bytes: usize) -> impl Future<Output = Result<(), Failure>> + Send;
    /// The crate's other way to send in bulk.
    fn upload_other_way(
        &self,
        chunk: usize,
        bytes: usize,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    fn exec(&self, command: &'static str) -> impl Future<Output = Result<(), Failure>> + Send;
    /// As `exec`; where there is supervision, on a supervised channel.
    fn exec_supervised(&self, command: &'static str) -> impl Future<Output = Result<(), Failure>> + Send {
        self.exec(command)
    }
    fn echo(&self, trips: usize) -> impl Future<Output = Result<Vec<Duration>, Failure>> + Send;
    /// Opens a channel that stays open and does nothing.
    fn idle_channel(&self) -> impl Future<Output = Result<(), Failure>> + Send;
    fn close(self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// One kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    Download,
    Upload,
    UploadOtherWay,
    Exec,
    Exec64,
    Supervised,
    Supervised64,
    Echo,
    Logins,
}

impl Workload {
    pub(crate) const ALL: [Self; 9] = [
        Self::Download,
        Self::Upload,
        Self::UploadOtherWay,
        Self::Exec,
        Self::Exec64,
        Self::Supervised,
        Self::Supervised64,
        Self::Echo,
        Self::Logins,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload (send / data_bytes)",
            Self::UploadOtherWay => "upload (ReadyToSend / make_writer)",
            Self::Exec => "exec, sequential",
            Self::Exec64 => "exec, 64 in flight",
            Self::Supervised => "supervised commands, sequential",
            Self::Supervised64 => "supervised commands, 64 in flight",
            Self::Echo => "echo",
            Self::Logins => "logins",
        }
    }

    /// The unit of each metric.
    pub(crate) const fn metrics(self) -> &'static [&'static str] {
        match self {
            Self::Download | Self::Upload | Self::UploadOtherWay => &["MiB/s"],
            Self::Exec | Self::Exec64 | Self::Supervised | Self::Supervised64 | Self::Logins => &["/s"],
            Self::Echo => &["us p50", "us p99"],
        }
    }
}

/// The result of one repetition: one value for each of the workload's metrics.
pub(crate) type Measured = Vec<f64>;

/// How much is done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    repetitions: usize,
    bulk: usize,
    execs: usize,
    execs_64: usize,
    trips: usize,
    logins: usize,
}

/// What uploads send at a time.
const CHUNK: usize = 64 << 10;

impl Plan {
    pub(crate) const fn full() -> Self {
        Self { repetitions: 9, bulk: 512 << 20, execs: 3000, execs_64: 19_200, trips: 6000, logins: 200 }
    }

    pub(crate) const fn quick() -> Self {
        Self { repetitions: 1, bulk: 32 << 20, execs: 100, execs_64: 640, trips: 300, logins: 10 }
    }

    /// A server that starts a process for each command gets fewer of them.
    pub(crate) const fn for_sshd(&self) -> Self {
        Self {
            repetitions: self.repetitions.div_ceil(2),
            execs: self.execs / 10,
            execs_64: self.execs_64 / 20,
            logins: self.logins / 5,
            ..*self
        }
    }

    pub(crate) const fn scaled(self, by: usize) -> Self {
        Self {
            bulk: self.bulk * by,
            execs: self.execs * by,
            execs_64: self.execs_64 * by,
            trips: self.trips * by,
            logins: self.logins * by,
            ..self
        }
    }

    pub(crate) fn reps(self, repetitions: Option<usize>) -> Self {
        Self { repetitions: repetitions.unwrap_or(self.repetitions), ..self }
    }

    pub(crate) const fn repetitions(&self) -> usize {
        self.repetitions
    }
}

/// One of the clients that are compared.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who {
    Ours,
    Plain,
    Kept,
    Ssh,
}

/// The clients to compare on this server, the reference for the ratios second.
pub(crate) fn clients(target: &Target) -> Vec<Who> {
    let mut clients = vec![Who::Ours, Who::Plain, Who::Kept];
    if target.ssh("true").is_some() {
        clients.push(Who::Ssh);
    }
    clients
}

impl Who {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Plain => "plain",
            Self::Kept => "kept",
            Self::Ssh => "ssh",
        }
    }

    /// One repetition; `None` when this client has no such row.
    pub(crate) async fn measure(
        self,
        workload: Workload,
        plan: &Plan,
        target: &Target,
    ) -> Result<Option<Measured>, Failure> {
        match self {
            Self::Ours => run::<Ours>(workload, plan, target).await.map(Some),
            Self::Plain => run::<Plain>(workload, plan, target).await.map(Some),
            Self::Kept => run::<Kept>(workload, plan, target).await.map(Some),
            Self::Ssh => ssh(workload, plan, target).await,
        }
    }
}

/// One repetition, in a task of its own as a program's work usually is.
async fn run<C: SshClient>(workload: Workload, plan: &Plan, target: &Target) -> Result<Measured, Failure> {
    let (port, user, key) = (target.port(), target.user().to_owned(), target.key().clone());
    let plan = plan.clone();
    tokio::spawn(async move {
        if workload == Workload::Logins {
            return logins::<C>(plan.logins, port, &user, &key).await;
        }
        let client = C::connect(port, &user, &key).await?;
        client.exec("true").await?;
        let start = Instant::now();
        let measured = match workload {
            Workload::Download => {
                client.download(download_command(plan.bulk), plan.bulk as u64).await?;
                speed(plan.bulk, start)
            }
            Workload::Upload => {
                client.upload(CHUNK, plan.bulk).await?;
                speed(plan.bulk, start)
            }
            Workload::UploadOtherWay => {
                client.upload_other_way(CHUNK, plan.bulk).await?;
                speed(plan.bulk, start)
            }
            Workload::Exec => {
                for _ in 0..plan.execs {
                    client.exec("true").await?;
                }
                rate(plan.execs, start)
            }
            Workload::Exec64 => {
                in_flight(&client, plan.execs_64, |client| async move { client.exec("true").await }).await?;
                rate(plan.execs_64, start)
            }
            Workload::Supervised => {
                for _ in 0..plan.execs {
                    client.exec_supervised("true").await?;
                }
                rate(plan.execs, start)
            }
            Workload::Supervised64 => {
                let exec = |client: C| async move { client.exec_supervised("true").await };
                in_flight(&client, plan.execs_64, exec).await?;
                rate(plan.execs_64, start)
            }
            Workload::Echo => {
                client.echo(plan.trips / 10).await?;
                percentiles(client.echo(plan.trips).await?)
            }
            Workload::Logins => Vec::new(),
        };
        client.close().await?;
        Ok(measured)
    })
    .await?
}

fn download_command(bytes: usize) -> String {
    format!("head -c {bytes} /dev/zero")
}

async fn logins<C: SshClient>(
    count: usize,
    port: u16,
    user: &str,
    key: &PrivateKey,
) -> Result<Measured, Failure> {
    let start = Instant::now();
    for _ in 0..count {
        C::connect(port, user, key).await?.close().await?;
    }
    Ok(rate(count, start))
}

/// 64 tasks that take turns until `count` commands are done.
async fn in_flight<C: SshClient, F>(
    client: &C,
    count: usize,
    exec: impl Fn(C) -> F + Clone + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let left = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (client, left, exec) = (client.clone(), Arc::clone(&left), exec.clone());
        tasks.spawn(async move {
            while left.fetch_add(1, Ordering::Relaxed) < count {
                exec(client.clone()).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The `ssh` program, its start and login included.
async fn ssh(workload: Workload, plan: &Plan, target: &Target) -> Result<Option<Measured>, Failure> {
    let command = match workload {
        Workload::Download => download_command(plan.bulk),
        Workload::Logins => "true".to_owned(),
        _ => return Ok(None),
    };
    let times = if workload == Workload::Logins { plan.logins } else { 1 };
    let start = Instant::now();
    for _ in 0..times {
        let Some(mut ssh) = target.ssh(&command) else { return Ok(None) };
        if !ssh.status().await?.success() {
            return Err("ssh has failed".into());
        }
    }
    Ok(Some(if workload == Workload::Logins { rate(times, start) } else { speed(plan.bulk, start) }))
}

fn speed(bytes: usize, since: Instant) -> Measured {
    vec![bytes as f64 / MIB / since.elapsed().as_secs_f64()]
}

fn rate(count: usize, since: Instant) -> Measured {
    vec![count as f64 / since.elapsed().as_secs_f64()]
}

fn percentiles(mut times: Vec<Duration>) -> Measured {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = times.len() * percent / 100;
        times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    };
    vec![at(50), at(99)]
}
