//! Runs a behaviour: takes events from the port's inbox in turns, messages from the mailbox in between, returns
//! credit after each callback, and sees to it that `terminate` is called with the reason.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use crate::behaviour::msg::ActorMsg;
use crate::behaviour::{Behaviour, ChannelContext, ChannelHandle, ChannelRef, HandleTimeouts, Next, Role};
use crate::config::WindowAdjust;
use crate::error::{BoxError, CloseReason, OpenError, StopReason, panic_text};
use crate::handle::roster::Roster;
use crate::observe::Callback;
use crate::port::Port;
use crate::port::event::ChannelMsg;
use crate::port::inbox::{Arrived, Notice};

/// Payload handled before other messages get their turn.
const TURN_BYTES: usize = 256 << 10;
/// Events handled before other messages get their turn.
const TURN_EVENTS: usize = 256;
/// Time after which other messages get their turn: behind a slow callback, after each event.
const TURN_TIME: Duration = Duration::from_millis(1);

/// The opener's answer.
pub(crate) type Opened<C, R> = oneshot::Sender<Result<Unclaimed<C, R>, Unopened<C>>>;

/// There is no channel.
pub(crate) struct Unopened<C> {
    /// `None` when the connection is gone, and will say why.
    pub(super) error: Option<OpenError>,
    /// Untouched, if it was never run.
    pub(super) behaviour: Option<C>,
}

/// There is no channel.
pub(crate) struct NotOpened<C> {
    pub(crate) error: OpenError,
    /// Untouched, if it was never run: it may be tried elsewhere.
    pub(crate) behaviour: Option<C>,
}

impl<C: Send + 'static> NotOpened<C> {
    /// The error alone. The behaviour's destructor is the user's, and runs where it can harm nobody.
    pub(crate) fn into_error(self) -> OpenError {
        if let Some(behaviour) = self.behaviour {
            tokio::spawn(async move { drop(behaviour) });
        }
        self.error
    }
}

impl<C> From<OpenError> for NotOpened<C> {
    fn from(error: OpenError) -> Self {
        Self { error, behaviour: None }
    }
}

/// A channel on its way to its opener. It is stopped if it does not get there.
pub(crate) struct Unclaimed<C: Behaviour<R>, R: Role> {
    channel: ChannelRef<C, R>,
    claimed: bool,
}

impl<C: Behaviour<R>, R: Role> Unclaimed<C, R> {
    const fn new(channel: ChannelRef<C, R>) -> Self {
        Self { channel, claimed: false }
    }

    pub(super) fn claim(mut self) -> ChannelRef<C, R> {
        self.claimed = true;
        self.channel.clone()
    }
}

impl<C: Behaviour<R>, R: Role> Drop for Unclaimed<C, R> {
    fn drop(&mut self) {
        if !self.claimed {
            self.channel.stop("its opener went away");
        }
    }
}

/// What a channel actor starts with.
pub(crate) struct Arguments<C: Behaviour<R>, R: Role> {
    pub(crate) behaviour: C,
    pub(crate) port: Arc<Port>,
    pub(crate) timeouts: HandleTimeouts,
    pub(crate) adjust: WindowAdjust,
    pub(crate) opened: Option<Opened<C, R>>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) span: tracing::Span,
}

pub(crate) struct State<C: Behaviour<R>, R: Role> {
    /// Dropped here, in its own actor, at the end: the supervisor gets the state, and must not run user code.
    behaviour: Option<C>,
    port: Arc<Port>,
    ctx: ChannelContext<C, R>,
    opened: Option<Opened<C, R>>,
    /// Data is held back because the outbound queue is over its mark.
    withholding: bool,
    /// What the behaviour does is recorded in it.
    span: tracing::Span,
}

/// The actor. It has no state of its own: that is in [`State`].
pub(crate) struct ChannelActor<C, R>(PhantomData<fn() -> (C, R)>);

