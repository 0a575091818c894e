//! This crate's daemon with the bench's commands, each a behaviour on a channel actor.

use std::io::Write;

use bytes::Bytes;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, Daemon, DaemonConfig, Next, Rate, Router, ServerChannel,
    ServerSide, SessionLimits, SessionRequest,
};

use crate::target::{Failure, new_key};

/// Serves until the process ends.
pub(crate) async fn listen() -> Result<(), Failure> {
    let mut limits = SessionLimits::default();
    limits.opens = Rate::unlimited();
    limits.requests = Rate::unlimited();
    limits.max_opens = u64::MAX;
    let config = DaemonConfig::new(([127, 0, 0, 1], 0))
        .host_key(new_key())
        .public_key(|_, _| async { true })
        .max_channels(100_000)
        .session_limits(limits)
        .router(Router::new().exec(|request| Command::parse(&request)));
    let daemon = Daemon::start(config).await?;
    println!("{}", daemon.local_addr().port());
    std::io::stdout().flush()?;
    std::future::pending().await
}

enum Command {
    True,
    Cat,
    Download {
        block: Bytes,
        left: usize,
    },
    /// `cat >/dev/null` and the like.
    Swallow,
}

impl Command {
    fn parse(request: &SessionRequest) -> Self {
        match request.command().split(' ').collect::<Vec<_>>()[..] {
            ["true"] => Self::True,
            ["cat"] => Self::Cat,
            ["head", "-c", bytes, "/dev/zero"] => {
                Self::Download { block: Bytes::from(vec![0; 64 << 10]), left: bytes.parse().unwrap_or(0) }
            }
            _ => Self::Swallow,
        }
    }

    /// Sends as long as there is room.
    fn fill(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        let Self::Download { block, left } = self else { return Ok(()) };
        while *left > 0 && ctx.is_ready() {
            let now = block.len().min(*left);
            ctx.send(block.slice(..now))?;
            *left -= now;
        }
        if *left > 0 {
            ctx.notify_when_ready();
            return Ok(());
        }
        Ok(ctx.exit(0)?)
    }
}

impl ServerChannel for Command {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        match self {
            Self::True => Ok(ctx.exit(0)?),
            Self::Download { .. } => self.fill(ctx),
            Self::Cat | Self::Swallow => Ok(()),
        }
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        match (msg, &*self) {
            (ChannelMsg::Data { data, .. }, Self::Cat) => ctx.send(data)?,
            (ChannelMsg::ReadyToSend, _) => self.fill(ctx)?,
            (ChannelMsg::Eof, Self::Cat | Self::Swallow) => ctx.exit(0)?,
            _ => {}
        }
        Ok(Next::Continue)
    }
}
