//! The task that keeps a process: passes its bytes, waits for its end, reports it, and sees to it that nothing is left
//! when the channel is over first.

use std::convert::Infallible;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::group::{Group, Leash};
use super::input::{Input, into_pipe, into_terminal};
use super::launch::{Launched, Streams};
use super::output::Output;
use super::processes::Counted;
use super::signals::Ending;
use super::terminal::Terminal;
use crate::error::RequestError;
use crate::wire::codes::DataType;
use crate::{ChannelHandle, ServerSide};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) linger: Duration,
    pub(super) kill_grace: Duration,
    pub(super) end_background: bool,
}

/// What the task is given.
pub(super) struct Keeper {
    pub(super) launched: Launched,
    pub(super) input: Input,
    pub(super) channel: ChannelHandle<ServerSide>,
    /// Closed when the channel is over.
    pub(super) over: oneshot::Receiver<Infallible>,
    pub(super) patience: Patience,
    pub(super) counted: Counted,
}

impl Keeper {
    pub(super) async fn keep(self) {
        let Self { launched, input, channel, over, patience, counted } = self;
        let Launched { mut child, group, leash, streams } = launched;
        let terminal = streams.terminal();
        let in_peace = tokio::select! {
            biased;
            _ = over => false,
            () = serve(&mut child, &group, streams, input, &channel, patience.linger) => true,
        };
        let ended_by_itself = in_peace || !group.is_led();
        if ended_by_itself && !patience.end_background {
            leash.release();
        } else {
            end(&mut child, &group, leash, terminal, patience.kill_grace).await;
        }
        drop(counted);
    }
}

/// Runs until everything about the process has been sent.
async fn serve(
    child: &mut Child,
    group: &Group,
    streams: Streams,
    input: Input,
    channel: &ChannelHandle<ServerSide>,
    linger: Duration,
) {
    let (tell, ended) = watch::channel(false);
    let life = async {
        let status = child.wait().await;
        group.leader_ended();
        tell.send_replace(true);
        status
    };
    let status = match streams {
        Streams::Pipes { stdin, stdout, stderr } => {
            let to = channel.clone();
            let out =
                Output { source: stdout, data_type: DataType::Normal, to, ended: ended.clone(), linger };
            let to = channel.clone();
            let err = Output { source: stderr, data_type: DataType::Stderr, to, ended, linger };
            let outputs = async { tokio::join!(life, out.pump(), err.pump()).0 };
            beside(into_pipe(stdin, input), outputs).await
        }
        Streams::Terminal { terminal: _, keyboard, screen } => {
            let to = channel.clone();
            let linger = Duration::ZERO;
            let screen = Output { source: screen, data_type: DataType::Normal, to, ended, linger };
            let outputs = async { tokio::join!(life, screen.pump()).0 };
            beside(into_terminal(keyboard, input), outputs).await
        }
    };
    match status {
        Ok(status) => report(status, channel).await,
        Err(error) => {
            tracing::error!(%error, "cannot wait for a process");
            channel.close();
        }
    }
}

/// Does the work while feeding, whether or not that ends first.
async fn beside<T>(feeding: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    let feeding = async {
        feeding.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        done = work => done,
        never = feeding => match never {},
    }
}

/// Says how it ended, when the peer has taken all there was before: closing waits for a peer only so long.
async fn report(status: ExitStatus, channel: &ChannelHandle<ServerSide>) {
    if channel.flush().await.is_err() {
        return;
    }
    let said = match Ending::from(status) {
        Ending::Status(status) => channel.exit(status),
        Ending::Signal(signal) => channel
            .exit_signal(signal)
            .and_then(|()| channel.send_eof().map_err(RequestError::Closed))
            .map(|()| channel.close()),
    };
    if let Err(error) = said {
        tracing::debug!(%error, "nobody heard how the process ended");
    }
}

/// Ends the group, and the one in the terminal's foreground: a shell gives its jobs groups of their own.
async fn end(
    child: &mut Child,
    group: &Arc<Group>,
    leash: Leash,
    terminal: Option<Arc<Terminal>>,
    grace: Duration,
) {
    let foreground = terminal.as_ref().and_then(|terminal| terminal.foreground());
    let job = foreground.filter(|id| *id != group.id()).map(|id| Arc::new(Group::of(id)));
    let job_leash = job.clone().map(Leash::new);
    let deadline = Instant::now() + grace;
    group.hang_up();
    if let Some(job) = &job {
        job.hang_up();
    }
    drop(terminal);
    let _ = tokio::time::timeout_at(deadline, child.wait()).await;
    group.gone_by(deadline).await;
    leash.release();
    if let (Some(job), Some(leash)) = (job, job_leash) {
        job.gone_by(deadline).await;
        leash.release();
    }
    if let Err(error) = child.wait().await {
        tracing::error!(%error, "cannot wait for a process");
    }
}