impl<C, R> ChannelActor<C, R> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<C: Behaviour<R>, R: Role> Actor for ChannelActor<C, R> {
    type Msg = ActorMsg<C::Msg>;
    type State = State<C, R>;
    type Arguments = Arguments<C, R>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        args.roster.enter(myself.get_id(), args.port.key());
        args.port.notes().run_by(myself.get_cell(), std::any::type_name::<C>());
        let ctx = ChannelContext::new(Arc::clone(&args.port), args.timeouts, args.adjust, myself);
        Ok(State {
            behaviour: Some(args.behaviour),
            port: args.port,
            ctx,
            opened: args.opened,
            withholding: false,
            span: args.span,
        })
    }

    /// Runs `init`, with the supervisor already watching, and the first turn if something has arrived by then.
    async fn post_start(
        &self,
        myself: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let span = state.span.clone();
        state.begin(&myself).instrument(span).await
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let span = state.span.clone();
        state.take(&myself, message).instrument(span).await
    }

    /// Runs when the actor was stopped, by itself or from outside.
    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let note = state.port.stop_note().unwrap_or_else(|| "by its supervisor or owner".into());
        let span = state.span.clone();
        state.end(StopReason::Stopped(note)).instrument(span).await;
        Ok(())
    }
}

impl<C: Behaviour<R>, R: Role> State<C, R> {
    async fn begin(&mut self, myself: &ActorRef<ActorMsg<C::Msg>>) -> Result<(), ActorProcessingErr> {
        let Some(behaviour) = &mut self.behaviour else { return Ok(()) };
        enter(&self.port, Callback::Init, Instant::now());
        let outcome = guard("init", behaviour.init(&mut self.ctx)).await;
        self.port.notes().leave();
        if let Err(reason) = outcome {
            if let Some(opened) = self.opened.take() {
                let error = Some(OpenError::Init(reason.to_string().into()));
                let _ = opened.send(Err(Unopened { error, behaviour: None }));
            }
            return self.stop(myself, reason).await;
        }
        let mailbox = myself.clone();
        let waits = self.port.inbox.attach(Box::new(move |notice| {
            let _ = mailbox.cast(match notice {
                Notice::Arrived => ActorMsg::Arrived,
                Notice::Room => ActorMsg::Room,
            });
        }));
        self.ctx.attached();
        if let Some(opened) = self.opened.take() {
            let handle = ChannelHandle::clone(&self.ctx);
            let _ = opened.send(Ok(Unclaimed::new(ChannelRef::new(myself.clone(), handle))));
        }
        // What came during `init` is handled here: short commands are over already, and never need a wake-up.
        if waits && let Err(reason) = self.take_turn(myself).await {
            return self.stop(myself, reason).await;
        }
        Ok(())
    }

    async fn take(
        &mut self,
        myself: &ActorRef<ActorMsg<C::Msg>>,
        message: ActorMsg<C::Msg>,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = match message {
            ActorMsg::Arrived => self.take_turn(myself).await,
            ActorMsg::Room => self.room(myself).await,
            ActorMsg::User(msg) => self.user_message(msg).await,
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(reason) => self.stop(myself, reason).await,
        }
    }

    /// Handles what is in the inbox, up to one turn's worth.
    async fn take_turn(&mut self, myself: &ActorRef<ActorMsg<C::Msg>>) -> Result<(), StopReason> {
        let mut bytes = 0;
        let began = Instant::now();
        let mut now = began;
        for _ in 0..TURN_EVENTS {
            let Some(arrived) = self.next_event() else { return Ok(()) };
            bytes += arrived.msg.payload_len();
            self.deliver(arrived, now).await?;
            now = Instant::now();
            if bytes >= TURN_BYTES || now - began >= TURN_TIME {
                break;
            }
        }
        let _ = myself.cast(ActorMsg::Arrived);
        Ok(())
    }

    /// The next event that may be handled now. While the outbound queue is over its mark, data may not.
    fn next_event(&mut self) -> Option<Arrived> {
        if !self.ctx.holds_data_back() {
            return self.port.inbox.pop();
        }
        let next = self.port.inbox.pop_unless_data();
        if next.is_none() && !self.port.inbox.is_empty() {
            self.withholding = true;
            self.port.notes().withholds(true);
            self.ctx.ask_for_room();
        }
        next
    }

    async fn deliver(&mut self, arrived: Arrived, now: Instant) -> Result<(), StopReason> {
        let Arrived { msg, charge } = arrived;
        let closed = match &msg {
            ChannelMsg::Closed { reason } => Some(reason.clone()),
            _ => None,
        };
        self.ctx.begin_event(charge, wants_reply(&msg));
        let next = self.ssh_message(msg, now).await;
        self.ctx.end_event();
        match closed {
            Some(reason) => next.and(Err(StopReason::Closed(reason))),
            None => next.and_then(stop_if_asked),
        }
    }

