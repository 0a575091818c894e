//! The channel behaviour behind every command, shell and subsystem: carries out the start, passes output on, feeds
//! input, and notes the end.
//!
//! Knows what users of the crate know of channels, and nothing of who waits on the other side of [`Shared`].

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinHandle;

use super::command::EnvPolicy;
use super::error::CommandError;
use super::lane::Chunk;
use super::lend::{Asking, Offer};
use super::outlet::send_patiently;
use super::shared::{Shared, Which};
use super::stdio::Input;
use crate::error::{BoxError, CloseReason, RequestError, StopReason};
use crate::wire::codes::DataType;
use crate::wire::pty::PtyRequest;
use crate::wire::request::ExitStatus;
use crate::{ChannelContext, ChannelHandle, ChannelMsg, ClientChannel, Next};

/// How much input goes into the outbound queue at a time.
const PIECE: usize = 256 << 10;

/// What is asked of the channel when it is open.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) pty: Option<PtyRequest>,
    pub(super) env: Vec<Variable>,
    /// What the command may use of this machine.
    pub(super) lends: Option<Offer>,
    pub(super) start: Start,
    pub(super) input: Input,
}

#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) policy: EnvPolicy,
}

#[derive(Debug)]
pub(super) enum Start {
    Exec(Bytes),
    Shell,
    Subsystem(String),
    /// The channel itself is what was wanted.
    Nothing,
}

/// The behaviour.
#[derive(Debug)]
pub(crate) struct Process {
    shared: Arc<Shared>,
    plan: Option<Plan>,
    inherit_stdout: bool,
    inherit_stderr: bool,
    /// Lent until the channel is over.
    lends: Option<Asking>,
    /// Input that still has to be sent; `None` when somebody else sends it, or all is sent.
    feed: Option<Bytes>,
    pump: Option<Pump>,
    /// What is told that the channel is open.
    user: Option<User>,
}

/// A function that gets the channel as a stream.
struct User(Box<dyn FnOnce(ChannelHandle) + Send>);

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User")
    }
}

/// The task that reads a reader; ends with the channel.
#[derive(Debug)]
struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Process {
    pub(super) const fn new(
        shared: Arc<Shared>,
        plan: Plan,
        inherit_stdout: bool,
        inherit_stderr: bool,
    ) -> Self {
        Self {
            shared,
            plan: Some(plan),
            inherit_stdout,
            inherit_stderr,
            lends: None,
            feed: None,
            pump: None,
            user: None,
        }
    }

    /// For a channel that the peer has opened: nothing is asked for on it, and `user` is told when it is there.
    pub(super) fn opened(shared: Arc<Shared>, user: impl FnOnce(ChannelHandle) + Send + 'static) -> Self {
        let plan =
            Plan { pty: None, env: Vec::new(), lends: None, start: Start::Nothing, input: Input::Piped };
        let mut process = Self::new(shared, plan, false, false);
        process.user = Some(User(Box::new(user)));
        process
    }

    async fn carry_out(&mut self, plan: Plan, ctx: &mut ChannelContext<Self>) -> Result<(), CommandError> {
        let Plan { pty, env, lends, start, input } = plan;
        let handle = ctx.handle();
        let must_wait = pty.is_some() || env.iter().any(|variable| variable.policy == EnvPolicy::Require);
        let setup = prepare(&handle, pty, env);
        if let Some(offer) = lends {
            let mut lends = offer.lend()?;
            let (asked, prepared) = futures::join!(lends.ask(&handle), setup);
            self.lends = Some(lends);
            asked.and(prepared)?;
            return self.launch(start, input, ctx).await;
        }
        if must_wait {
            setup.await?;
            self.launch(start, input, ctx).await
        } else {
            // Queued in this order: the answers are awaited together.
            let (prepared, launched) = futures::join!(setup, self.launch(start, input, ctx));
            prepared.and(launched)
        }
    }

    /// Queues the start and, right behind it, as much input as fits; then waits for the answer to the start.
    async fn launch(
        &mut self,
        start: Start,
        input: Input,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<(), CommandError> {
        let handle = ctx.handle();
        let mut answer = request(&handle, start);
        let early = answer.as_mut().now_or_never();
        let mut reader = None;
        match input {
            Input::Null => self.feed = Some(Bytes::new()),
            Input::Bytes(bytes) => self.feed = Some(bytes),
            Input::Reader(given) => reader = Some(given),
            Input::Piped => {}
        }
        self.go_on_feeding(ctx);
        match early {
            Some(answer) => answer,
            None => answer.await,
        }
        .map_err(CommandError::Request)?;
        self.shared.started();
        if let Some(reader) = reader {
            let pump = pump(reader, ctx.handle(), Arc::clone(&self.shared));
            self.pump = Some(Pump(tokio::spawn(pump)));
        }
        Ok(())
    }

    fn go_on_feeding(&mut self, ctx: &mut ChannelContext<Self>) {
        let Some(rest) = &mut self.feed else { return };
        while !rest.is_empty() {
            if !ctx.is_ready() {
                return ctx.notify_when_ready();
            }
            let piece = rest.split_to(rest.len().min(PIECE));
            if ctx.send(piece).is_err() {
                self.feed = None;
                return;
            }
        }
        self.feed = None;
        let _ = ctx.send_eof();
    }

    async fn take_data(&mut self, data_type: DataType, data: Bytes, ctx: &mut ChannelContext<Self>) {
        let (which, inherit) = match data_type {
            DataType::Normal => (Which::Stdout, self.inherit_stdout),
            DataType::Stderr => (Which::Stderr, self.inherit_stderr),
            DataType::Other(_) => return,
        };
        if !inherit {
            return self.shared.push(which, Chunk::new(data, ctx.hold_credit()));
        }
        if let Err(error) = write_to_our_own(which, data).await {
            self.shared.fail(CommandError::Inherit { stream: which.name(), error: Arc::new(error) });
            ctx.abort();
        }
    }
}

impl ClientChannel for Process {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.withhold_data(false);
        if !self.shared.opened(ctx.myself()) {
            ctx.abort();
            return Ok(());
        }
        let Some(plan) = self.plan.take() else { return Ok(()) };
        if let Err(error) = self.carry_out(plan, ctx).await {
            self.shared.fail(error);
            ctx.abort();
        }
        if let Some(User(user)) = self.user.take() {
            user(ctx.handle());
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data_type, data } => self.take_data(data_type, data, ctx).await,
            ChannelMsg::Eof => self.shared.eof(),
            ChannelMsg::ExitStatus { status } => self.shared.set_status(ExitStatus::Code(status)),
            ChannelMsg::ExitSignal(signal) => self.shared.set_status(ExitStatus::Signal(signal)),
            ChannelMsg::ReadyToSend => self.go_on_feeding(ctx),
            ChannelMsg::Eow => {
                self.feed = None;
                self.pump = None;
            }
            ChannelMsg::Closed { reason } => {
                self.lends = None;
                self.shared.end(reason);
            }
            _ => {}
        }
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, reason: StopReason, _ctx: &mut ChannelContext<Self>) {
        if let StopReason::Closed(reason) = reason {
            self.shared.end(reason);
        } else {
            self.shared.end(CloseReason::ActorEnded(reason.to_string().into()));
        }
    }
}

