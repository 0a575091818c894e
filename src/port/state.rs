//! One channel's port: inbox, outbox, the link to the transport, and how the channel ends.
//!
//! The life of a port, as the two CLOSE messages see it:
//!
//! ```text
//!   open ──our CLOSE queued──► closing ──sent──► tombstone ──peer's CLOSE, or timeout──► gone
//!     │                                                                                   ▲
//!     ├──peer's CLOSE (the transport answers it at once)──────────────────────────────────┤
//!     └──connection lost──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! In every case the inbox gets exactly one `Closed`. `on_gone` runs exactly once if somebody was waiting for that
//! ([`Port::await_gone`]): mostly the actor ends last, and its end is when the connection looks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::{Notify, SetOnce, oneshot};

use super::budget::ChannelBudget;
use super::event::ChannelMsg;
use super::inbox::{Inbox, Notice};
use super::link::Link;
use super::notes::Notes;
use super::outbox::{Outbox, Outgoing};
use crate::error::{CloseReason, ConnectionError, RequestError, SendErrorKind, StopReason};
use crate::observe::Gauges;
use crate::wire::codes::DataType;
use crate::wire::id::ChannelKey;
use crate::wire::request::ChannelRequest;

/// Events are charged more than their payload. A peer that uses its whole window in ordinary packets must not be over a
/// budget of that size: so much more, as a part of the budget, is let pass.
const OVERHEAD_SLACK: usize = 32;

/// Called once, when nothing of the channel is left on the wire, if that is awaited.
pub(crate) type OnGone = Box<dyn FnOnce() + Send + Sync>;

/// What a port is made from.
pub(crate) struct PortSetup {
    pub(crate) key: ChannelKey,
    pub(crate) budget: Arc<ChannelBudget>,
    pub(crate) high_water: usize,
    /// End the channel as soon as it is over its receive budget.
    pub(crate) fail_over_budget: bool,
    /// How long a graceful close may wait for queued data, and then for the peer's CLOSE.
    pub(crate) close_timeout: Duration,
    /// Of the connection; for the account of last use.
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) on_gone: OnGone,
}

impl std::fmt::Debug for PortSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortSetup").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Counters of one channel.
#[derive(Debug, Default)]
pub(crate) struct PortCounters {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Milliseconds after the epoch of the connection's gauges.
    pub(crate) last_activity: AtomicU64,
}

/// The end of the channel on the wire, and whether anybody wants to hear of it.
struct Departure {
    gone: bool,
    awaited: bool,
    on_gone: Option<OnGone>,
}

