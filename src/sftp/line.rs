//! The engine of a session: requests go out in one piece each, from whatever task makes them; one task takes the answers
//! in.
//!
//! No queue stands between: a request waits for room in the channel's outbound queue, and for its place among those that
//! may be unanswered at a time. Whoever stops waiting for an answer leaves nothing behind: the answer is swallowed when it
//! comes, and a handle in it is closed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::error::SftpErrorKind;
use super::packets::Packets;
use super::reply::Reply;
use super::table::{Answer, Entered, Table, Turn};
use super::wire::{Fields, MOST_PACKET, Request, VERSION, code, init};
use crate::ChannelHandle;
use crate::error::SendErrorKind;
use crate::session::{ChannelStream, StreamWriter};

/// How many requests may be unanswered at a time, forgotten ones included.
const MOST_UNANSWERED: usize = 1024;

/// One session's channel. Dropping it sends eof and closes the channel.
#[derive(Debug)]
pub(super) struct Line {
    channel: ChannelHandle,
    table: Arc<Table>,
    places: Arc<Semaphore>,
    pub(super) timeout: Duration,
    runtime: Runtime,
    // Eof goes out with this one, the close when the reader is gone, too. The mutex makes it shareable.
    _writer: Mutex<StreamWriter>,
    _reader: AbortOnDropHandle<()>,
}

/// What a server said about itself, name by name.
pub(super) type Hello = Vec<(Bytes, Bytes)>;

impl Line {
    /// Says hello and starts to listen.
    pub(super) async fn start(
        stream: ChannelStream,
        timeout: Duration,
    ) -> Result<(Arc<Self>, Hello), SftpErrorKind> {
        let (from, writer) = stream.into_split();
        let mut from = Packets::new(from);
        let channel = writer.channel().clone();
        let greeting = async {
            channel.send(init()).await.map_err(|error| ended(&error.kind.to_string()))?;
            from.packet().await?.ok_or_else(|| ended("the server ended it before it said hello"))
        };
        let hello = match tokio::time::timeout(timeout, greeting).await {
            Ok(hello) => hello?,
            Err(_) => return Err(SftpErrorKind::Timeout { after: timeout }),
        };
        let hello = read_hello(hello)?;
        let table = Arc::new(Table::new());
        let reader = AbortOnDropHandle::new(tokio::spawn(listen(from, Arc::clone(&table), channel.clone())));
        let line = Self {
            channel,
            table,
            places: Arc::new(Semaphore::new(MOST_UNANSWERED)),
            timeout,
            runtime: Runtime::current(),
            _writer: Mutex::new(writer),
            _reader: reader,
        };
        Ok((Arc::new(line), hello))
    }

    pub(super) const fn channel(&self) -> &ChannelHandle {
        &self.channel
    }

    pub(super) fn ended(&self) -> Option<SftpErrorKind> {
        self.table.ended()
    }

    /// How many requests are unanswered.
    pub(super) fn unanswered(&self) -> usize {
        self.table.open()
    }

