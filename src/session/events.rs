//! A channel as a stream of its events and a sink of bytes.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures::{Sink, Stream};

use super::outlet::Outlet;
use crate::config::ChannelOptions;
use crate::error::{BoxError, OpenError, SendError};
use crate::wire::open::OpenRequest;
use crate::{ChannelContext, ChannelEvent, ChannelHandle, ChannelMsg, ClientChannel, ConnectionRef, Next};

/// # Events as a stream
impl ConnectionRef {
    /// Opens a channel whose events are a [`futures::Stream`], for code that wants to see everything and is no actor.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed.
    ///
    /// # Errors
    /// As [`open_channel`](Self::open_channel).
    pub async fn events(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
    ) -> Result<ChannelEvents, OpenError> {
        let line = Line(Arc::default());
        let forward = Forward(Arc::clone(&line.0));
        let channel = self.open_channel(request, options, forward).await?;
        Ok(ChannelEvents { outlet: Outlet::new(ChannelHandle::clone(&channel)), parked: None, line })
    }
}

/// A channel as a [`Stream`] of [`ChannelEvent`]s and a [`Sink`] of bytes. Dereferences to the functions of the channel.
///
/// Every event of the channel comes, in wire order; the last one is [`ChannelMsg::Closed`], then the stream ends. The
/// receive credit of data is in its event and goes back when that is dropped; events that wait here hold theirs.
///
/// The sink takes each item whole; it is ready while the outbound queue is below its high-water mark. Closing it sends
/// eof. Dropping this value sends eof and closes the channel behind what was sent.
///
/// ```no_run
/// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
/// use futures::{SinkExt as _, StreamExt as _};
/// use ractor_ssh::ChannelMsg;
/// use ractor_ssh::config::ChannelOptions;
/// use ractor_ssh::wire::open::OpenRequest;
///
/// let mut events = conn.events(OpenRequest::Session, ChannelOptions::new()).await?;
/// events.exec("cat").await?;
/// events.send("hello".into()).await?;
/// events.send_eof()?;
/// while let Some(event) = events.next().await {
///     if let ChannelMsg::Data { data, .. } = &event.msg {
///         println!("{} bytes", data.len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChannelEvents {
    // Dropped in this order: eof, then close.
    outlet: Outlet,
    /// An item that was taken when there was no room after all.
    parked: Option<Bytes>,
    line: Line,
}

impl Deref for ChannelEvents {
    type Target = ChannelHandle;

    fn deref(&self) -> &Self::Target {
        self.outlet.handle()
    }
}

impl Stream for ChannelEvents {
    type Item = ChannelEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.line.0.poll_next(cx)
    }
}

impl ChannelEvents {
    fn poll_parked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Some(data) = &self.parked else { return Poll::Ready(Ok(())) };
        let sent = ready!(self.outlet.poll_send(cx, data));
        self.parked = None;
        Poll::Ready(sent)
    }
}

impl Sink<Bytes> for ChannelEvents {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_parked(cx))?;
        self.outlet.poll_room(cx).map(Ok)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Bytes) -> Result<(), SendError> {
        match self.outlet.try_send(item) {
            Ok(sent) => sent,
            Err(item) => {
                self.parked = Some(item);
                Ok(())
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_parked(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_parked(cx))?;
        self.outlet.shut();
        Poll::Ready(Ok(()))
    }
}

/// The reader's hold on the queue; dropping it closes the channel.
#[derive(Debug)]
struct Line(Arc<Queue>);

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        let dropped = std::mem::take(&mut state.events);
        let channel = state.channel.take();
        drop(state);
        drop(dropped);
        if let Some(channel) = channel {
            channel.close();
        }
    }
}

#[derive(Default)]
struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    events: VecDeque<ChannelEvent>,
    reader: Option<Waker>,
    channel: Option<ChannelHandle>,
    /// Nobody reads any more.
    abandoned: bool,
    /// Nothing more will come.
    over: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("events", &self.lock().events.len()).finish_non_exhaustive()
    }
}

impl Queue {
    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<ChannelEvent>> {
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if state.over {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// False when nobody reads any more.
    fn push(&self, event: ChannelEvent) -> bool {
        self.change(|state| {
            if state.abandoned {
                return Err(event);
            }
            state.over = matches!(event.msg, ChannelMsg::Closed { .. });
            state.events.push_back(event);
            Ok(())
        })
        .is_ok()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The behaviour: puts every event into the queue.
struct Forward(Arc<Queue>);

impl ClientChannel for Forward {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.withhold_data(false);
        let mut state = self.0.lock();
        if state.abandoned {
            drop(state);
            ctx.abort();
        } else {
            state.channel = Some(ctx.handle());
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        let event = ChannelEvent { channel: ctx.id(), msg, credit: ctx.hold_credit() };
        self.0.push(event);
        Ok(Next::Continue)
    }
}

impl Drop for Forward {
    /// Also reached when the actor was killed: the stream ends then without `Closed`.
    fn drop(&mut self) {
        self.0.change(|state| {
            state.over = true;
            state.channel = None;
        });
    }
}