/// The meeting point of one channel's two sides.
pub(crate) struct Port {
    key: ChannelKey,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) counters: PortCounters,
    notes: Notes,
    link: OnceLock<Box<dyn Link>>,
    fail_over_budget: bool,
    close_timeout: Duration,
    gauges: Arc<Gauges>,
    runtime: tokio::runtime::Handle,
    /// The driver must drop what it holds and close now.
    abort: Notify,
    aborted: AtomicBool,
    /// The peer's CLOSE is here, or the connection is gone: no CLOSE of ours is needed.
    peer_closed: AtomicBool,
    /// What has arrived is not to be waited for any more.
    cut_off: SetOnce<()>,
    departure: std::sync::Mutex<Departure>,
    /// What the channel's actor was stopped for from outside.
    stop_note: OnceLock<Arc<str>>,
    /// Why the connection closes this channel, when it is shut down.
    parting: OnceLock<ConnectionError>,
    /// Why the channel's actor ended.
    exit: SetOnce<StopReason>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Port {
    /// Makes a port. Must be called within a tokio runtime; its sends run there.
    pub(crate) fn new(setup: PortSetup) -> Arc<Self> {
        let now = setup.gauges.used();
        Arc::new(Self {
            key: setup.key,
            inbox: Inbox::new(setup.budget),
            outbox: Outbox::new(setup.high_water),
            counters: PortCounters { last_activity: now.into(), ..PortCounters::default() },
            notes: Notes::new(now),
            link: OnceLock::new(),
            fail_over_budget: setup.fail_over_budget,
            close_timeout: setup.close_timeout,
            gauges: setup.gauges,
            runtime: tokio::runtime::Handle::current(),
            abort: Notify::new(),
            aborted: AtomicBool::new(false),
            peer_closed: AtomicBool::new(false),
            cut_off: SetOnce::new(),
            departure: std::sync::Mutex::new(Departure {
                gone: false,
                awaited: false,
                on_gone: Some(setup.on_gone),
            }),
            stop_note: OnceLock::new(),
            parting: OnceLock::new(),
            exit: SetOnce::new(),
        })
    }

    pub(crate) const fn key(&self) -> ChannelKey {
        self.key
    }

    /// What is noted for those who look.
    pub(crate) const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Of the connection.
    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// The way to the transport, once the peer has confirmed the open.
    pub(super) fn link(&self) -> Option<&dyn Link> {
        self.link.get().map(|link| &**link)
    }

    // ---- the transport's side -------------------------------------------------------------------

    /// The open was confirmed: from now on the port can send.
    pub(crate) fn connect(self: &Arc<Self>, link: Box<dyn Link>) {
        let _ = self.link.set(link);
        if self.outbox.resume() {
            self.drive();
        }
    }

    /// An event arrived. Never waits. False when the channel is over and nobody will see it.
    pub(crate) fn deliver(self: &Arc<Self>, msg: ChannelMsg) -> bool {
        let len = msg.payload_len() as u64;
        self.counters.bytes_in.fetch_add(len, Ordering::Relaxed);
        self.touch();
        if !msg.is_data() {
            self.notes.is_asked(&msg);
        }
        let taken = self.inbox.push(msg);
        let budget = self.inbox.budget();
        if taken
            && self.fail_over_budget
            && budget.held() > budget.budget() + budget.budget() / OVERHEAD_SLACK
        {
            self.abort(CloseReason::OverBudget { held: budget.held(), budget: budget.budget() });
        }
        taken
    }

    /// The answer to our oldest outstanding request arrived. False when none was outstanding.
    pub(crate) fn deliver_reply(&self, success: bool) -> bool {
        self.touch();
        self.outbox.reply(success)
    }

    /// The peer's CLOSE arrived, and the transport has answered it.
    pub(crate) fn peer_closed(&self) {
        self.over(CloseReason::Peer);
    }

    /// The connection is gone.
    pub(crate) fn lost(&self, error: ConnectionError) {
        self.over(CloseReason::Connection(error));
    }

    /// The connection is ended on our side: whoever is still at what has arrived is to stop.
    pub(crate) fn cut_off(&self) {
        let _ = self.cut_off.set(());
    }

    fn over(&self, reason: CloseReason) {
        self.peer_closed.store(true, Ordering::Release);
        self.inbox.close(reason.clone());
        let ended = self.outbox.end(reason, false);
        if ended.tell {
            self.inbox.tell(Notice::Room);
        }
        self.stop_driver();
        self.gone();
    }

    // ---- the consumer's side --------------------------------------------------------------------

    /// Queues data and sends what the window takes right now. Never waits.
    pub(crate) fn send(self: &Arc<Self>, data_type: DataType, data: Bytes) -> Result<(), SendErrorKind> {
        if data.is_empty() {
            return self.outbox.closed().map_or(Ok(()), |reason| Err(SendErrorKind::Closed(reason)));
        }
        self.push(Outgoing::Data { data_type, data })
    }

    pub(crate) fn push(self: &Arc<Self>, item: Outgoing) -> Result<(), SendErrorKind> {
        if self.outbox.push(item)? {
            self.drive();
        }
        Ok(())
    }

    /// Queues a request; the receiver gets the answer. Dropping it swallows the answer.
    pub(crate) fn request(
        self: &Arc<Self>,
        request: ChannelRequest,
    ) -> Result<oneshot::Receiver<bool>, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.queue_request(request, Some(reply))?;
        Ok(answer)
    }

    /// Queues a request that asks for no answer (`want_reply` false).
    pub(crate) fn notify(self: &Arc<Self>, request: ChannelRequest) -> Result<(), RequestError> {
        self.queue_request(request, None)
    }

    fn queue_request(
        self: &Arc<Self>,
        request: ChannelRequest,
        reply: Option<oneshot::Sender<bool>>,
    ) -> Result<(), RequestError> {
        request.check()?;
        if let Some(link) = self.link.get() {
            link.supports(&request).map_err(|what| RequestError::Unsupported { what })?;
        }
        self.notes.asks(&request);
        match self.outbox.push_request(request, reply) {
            Ok(true) => self.drive(),
            Ok(false) => {}
            Err(SendErrorKind::Closed(reason)) => return Err(RequestError::Closed(reason)),
            Err(_) => return Err(RequestError::Closed(CloseReason::Local)),
        }
        Ok(())
    }

    /// Closes after everything queued has been sent, or when the close timeout is over. Idempotent.
    pub(crate) fn close(self: &Arc<Self>) {
        match self.outbox.push(Outgoing::Close) {
            Ok(true) => self.drive(),
            Ok(false) => self.limit_close(),
            Err(_) => {}
        }
    }

    /// Closes after everything queued has been sent, however long the peer takes to read it. Idempotent, and a later
    /// [`Self::close`] changes nothing any more.
    pub(crate) fn close_when_sent(self: &Arc<Self>) {
        if let Ok(true) = self.outbox.push(Outgoing::Close) {
            self.drive();
        }
    }

    /// The connection is being shut down and waits no longer: eof, then as [`Self::close`]. The consumer is told of the
    /// connection's end.
    pub(crate) fn part(self: &Arc<Self>, why: ConnectionError) {
        if self.outbox.closed().is_none() {
            let _ = self.parting.set(why);
        }
        let _ = self.push(Outgoing::Eof);
        self.close();
    }

    /// What the consumer is told when we have closed.
    fn own_end(&self) -> CloseReason {
        self.parting.get().map_or(CloseReason::Local, |why| CloseReason::Connection(why.clone()))
    }

    /// Closes now: drops what is queued in both directions and gives its credit back, then sends CLOSE.
    /// `reason` is what the consumer is told. Never waits.
    pub(crate) fn abort(self: &Arc<Self>, reason: CloseReason) {
        self.inbox.abort(reason.clone());
        self.hang_up(reason);
    }

    /// The consumer is gone: as [`Self::abort`], and nobody is told.
    pub(crate) fn abandon(self: &Arc<Self>, reason: CloseReason) {
        self.inbox.discard();
        self.hang_up(reason);
    }

    /// The consumer is gone in good order: what it queued is still sent, then CLOSE.
    pub(crate) fn finish(self: &Arc<Self>) {
        self.inbox.discard();
        self.close();
    }

    /// Waits until what has arrived is not to be waited for any more: the channel was aborted, or its connection ended
    /// on our side. A CLOSE of the peer and a loss are no such thing.
    pub(crate) async fn until_cut_off(&self) {
        self.cut_off.wait().await;
    }

    /// How long a graceful close may stand still.
    pub(crate) const fn close_timeout(&self) -> Duration {
        self.close_timeout
    }

    /// Notes what the channel's actor is being stopped for; ractor does not tell it. Only the first note counts.
    pub(crate) fn note_stop(&self, reason: &str) {
        let _ = self.stop_note.set(reason.into());
    }

    /// What the channel's actor was stopped for.
    pub(crate) fn stop_note(&self) -> Option<Arc<str>> {
        self.stop_note.get().cloned()
    }

    /// Notes why the channel's actor ended. Only the first reason counts.
    pub(crate) fn set_exit(&self, reason: StopReason) {
        let _ = self.exit.set(reason);
    }

    /// Waits until the channel's actor has ended.
    pub(crate) async fn exited(&self) -> StopReason {
        self.exit.wait().await.clone()
    }

    /// Why the channel's actor ended, if it has.
    pub(crate) fn exit(&self) -> Option<&StopReason> {
        self.exit.get()
    }

    /// Whether the peer's CLOSE has come before ours, or the connection is gone.
    pub(crate) fn is_closed_by_peer(&self) -> bool {
        self.peer_closed.load(Ordering::Acquire)
    }

    /// For how long nothing was sent or received.
    pub(crate) fn idle(&self) -> Duration {
        self.gauges.since(self.counters.last_activity.load(Ordering::Relaxed))
    }

    fn hang_up(self: &Arc<Self>, reason: CloseReason) {
        self.cut_off();
        let ended = self.outbox.end(reason, true);
        self.stop_driver();
        if ended.drive {
            self.drive();
        }
        if ended.tell {
            self.inbox.tell(Notice::Room);
        }
        self.inbox.budget().write_off();
    }

    /// Wakes the driver if there is one; a later one will see the flag.
    fn stop_driver(&self) {
        self.aborted.store(true, Ordering::Release);
        self.abort.notify_waiters();
    }

    /// A graceful close may not wait for ever for a peer that has stopped reading. One that reads, however slowly,
    /// gets everything.
    fn limit_close(self: &Arc<Self>) {
        let port = Arc::clone(self);
        self.runtime.spawn(async move {
            loop {
                let before = port.counters.bytes_out.load(Ordering::Relaxed);
                if tokio::time::timeout(port.close_timeout, port.outbox.drained()).await.is_ok() {
                    return;
                }
                if port.counters.bytes_out.load(Ordering::Relaxed) == before {
                    return port.stop_driver();
                }
            }
        });
    }

    // ---- sending --------------------------------------------------------------------------------

    /// Drives the outbox: here and now as far as that goes without waiting, in a task from there on.
    fn drive(self: &Arc<Self>) {
        let _runtime = self.runtime.enter();
        let mut driver = Box::pin(Arc::clone(self).run());
        if driver.as_mut().now_or_never().is_none() {
            self.notes.moves(self.gauges.now());
            self.runtime.spawn(driver);
        }
    }

    async fn run(self: Arc<Self>) {
        let link = match self.link.get() {
            Some(link) => link,
            None => {
                self.outbox.suspend();
                // It may have come in between.
                match self.link.get() {
                    Some(link) if self.outbox.resume() => link,
                    _ => return,
                }
            }
        };
        while let Some(item) = self.outbox.next() {
            if matches!(item, Outgoing::Close) {
                self.say_close().await;
                continue;
            }
            let cut_off = self.abort.notified();
            let sent = async {
                if self.aborted.load(Ordering::Acquire) {
                    return false;
                }
                if self.send_item(link.as_ref(), item).await.is_err() {
                    self.until_told().await;
                    return false;
                }
                true
            };
            let going_on = tokio::select! {
                biased;
                ok = sent => ok,
                () = cut_off => false,
            };
            if !going_on {
                // Whoever stopped us has given the reason already.
                let ended = self.outbox.end(self.own_end(), true);
                if ended.tell {
                    self.inbox.tell(Notice::Room);
                }
            }
        }
    }

    /// The link is dead: the transport is about to say why the channel is over, and that is the reason that counts.
    async fn until_told(&self) {
        if tokio::time::timeout(self.close_timeout, std::future::pending::<()>()).await.is_err() {
            tracing::debug!(channel = %self.key, "the transport has not said why it sends no more");
        }
    }

    async fn send_item(&self, link: &dyn Link, item: Outgoing) -> Result<(), super::LinkClosed> {
        match item {
            Outgoing::Data { data_type, mut data } => {
                while !data.is_empty() {
                    let sent = link.send_chunk(data_type, &mut data).await?;
                    self.counters.bytes_out.fetch_add(sent as u64, Ordering::Relaxed);
                    self.notes.moves(self.touch());
                    if self.outbox.sent(sent) {
                        self.inbox.tell(Notice::Room);
                    }
                }
                Ok(())
            }
            Outgoing::Request { request, want_reply } => link.send_request(request, want_reply).await,
            Outgoing::Reply { success } => link.send_reply(success).await,
            Outgoing::Eof => link.send_eof().await,
            Outgoing::Close => Ok(()),
        }
    }

    /// Sends our CLOSE unless the peer's is here already, and keeps the tombstone.
    async fn say_close(self: &Arc<Self>) {
        if !self.peer_closed.load(Ordering::Acquire) && self.link.get().is_some() {
            // In a task of its own: CLOSE goes out also when that takes longer than we wait for it.
            self.notes.closes(&self.gauges);
            let port = Arc::clone(self);
            let closing = self.runtime.spawn(async move {
                if let Some(link) = port.link.get() {
                    link.close().await;
                }
            });
            if tokio::time::timeout(self.close_timeout, closing).await.is_err() {
                tracing::debug!(channel = %self.key, "the peer has not answered our close in time");
            }
        }
        self.inbox.close(self.own_end());
        // Requests whose answer has not come get none any more.
        let ended = self.outbox.end(self.own_end(), false);
        if ended.tell {
            self.inbox.tell(Notice::Room);
        }
        self.gone();
    }

    fn gone(&self) {
        let on_gone = {
            let mut departure = self.departure();
            departure.gone = true;
            if departure.awaited { departure.on_gone.take() } else { None }
        };
        if let Some(on_gone) = on_gone {
            on_gone();
        }
    }

    /// Whether nothing of the channel is left on the wire. If something is, `on_gone` runs when it goes.
    pub(crate) fn await_gone(&self) -> bool {
        let mut departure = self.departure();
        departure.awaited = true;
        departure.gone
    }

    /// Whether nothing of the channel is left on the wire.
    pub(crate) fn is_gone(&self) -> bool {
        self.departure().gone
    }

    fn departure(&self) -> std::sync::MutexGuard<'_, Departure> {
        self.departure.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Something was sent or received. Says when.
    fn touch(&self) -> u64 {
        let now = self.gauges.used();
        self.counters.last_activity.store(now, Ordering::Relaxed);
        now
    }
}