impl Drop for Process {
    /// Also reached when the actor was killed.
    fn drop(&mut self) {
        self.shared.end(CloseReason::ActorEnded("killed".into()));
    }
}

/// The terminal and the environment, asked for together.
async fn prepare(
    handle: &ChannelHandle,
    pty: Option<PtyRequest>,
    env: Vec<Variable>,
) -> Result<(), CommandError> {
    let terminal = async {
        match pty {
            Some(pty) => handle.ptty_alloc(pty).await.map_err(CommandError::Request),
            None => Ok(()),
        }
    };
    let variables = join_all(env.into_iter().map(|variable| set(handle, variable)));
    let (terminal, variables) = futures::join!(terminal, variables);
    terminal?;
    variables.into_iter().collect()
}

async fn set(handle: &ChannelHandle, variable: Variable) -> Result<(), CommandError> {
    let Variable { name, value, policy } = variable;
    match (handle.setenv(name.as_str(), value).await, policy) {
        (Err(error @ RequestError::Refused { .. }), EnvPolicy::BestEffort) => {
            tracing::debug!(channel = %handle.id(), name, %error, "environment variable not set");
            Ok(())
        }
        (Err(error), _) => Err(CommandError::Env { name, error }),
        (Ok(()), _) => Ok(()),
    }
}

fn request(handle: &ChannelHandle, start: Start) -> BoxFuture<'_, Result<(), RequestError>> {
    match start {
        Start::Exec(command) => handle.exec(command).boxed(),
        Start::Shell => handle.shell().boxed(),
        Start::Subsystem(name) => handle.subsystem(name).boxed(),
        Start::Nothing => std::future::ready(Ok(())).boxed(),
    }
}

/// Sends all a reader gives, then eof; a reader that fails takes the channel with it.
async fn pump(mut reader: impl AsyncRead + Unpin, handle: ChannelHandle, shared: Arc<Shared>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(64 << 10);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => {
                let _ = handle.send_eof();
                return;
            }
            Ok(_) => {
                if send_patiently(&handle, DataType::Normal, buffer.split().freeze()).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                shared.fail(CommandError::Stdin(Arc::new(error)));
                handle.abort();
                return;
            }
        }
    }
}

/// Writes to this process's own stream, on a thread that may wait.
async fn write_to_our_own(which: Which, data: Bytes) -> io::Result<()> {
    fn write(mut to: impl io::Write, data: &[u8]) -> io::Result<()> {
        to.write_all(data)?;
        to.flush()
    }
    let written = tokio::task::spawn_blocking(move || match which {
        Which::Stdout => write(io::stdout().lock(), &data),
        Which::Stderr => write(io::stderr().lock(), &data),
    });
    written.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