    /// Sends eof, and waits until the server has closed the channel, or the timeout.
    pub(super) async fn finish(&self) {
        let _ = self.channel.send_eof();
        if tokio::time::timeout(self.timeout, self.table.over()).await.is_err() {
            self.channel.close();
            self.table.end(&ended("it was closed"));
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn call(self: &Arc<Self>, request: Request) -> Answer {
        let place = self.place().await?;
        let opens = request.opens;
        let Entered { id, turn, answer } = self.table.enter(opens, Some(place))?;
        let mut asked = Asked { line: self, id, sent: false, answer, opens };
        let packet = request.packet(id).ok_or_else(too_long)?;
        let asking = async {
            self.send(packet).await?;
            asked.sent = true;
            (&mut asked.answer).await.unwrap_or_else(|_| Err(ended("nobody listens any more")))
        };
        self.patiently(turn, asking).await
    }

    /// A place among those that may be unanswered. There is one with the next answer, whatever to: who waits gives up
    /// when none comes for the timeout.
    async fn place(&self) -> Result<OwnedSemaphorePermit, SftpErrorKind> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let waiting = Arc::clone(&self.places).acquire_owned();
        tokio::pin!(waiting);
        let mut limit = Instant::now() + self.timeout;
        while limit > Instant::now() {
            if let Ok(place) = tokio::time::timeout_at(limit, &mut waiting).await {
                return place.map_err(|_| ended("it was closed"));
            }
            limit = self.table.answered() + self.timeout;
        }
        Err(SftpErrorKind::Timeout { after: self.timeout })
    }

    /// Waits for an answer as long as the server is at work on what was asked before: the deadline runs anew when some
    /// of that was answered. Answers to what was asked later do not count, or a lost one would be waited for for ever.
    async fn patiently(&self, turn: Turn, asking: impl Future<Output = Answer>) -> Answer {
        tokio::pin!(asking);
        let mut before = turn.before;
        let mut limit = Instant::now() + self.timeout;
        loop {
            if let Ok(answer) = tokio::time::timeout_at(limit, &mut asking).await {
                return answer;
            }
            let left = self.table.before(turn);
            limit = self.table.answered() + self.timeout;
            if left >= before || limit <= Instant::now() {
                return Err(SftpErrorKind::Timeout { after: self.timeout });
            }
            before = left;
        }
    }

    /// Waits for room as long as the channel lives; the caller has a deadline.
    async fn send(&self, packet: Bytes) -> Result<(), SftpErrorKind> {
        let mut packet = packet;
        loop {
            match self.channel.send(packet).await {
                Ok(()) => return Ok(()),
                Err(error) if matches!(error.kind, SendErrorKind::Timeout { .. }) => packet = error.data,
                Err(error) => {
                    return Err(self.table.ended().unwrap_or_else(|| ended(&error.kind.to_string())));
                }
            }
        }
    }

    /// Closes a handle without waiting for the answer. What was sent before it is done before.
    pub(super) fn close_handle(&self, handle: &[u8]) {
        let _ = close_handle(&self.table, &self.channel, &self.runtime, handle);
    }

    /// Closes a handle, at once, and waits for the answer.
    pub(super) async fn close_and_wait(&self, handle: &[u8]) -> Answer {
        let (turn, answer) = close_handle(&self.table, &self.channel, &self.runtime, handle)?;
        self.patiently(turn, async { answer.await.unwrap_or_else(|_| Err(ended("nobody listens any more"))) })
            .await
    }
}

/// A request that is not answered yet. Dropping it forgets it.
struct Asked<'a> {
    line: &'a Line,
    id: u32,
    sent: bool,
    opens: bool,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.sent {
            self.line.table.leave(self.id);
            return;
        }
        self.answer.close();
        // It may have come a moment ago.
        if self.opens
            && let Ok(Ok(Reply::Handle(handle))) = self.answer.try_recv()
        {
            self.line.close_handle(&handle);
        }
    }
}

/// Closes a handle without waiting for the answer. There are never more of these than files that were open.
fn close_handle(
    table: &Table,
    channel: &ChannelHandle,
    runtime: &Runtime,
    handle: &[u8],
) -> Result<(Turn, oneshot::Receiver<Answer>), SftpErrorKind> {
    let Entered { id, turn, answer } = table.enter(false, None)?;
    let packet = Request::new(code::CLOSE).string(handle).packet(id).ok_or_else(too_long)?;
    if channel.send(packet.clone()).now_or_never().is_none() {
        let channel = channel.clone();
        // No room now: it follows as soon as there is some, or the channel has ended, and the handle with it.
        runtime.spawn(async move {
            let mut packet = packet;
            while let Err(error) = channel.send(packet).await
                && matches!(error.kind, SendErrorKind::Timeout { .. })
            {
                packet = error.data;
            }
        });
    }
    Ok((turn, answer))
}

/// Takes in answers until the session ends.
async fn listen(mut from: Packets, table: Arc<Table>, channel: ChannelHandle) {
    let runtime = Runtime::current();
    let reason = loop {
        let answered = match from.reply().await {
            Ok(Some((id, reply))) => table.answer(id, reply),
            Ok(None) => break ended("the server ended it"),
            Err(reason) => break reason,
        };
        match answered {
            Ok(Some(handle)) => drop(close_handle(&table, &channel, &runtime, &handle)),
            Ok(None) => {}
            Err(reason) => break reason,
        }
    };
    tracing::debug!(%reason, "SFTP session over");
    table.end(&reason);
    channel.close();
}

fn read_hello(packet: Bytes) -> Result<Hello, SftpErrorKind> {
    let mut fields = Fields(packet);
    let kind = fields.u8()?;
    if kind != code::VERSION {
        return Err(SftpErrorKind::protocol(format!(
            "hello with a packet of type {kind}; is it an SFTP server?"
        )));
    }
    let version = fields.u32()?;
    if version != VERSION {
        return Err(SftpErrorKind::protocol(format!(
            "version {version} of the protocol; only {VERSION} is spoken here"
        )));
    }
    let mut extensions = Vec::new();
    while !fields.is_empty() {
        extensions.push((fields.string()?, fields.string()?));
    }
    Ok(extensions)
}

pub(super) fn ended(reason: &str) -> SftpErrorKind {
    SftpErrorKind::Ended { reason: reason.to_owned() }
}

fn too_long() -> SftpErrorKind {
    let fix = "give shorter ones";
    crate::error::ConfigError::new("names", format!("longer than a packet of {MOST_PACKET} bytes"), fix)
        .into()
}
