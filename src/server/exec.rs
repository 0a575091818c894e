//! Commands that are a function: the request in, output and status out.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt;
use tokio::task::JoinHandle;

use crate::behaviour::{ChannelContext, Next, ServerChannel, ServerSide};
use crate::error::{BoxError, StopReason};
use crate::port::event::ChannelMsg;
use crate::wire::codes::DataType;

/// What a command has to say: its output and its exit status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct ExecOutput {
    /// Standard output.
    pub stdout: Bytes,
    /// Standard error.
    pub stderr: Bytes,
    /// The exit status; 0 is success.
    pub status: u32,
}

impl ExecOutput {
    /// No output, and this status.
    pub const fn status(status: u32) -> Self {
        Self { stdout: Bytes::new(), stderr: Bytes::new(), status }
    }

    /// This output, and status 0.
    pub fn ok(stdout: impl Into<Bytes>) -> Self {
        Self { stdout: stdout.into(), ..Self::default() }
    }

    /// This on standard error, and this status.
    pub fn fail(status: u32, stderr: impl Into<Bytes>) -> Self {
        Self { stderr: stderr.into(), status, ..Self::default() }
    }
}

/// Runs one future beside its channel, so that the peer can go away meanwhile.
pub(super) struct FnChannel<F> {
    work: Option<F>,
    task: Option<JoinHandle<()>>,
}

impl<F> FnChannel<F> {
    pub(super) const fn new(work: F) -> Self {
        Self { work: Some(work), task: None }
    }
}

/// The function has returned; `None` if it panicked.
pub(super) struct Done(Option<ExecOutput>);

impl<F: Future<Output = ExecOutput> + Send + 'static> ServerChannel for FnChannel<F> {
    type Msg = Done;

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let channel = ctx.myself();
        self.task = Some(tokio::spawn(async move {
            let output = AssertUnwindSafe(work).catch_unwind().await.ok();
            let _ = channel.cast(Done(output));
        }));
        Ok(())
    }

    /// What the peer sends goes nowhere.
    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }

    async fn handle_msg(
        &mut self,
        Done(output): Done,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        let output = output.ok_or("the function behind the command panicked")?;
        ctx.send(output.stdout)?;
        ctx.send_typed(DataType::Stderr, output.stderr)?;
        ctx.exit(output.status)?;
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, _reason: StopReason, _ctx: &mut ChannelContext<Self, ServerSide>) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}
