//! The steps of a supervisor: waiting for a connection, one incarnation from its open to its end, a pause. Each is a task
//! that tells the actor what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::ActorRef;
use tokio::time::Instant;

use super::place::Admitted;
use super::spec::{ChannelSpec, Incarnation};
use super::state::IncarnationEnd;
use super::supervisor::Order;
use crate::behaviour::{ChannelRef, ClientChannel};
use crate::config::SlowConsumer;
use crate::error::{CloseReason, ConnectionError, OpenError, Phase, StopReason, panic_text};
use crate::handle::msg::ConnectionMsg;
use crate::handle::route::Way;
use crate::observe::{ChannelInfo, Lineage, Running};

/// What came of a step.
pub(super) enum Report<C: ClientChannel> {
    Admitted(Admitted),
    Up(Held<C>),
    /// The connection is lost or closing; the channel may still be at what arrived before.
    Away {
        error: ConnectionError,
        /// It is not.
        ended: bool,
    },
    Ended(IncarnationEnd),
    PauseOver,
    /// No connection will follow.
    Gone(ConnectionError),
}

/// A channel that is stopped with whoever holds it. Each callback has the limit then.
pub(super) struct Held<C: ClientChannel> {
    channel: Option<ChannelRef<C>>,
    limit: Duration,
}

impl<C: ClientChannel> Held<C> {
    /// Whether it was ended for holding its connection up, whatever its behaviour made of that.
    pub(super) fn has_stalled(&self) -> bool {
        let closed = self.channel.as_ref().and_then(|channel| channel.info().closed);
        matches!(closed, Some(CloseReason::Stalled { .. }))
    }

    pub(super) fn channel(&self) -> Option<ChannelRef<C>> {
        self.channel.clone()
    }

    /// Lets the channel end by itself.
    pub(super) fn release(mut self) {
        self.channel = None;
    }
}

impl<C: ClientChannel> Drop for Held<C> {
    fn drop(&mut self) {
        let Some(channel) = self.channel.take().filter(|channel| channel.port().exit().is_none()) else {
            return;
        };
        channel.stop("its supervisor has stopped it");
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(stopped_in_time(channel, self.limit));
        }
    }
}

/// A channel that is being opened. If nobody waits for that any more, `init` has the limit.
struct Opening {
    connection: Option<ActorRef<ConnectionMsg>>,
    lineage: Lineage,
    limit: Duration,
}

impl Opening {
    fn done(mut self) {
        self.connection = None;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (lineage, limit) = (self.lineage, self.limit);
            runtime.spawn(async move { kill_if_stuck(connection, lineage, limit).await });
        }
    }
}

/// Tells the supervisor what came of one step.
pub(super) struct Reporter<C: ClientChannel> {
    pub(super) to: ActorRef<Order<C>>,
    pub(super) step: u64,
}

impl<C: ClientChannel> Reporter<C> {
    fn tell(&self, what: Report<C>) {
        let _ = self.to.cast(Order::Report { step: self.step, what });
    }
}

/// Waits for a connection.
pub(super) async fn wait<C: ClientChannel>(
    admitted: BoxFuture<'static, Option<Admitted>>,
    gone: BoxFuture<'static, ConnectionError>,
    reporter: Reporter<C>,
) {
    let report = tokio::select! {
        biased;
        Some(admitted) = admitted => Report::Admitted(admitted),
        error = gone => Report::Gone(error),
    };
    reporter.tell(report);
}

/// What becomes of a place when its connection is lost.
pub(super) struct Prospects {
    pub(super) comes_back: bool,
    /// No connection will follow.
    pub(super) gone: BoxFuture<'static, ConnectionError>,
    /// The next one is up.
    pub(super) next_up: BoxFuture<'static, ()>,
}

