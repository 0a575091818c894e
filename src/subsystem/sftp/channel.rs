//! The behaviour: takes data, hands whole packets to the pool for blocking calls, sends the answers.
//!
//! ```text
//! data + credit -> frames -> [up to 64 packets] -> pool: session -> answers -> outbox
//!                    ^                                                 |
//!                    +------------- served: credit goes back ----------+
//! ```
//!
//! One batch at a time is with the pool, and the session with it; while the outbox is above its mark, none is. So
//! what waits of the client's is charged to its connection, and what waits for the client is at most the mark, a
//! batch's answers and one more.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::failure::Malformed;
use super::frames::Frames;
use super::session::Session;
use super::settings::Settings;
use super::tally::count;
use crate::error::StopReason;
use crate::wire::codes::DataType;
use crate::{BoxError, ChannelContext, ChannelHandle, ChannelMsg, Next, ServerChannel, ServerSide};

/// A batch ends after so many packets, or so many bytes of answers.
const PACKETS_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 512 << 10;

/// Serves one client.
pub(super) struct SftpChannel {
    settings: Arc<Settings>,
    /// Not here while a batch is served, and after the end.
    session: Option<Box<Session>>,
    frames: Frames,
    /// Whole packets, on their way to the session.
    packets: VecDeque<Bytes>,
    /// Nothing is read any more, because of this.
    broken: Option<Malformed>,
    eof: bool,
    /// Nothing is served any more.
    ended: bool,
}

impl SftpChannel {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let longest = usize::try_from(settings.max_packet).unwrap_or(usize::MAX);
        Self {
            settings,
            session: None,
            frames: Frames::new(longest),
            packets: VecDeque::new(),
            broken: None,
            eof: false,
            ended: false,
        }
    }
}

/// What came of a batch; `None` if serving it panicked.
pub(super) struct Served(Option<Batch>);

struct Batch {
    session: Box<Session>,
    packets: VecDeque<Bytes>,
    /// The lengths of those that were served, and the answers.
    served: Vec<usize>,
    answers: Vec<Bytes>,
    broken: Option<Malformed>,
}

impl Batch {
    fn serve(mut self, channel: &ChannelHandle<ServerSide>) -> Self {
        let mut bytes = 0;
        while bytes < BYTES_AT_ONCE && channel.closed().is_none() {
            let Some(packet) = self.packets.pop_front() else { break };
            let length = packet.len();
            match self.session.answer(packet) {
                Ok(answer) => {
                    bytes += answer.len();
                    self.answers.push(answer);
                    self.served.push(length);
                }
                Err(malformed) => {
                    self.broken = Some(malformed);
                    break;
                }
            }
        }
        self
    }
}

type Context = ChannelContext<SftpChannel, ServerSide>;

impl SftpChannel {
    /// Starts the next batch, if the session is here and there is something for it; ends what is to end.
    fn go_on(&mut self, ctx: &mut Context) {
        let Some(session) = self.session.take() else { return };
        if ctx.closed().is_some() {
            return self.end(Some(session));
        }
        if !ctx.is_ready() {
            self.session = Some(session);
            return ctx.notify_when_ready();
        }
        self.cut_packets();
        if !self.packets.is_empty() {
            return self.start_batch(session, ctx);
        }
        let unread = self.eof && !self.frames.is_empty();
        let broken = self.broken.take().or_else(|| unread.then_some(Malformed::CutOff));
        if broken.is_none() && !self.eof {
            self.session = Some(session);
            return;
        }
        if let Some(reason) = &broken {
            if matches!(reason, Malformed::TooLong { .. }) {
                count(&self.settings.tally.refused_packets);
            }
            tracing::warn!(channel = %ctx.id(), %reason, "an SFTP client breaks the protocol, its channel is closed");
        }
        self.end(Some(session));
        exit(broken.is_some(), ctx);
    }

    fn end(&mut self, session: Option<Box<Session>>) {
        self.ended = true;
        self.frames = Frames::new(0);
        self.packets.clear();
        // Closing may block as well.
        session.map(|session| tokio::task::spawn_blocking(move || drop(session)));
    }

    fn cut_packets(&mut self) {
        while self.broken.is_none() && self.packets.len() < PACKETS_AT_ONCE {
            match self.frames.next() {
                Ok(Some(packet)) => self.packets.push_back(packet),
                Ok(None) => break,
                Err(malformed) => self.broken = Some(malformed),
            }
        }
    }

    fn start_batch(&mut self, session: Box<Session>, ctx: &Context) {
        let packets = std::mem::take(&mut self.packets);
        let batch = Batch { session, packets, served: Vec::new(), answers: Vec::new(), broken: None };
        let (myself, channel) = (ctx.myself(), ctx.handle());
        tokio::task::spawn_blocking(move || {
            let batch = catch_unwind(AssertUnwindSafe(|| batch.serve(&channel))).ok();
            // If the channel has ended meanwhile, the session ends here.
            let _ = myself.cast(Served(batch));
        });
    }
}

impl ServerChannel for SftpChannel {
    type Msg = Served;

    async fn init(&mut self, ctx: &mut Context) -> Result<(), BoxError> {
        self.settings.check_values()?;
        let settings = Arc::clone(&self.settings);
        match tokio::task::spawn_blocking(move || Session::open(settings)).await? {
            Ok(session) => self.session = Some(Box::new(session)),
            Err(error) => {
                let root = self.settings.root.display();
                tracing::error!(channel = %ctx.id(), %root, %error, "the root of SFTP cannot be opened");
                self.end(None);
                exit(true, ctx);
            }
        }
        Ok(())
    }

    async fn handle_ssh_msg(&mut self, msg: ChannelMsg, ctx: &mut Context) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data_type: DataType::Normal, data } if !self.ended => {
                self.frames.push(data, ctx.hold_credit());
                self.go_on(ctx);
            }
            ChannelMsg::Data { data_type: DataType::Normal, .. } => {}
            // No SFTP client sends it.
            ChannelMsg::Data { data_type, .. } => {
                tracing::debug!(channel = %ctx.id(), ?data_type, "extended data is dropped");
            }
            ChannelMsg::Eof => {
                self.eof = true;
                self.go_on(ctx);
            }
            ChannelMsg::ReadyToSend => self.go_on(ctx),
            _ => {}
        }
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, Served(batch): Served, ctx: &mut Context) -> Result<Next, BoxError> {
        let batch = batch.ok_or("serving an SFTP request panicked")?;
        for answer in batch.answers {
            if let Err(error) = ctx.send(answer) {
                tracing::debug!(channel = %ctx.id(), %error, "an SFTP answer came too late");
                self.end(Some(batch.session));
                return Ok(Next::Continue);
            }
        }
        batch.served.into_iter().for_each(|length| self.frames.release(length));
        self.session = Some(batch.session);
        if batch.broken.is_some() {
            self.broken = batch.broken;
        } else {
            self.packets = batch.packets;
        }
        self.go_on(ctx);
        Ok(Next::Continue)
    }

    async fn terminate(&mut self, _reason: StopReason, _ctx: &mut Context) {
        let session = self.session.take();
        self.end(session);
    }
}

/// The orderly end. If the channel is closed already, there is nobody to tell.
fn exit(failed: bool, ctx: &Context) {
    if let Err(error) = ctx.exit(u32::from(failed)) {
        tracing::debug!(channel = %ctx.id(), %error, "the end of an SFTP session came too late");
    }
}
