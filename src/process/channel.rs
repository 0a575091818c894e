//! The behaviour of a channel that a process runs on.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::group::Group;
use super::input::Chunk;
use super::keeper::Keeper;
use super::launch::{Launched, launch};
use super::plan::Refusal;
use super::processes::{Counted, Processes};
use super::signals;
use super::terminal::Terminal;
use crate::wire::codes::DataType;
use crate::{
    BoxError, ChannelContext, ChannelHandle, ChannelMsg, Next, ServerChannel, ServerSide, SessionRequest,
};

/// Runs one process on one channel; made by [`Processes::channel`].
pub struct ProcessChannel {
    processes: Processes,
    request: Option<SessionRequest>,
    running: Option<Running>,
}

impl fmt::Debug for ProcessChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessChannel").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}

/// The channel's side of a process. Dropped, in this order, with the channel.
struct Running {
    /// None after the peer's eof.
    input: Option<mpsc::UnboundedSender<Chunk>>,
    group: Arc<Group>,
    terminal: Option<Arc<Terminal>>,
    _over: oneshot::Sender<Infallible>,
}

impl ProcessChannel {
    pub(super) const fn new(processes: Processes, request: SessionRequest) -> Self {
        Self { processes, request: Some(request), running: None }
    }

    async fn start(
        &self,
        request: SessionRequest,
        channel: ChannelHandle<ServerSide>,
    ) -> Result<Running, Refusal> {
        let counted = self.processes.count()?;
        let pty = request.pty.clone();
        let plan = self.processes.plan(request).await?;
        let launched = tokio::task::spawn_blocking(move || launch(&plan, pty.as_ref()));
        let launched = launched.await.map_err(|error| {
            tracing::error!(%error, "a process was not started");
            Refusal::new("cannot start a process")
        })??;
        Ok(self.keep(launched, channel, counted))
    }

    fn keep(&self, launched: Launched, channel: ChannelHandle<ServerSide>, counted: Counted) -> Running {
        let (feed, input) = mpsc::unbounded_channel();
        let (over, when_over) = oneshot::channel();
        let running = Running {
            input: Some(feed),
            group: Arc::clone(&launched.group),
            terminal: launched.streams.terminal(),
            _over: over,
        };
        let patience = self.processes.patience();
        let keeper = Keeper { launched, input, channel, over: when_over, patience, counted };
        tokio::spawn(keeper.keep());
        running
    }
}

impl Running {
    fn signal(&self, signal: &crate::wire::Signal) {
        match signals::by_name(signal) {
            Some(system) if self.group.is_led() => self.group.signal(system),
            _ => tracing::debug!(%signal, "a signal is passed over"),
        }
    }
}

impl ServerChannel for ProcessChannel {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        // The process is what holds the peer up: a peer that sends on without reading must not wait for itself.
        ctx.withhold_data(false);
        let Some(request) = self.request.take() else { return Ok(()) };
        let line_end = if request.pty.is_some() { "\r\n" } else { "\n" };
        match self.start(request, ctx.handle()).await {
            Ok(running) => self.running = Some(running),
            Err(Refusal { text, status }) => {
                tracing::info!(%text, "no process was started");
                // They fail when the peer has closed the channel, and then there is nobody to tell.
                let _ = ctx.send_typed(DataType::Stderr, format!("{text}{line_end}").into());
                if let Err(error) = ctx.exit(status) {
                    tracing::debug!(channel = %ctx.id(), %error, "a refusal came too late");
                }
            }
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        let Some(running) = &mut self.running else { return Ok(Next::Continue) };
        match msg {
            ChannelMsg::Data { data_type: DataType::Normal, data } => {
                if let Some(input) = &running.input {
                    // What the process does not read any more is dropped, and its credit goes back.
                    let _ = input.send(Chunk { data, credit: ctx.hold_credit() });
                }
            }
            ChannelMsg::Eof => running.input = None,
            ChannelMsg::Signal { signal } => running.signal(&signal),
            ChannelMsg::WindowChange { size } => {
                if let Some(terminal) = &running.terminal
                    && let Err(error) = terminal.resize(size)
                {
                    tracing::debug!(%error, "the terminal's size was not changed");
                }
            }
            _ => {}
        }
        Ok(Next::Continue)
    }
}