/// Opens one incarnation and watches over it until it ends.
pub(super) async fn open<C: ClientChannel>(
    spec: ChannelSpec<C>,
    way: Way,
    place: Prospects,
    (incarnation, lineage): (Incarnation, Lineage),
    reporter: Reporter<C>,
) {
    let isolated = spec.options.slow_consumer == SlowConsumer::Isolate;
    let (connection, limit) = (way.connection.clone(), spec.stuck_limit);
    let life = async {
        let behaviour = match catch_unwind(AssertUnwindSafe(|| (spec.factory)(incarnation))) {
            Ok(behaviour) => behaviour,
            Err(panic) => return (IncarnationEnd::FactoryPanicked(panic_text(&*panic).into()), false),
        };
        // What happens on a connection of its own says nothing about this one.
        let slot = way.claim.slot.clone().filter(|_| !isolated);
        let connection = way.connection.actor().into();
        let opening = Opening { connection: Some(connection), lineage, limit };
        let opened =
            way.with_lineage(lineage).open_channel(spec.request, spec.options, behaviour, None).await;
        opening.done();
        match opened {
            Ok(channel) => {
                drop(slot);
                reporter.tell(Report::Up(Held { channel: Some(channel.clone()), limit }));
                (IncarnationEnd::Stopped(end_of(&channel).await), false)
            }
            Err(not_opened) => {
                // The connection had no room after all: nothing the channel could be blamed for.
                let elsewhere = slot.is_some_and(|slot| slot.not_opened(&not_opened.error));
                let error = not_opened.into_error();
                (IncarnationEnd::NotStarted(if elsewhere { OpenError::Draining } else { error }), elsewhere)
            }
        }
    };
    tokio::pin!(life);
    let (end, elsewhere) = tokio::select! {
        biased;
        end = &mut life => end,
        error = connection.closed() => {
            reporter.tell(Report::Away { error, ended: false });
            // It may still be at what arrived before: the next incarnation is not to overtake it.
            let stuck = async {
                place.next_up.await;
                if !kill_if_stuck(connection.actor().into(), lineage, limit).await {
                    std::future::pending().await
                }
            };
            tokio::select! {
                biased;
                end = &mut life => end,
                error = place.gone => return reporter.tell(Report::Gone(error)),
                () = stuck => life.await,
            }
        }
    };
    let lost = if isolated {
        // Closed with the connection that it was declared on.
        (connection.phase() == Phase::Down).then(|| connection.error())
    } else {
        end.connection_error()
    };
    if let Some(error) = lost
        && (isolated || place.comes_back)
        && !elsewhere
    {
        reporter.tell(Report::Away { error, ended: true });
        connection.closed().await;
    }
    reporter.tell(Report::Ended(end));
}

/// Waits until the channel's actor has ended. When the channel was cut off on our side, as one that stalled is, only the
/// callback that is under way and `terminate` are waited for, and for no longer than closing may take: a behaviour
/// that is stuck would never come back.
async fn end_of<C: ClientChannel>(channel: &ChannelRef<C>) -> StopReason {
    let stuck = async {
        channel.port().until_cut_off().await;
        tokio::time::sleep(channel.port().close_timeout()).await;
    };
    tokio::select! {
        biased;
        reason = channel.wait() => return reason,
        () = stuck => {}
    }
    tracing::warn!(
        behaviour = std::any::type_name::<C>(),
        "killing a channel actor that is stuck in a callback"
    );
    channel.kill();
    channel.wait().await
}

/// For how long one callback has been running, at most since then.
fn busy(callback: Option<Running>, began: Instant) -> Duration {
    callback.map_or(Duration::ZERO, |run| run.since.min(began.elapsed()))
}

/// Waits until a channel that was told to stop has ended, and kills its actor if one of its callbacks goes on for the
/// limit from now on.
async fn stopped_in_time<C: ClientChannel>(channel: ChannelRef<C>, limit: Duration) {
    let began = Instant::now();
    loop {
        let left = limit.saturating_sub(busy(channel.info().callback, began));
        if left.is_zero() {
            break;
        }
        if tokio::time::timeout(left, channel.wait()).await.is_ok() {
            return;
        }
    }
    let behaviour = std::any::type_name::<C>();
    tracing::warn!(channel = %channel.id(), behaviour, "killing a channel actor that is stuck in a callback: it was stopped");
    channel.kill();
}

/// Kills the actor of this incarnation as soon as one of its callbacks has gone on for the limit from now on. False when
/// there is no such actor any more. Does not keep the connection open.
async fn kill_if_stuck(connection: ActorRef<ConnectionMsg>, lineage: Lineage, limit: Duration) -> bool {
    let began = Instant::now();
    loop {
        let (tell, told) = ractor::concurrency::oneshot();
        if connection.cast(ConnectionMsg::Info(tell.into())).is_err() {
            return false;
        }
        let channels = told.await.map_or_else(|_| Vec::new(), |info| info.channels);
        let channel =
            channels.into_iter().find(|channel| channel.supervised == Some(lineage) && !channel.ended);
        let Some(ChannelInfo { id, behaviour, callback, actor: Some(actor), .. }) = channel else {
            return false;
        };
        let left = limit.saturating_sub(busy(callback, began));
        if left.is_zero() {
            let callback = callback.map(|run| tracing::field::display(run.callback));
            tracing::warn!(channel = %id, behaviour, callback, "killing a channel actor that is stuck in a callback");
            actor.kill();
            return true;
        }
        let _ = actor.wait(Some(left)).await;
    }
}

/// Waits until the next incarnation is due.
pub(super) async fn pause<C: ClientChannel>(
    after: Duration,
    gone: BoxFuture<'static, ConnectionError>,
    reporter: Reporter<C>,
) {
    let report = tokio::select! {
        () = tokio::time::sleep(after) => Report::PauseOver,
        error = gone => Report::Gone(error),
    };
    reporter.tell(report);
}