    async fn ssh_message(&mut self, msg: ChannelMsg, now: Instant) -> Result<Next, StopReason> {
        let Some(behaviour) = &mut self.behaviour else { return Ok(Next::Continue) };
        enter(&self.port, Callback::HandleSshMsg, now);
        let next = guard("handle_ssh_msg", behaviour.handle_ssh_msg(msg, &mut self.ctx)).await;
        self.port.notes().leave();
        next
    }

    async fn user_message(&mut self, msg: C::Msg) -> Result<(), StopReason> {
        let Some(behaviour) = &mut self.behaviour else { return Ok(()) };
        enter(&self.port, Callback::HandleMsg, Instant::now());
        let next = guard("handle_msg", behaviour.handle_msg(msg, &mut self.ctx)).await;
        self.port.notes().leave();
        self.ctx.end_turn();
        next.and_then(stop_if_asked)
    }

    async fn room(&mut self, myself: &ActorRef<ActorMsg<C::Msg>>) -> Result<(), StopReason> {
        if self.ctx.take_ready() {
            let next = self.ssh_message(ChannelMsg::ReadyToSend, Instant::now()).await;
            self.ctx.end_turn();
            next.and_then(stop_if_asked)?;
        }
        if std::mem::take(&mut self.withholding) {
            self.port.notes().withholds(false);
            self.take_turn(myself).await?;
        }
        Ok(())
    }

    /// Ends the behaviour and the actor. A failure is also the actor's failure, so that its supervisor sees one.
    async fn stop(
        &mut self,
        myself: &ActorRef<ActorMsg<C::Msg>>,
        reason: StopReason,
    ) -> Result<(), ActorProcessingErr> {
        self.end(reason.clone()).await;
        match reason {
            StopReason::Failed { .. } | StopReason::Panicked { .. } => Err(Box::new(reason)),
            _ => {
                myself.stop(Some(reason.to_string()));
                Ok(())
            }
        }
    }

    /// CLOSE first, then `terminate`, as in OTP. Only the first end counts.
    async fn end(&mut self, reason: StopReason) {
        let Some(mut behaviour) = self.behaviour.take() else { return };
        match &reason {
            StopReason::Failed { .. } | StopReason::Panicked { .. } => {
                tracing::error!(channel = %self.port.key(), %reason, "channel actor failed");
                self.port.abandon(CloseReason::ActorEnded(reason.to_string().into()));
            }
            _ => self.port.finish(),
        }
        enter(&self.port, Callback::Terminate, Instant::now());
        let farewell = behaviour.terminate(reason.clone(), &mut self.ctx);
        if let Err(panic) = AssertUnwindSafe(farewell).catch_unwind().await {
            tracing::error!(channel = %self.port.key(), message = panic_text(&*panic), "terminate panicked");
        }
        self.port.notes().leave();
        self.port.set_exit(reason);
    }
}

/// Notes that a callback begins.
fn enter(port: &Port, callback: Callback, now: Instant) {
    port.notes().enter(callback, port.gauges(), now);
}

const fn stop_if_asked(next: Next) -> Result<(), StopReason> {
    match next {
        Next::Continue => Ok(()),
        Next::Stop => Err(StopReason::Normal),
        Next::StopBecause(reason) => Err(StopReason::Because(reason)),
    }
}

const fn wants_reply(msg: &ChannelMsg) -> bool {
    match msg {
        ChannelMsg::Pty { want_reply, .. }
        | ChannelMsg::Env { want_reply, .. }
        | ChannelMsg::Shell { want_reply }
        | ChannelMsg::Exec { want_reply, .. }
        | ChannelMsg::Subsystem { want_reply, .. }
        | ChannelMsg::Break { want_reply, .. }
        | ChannelMsg::AuthAgent { want_reply }
        | ChannelMsg::X11 { want_reply, .. }
        | ChannelMsg::Unknown { want_reply, .. } => *want_reply,
        _ => false,
    }
}

/// Runs a callback; an error and a panic become stop reasons.
async fn guard<T>(
    callback: &'static str,
    work: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, StopReason> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StopReason::Failed { callback, error: error.to_string().into() }),
        Err(panic) => Err(StopReason::Panicked { callback, message: panic_text(&*panic).into() }),
    }
}
